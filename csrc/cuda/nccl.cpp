// nccl.cpp: c10d's collectives between CUDA devices. The one file that needs CUDA's and NCCL's headers.
#include <cstdlib>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "group.h"
#include "version.h"

using c10d::ProcessGroupNCCL;

// The objects are made here and used inside libtorch_cuda.so, so both must see one layout. NCCL's header has a part in
// it.
static_assert(NCCL_MAJOR == 2 && NCCL_MINOR == 28, "libtorch 2.11 was compiled with NCCL 2.28: give its nccl.h");
#ifdef __x86_64__
// What libtorch_python.so, compiled together with libtorch_cuda.so, allocates for them.
static_assert(sizeof(ProcessGroupNCCL) == 1112 && sizeof(ProcessGroupNCCL::Options) == 248,
              "the headers are not those that libtorch 2.11 for CUDA 13 was compiled with");
#endif

c10::intrusive_ptr<c10d::Backend> goclip::nccl_backend(const c10::intrusive_ptr<c10d::Store> &store, int rank, int size,
                                                       const std::string &device, std::chrono::milliseconds timeout) {
  // c10d's answer to a collective that fails is to end the process. Ending the communicator alone (2, CleanUpOnly) lets
  // Group::wait say what happened.
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "2", /*overwrite=*/0);
  auto options = ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  auto backend = c10::make_intrusive<ProcessGroupNCCL>(store, rank, size, options);
  const c10::Device bound(device);
  backend->setBoundDeviceId(bound);
  backend->eagerConnectSingleDevice(bound);
  return backend;
}
