// version.h: CUDA's headers must be those of the libraries that libtorch 2.11 brings; those of CUDA 12 compile as well.
#include <cuda_runtime_api.h>

static_assert(CUDART_VERSION / 1000 == 13, "libtorch 2.11 was compiled with CUDA 13: name its headers by CUDA_INCLUDE");
