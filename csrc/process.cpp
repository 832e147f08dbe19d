// process.cpp: threads, random generators, CUDA opened at run time.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <torch/csrc/api/include/torch/version.h>
#include <unistd.h>

#include <mutex>
#include <typeinfo>

#include "guard.h"

using namespace goclip;

namespace {

std::atomic<bool> cuda_is_open{false};
thread_local bool is_worker = false;
std::atomic<uint32_t> threads{0};
thread_local uint32_t this_thread = 0;

// beside is the path of a library in the directory that libtorch_cpu.so was loaded from.
std::string beside(const char *name) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void *>(&at::get_num_threads), &info) == 0 || info.dli_fname == nullptr) return name;
  const std::string path = info.dli_fname;
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? name : path.substr(0, slash + 1) + name;
}

void *cuda_library = nullptr;  // libtorch_cuda.so

at::Generator generator(int32_t type, int32_t index) {
  if (type == static_cast<int32_t>(c10::kCUDA)) open_cuda();
  return at::globalContext().defaultGenerator(
      c10::Device(static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index)));
}

}  // namespace

uint32_t goclip::thread_number() {
  if (this_thread == 0) this_thread = ++threads;
  return this_thread;
}

void goclip::open_cuda() {
  if (cuda_is_open) return;
  static std::mutex opening;
  const std::lock_guard<std::mutex> lock(opening);
  if (cuda_is_open) return;
  cuda_library = dlopen(beside("libtorch_cuda.so").c_str(), RTLD_NOW | RTLD_GLOBAL);
  TORCH_CHECK(cuda_library != nullptr, "this libtorch cannot use CUDA: ", dlerror());
  // Not hasCUDA(), which is false without a device too.
  TORCH_CHECK(typeid(at::detail::getCUDAHooks()) != typeid(at::CUDAHooksInterface),
              "libtorch_cuda.so was opened after libtorch had looked for CUDA, and it looks once");
  auto &context = at::globalContext();
  // Float32 is float32 in convolutions too, unless TF32 is asked for as it is for products of matrices.
  context.setAllowTF32CuDNN(context.allowTF32CuBLAS());
  // On Hopper cuDNN's attention comes first, and plans again for each shape and thread.
  context.setSDPUseCuDNN(false);
  cuda_is_open = true;
}

void goclip::open_cuda_if_there() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (gc_knows_cuda())
      gc_free_message(guard([] { open_cuda(); }));  // a request for a device then says why there is none
  });
}

extern "C" {

uint32_t gc_thread(void) { return thread_number(); }

uint32_t gc_adopt_thread(uint32_t number) {
  const uint32_t own = thread_number();
  this_thread = number;
  return own;
}

void gc_set_threads(int32_t n) {
  if (at::get_num_threads() != n) at::set_num_threads(n);
}

void gc_become_worker(void) { is_worker = true; }

int32_t gc_on_worker(void) { return is_worker; }

// Not at::manual_seed: it asks for CUDA, and libtorch remembers for good that there was none yet.
char *gc_manual_seed(uint64_t seed) {
  return guard([&] {
    auto cpu = generator(static_cast<int32_t>(c10::kCPU), -1);
    {
      const std::lock_guard<std::mutex> lock(cpu.mutex());
      cpu.set_current_seed(seed);
    }
    if (cuda_is_open) at::manual_seed(seed);
  });
}

char *gc_rng_state(int32_t type, int32_t index, gc_tensor **out) {
  return guard([&] {
    auto g = generator(type, index);
    const std::lock_guard<std::mutex> lock(g.mutex());
    *out = own(g.get_state());
  });
}

char *gc_set_rng_state(int32_t type, int32_t index, const gc_tensor *state) {
  return guard([&] {
    auto g = generator(type, index);
    const std::lock_guard<std::mutex> lock(g.mutex());
    g.set_state(ref(state));
  });
}

// libtorch counts no devices where CUDA fails, and keeps why to itself.
char *gc_open_cuda(int32_t *devices, int32_t *failed) {
  return guard([&] {
    open_cuda();
    const auto count = reinterpret_cast<int (*)(int *)>(dlsym(cuda_library, "cudaGetDeviceCount"));
    int n = 0;
    if (count != nullptr && (*failed = count(&n)) != 0) return;
    *devices = static_cast<int32_t>(at::detail::getCUDAHooks().deviceCount());
  });
}

// Asked of libcudart, which libtorch_cuda.so brings with it: libtorch's own functions need CUDA's headers.
char *gc_cuda_capability(int32_t index, int32_t *capability, int32_t *runtime) {
  return guard([&] {
    open_cuda();
    const auto attribute = reinterpret_cast<int (*)(int *, int, int)>(dlsym(cuda_library, "cudaDeviceGetAttribute"));
    const auto version = reinterpret_cast<int (*)(int *)>(dlsym(cuda_library, "cudaRuntimeGetVersion"));
    TORCH_CHECK(attribute != nullptr && version != nullptr, "libtorch_cuda.so comes without libcudart");
    constexpr int major_attribute = 75, minor_attribute = 76;  // cudaDevAttrComputeCapability...
    int major = 0, minor = 0;
    int failed = attribute(&major, major_attribute, index);
    if (failed == 0) failed = attribute(&minor, minor_attribute, index);
    if (failed == 0) failed = version(runtime);
    TORCH_CHECK(failed == 0, "CUDA does not tell the compute capability of cuda:", index, ": error ", failed);
    *capability = 10 * major + minor;
  });
}

int gc_knows_cuda(void) { return access(beside("libtorch_cuda.so").c_str(), F_OK) == 0; }

const char *gc_version(void) { return TORCH_VERSION; }

char *gc_config(char **text) {
  return guard([&] {
    open_cuda_if_there();  // show_config looks for CUDA
    *text = strdup(at::show_config().c_str());
  });
}

}  // extern "C"
