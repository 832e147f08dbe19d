// hooks.cpp: what libtorch asks of libtorch_cuda.so, for machines without a GPU; device.cpp is the device. It has the
// devices that STUB_DEVICES counts, of compute capability STUB_CAPABILITY. Without STUB_DEVICES it has none and is silent.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <torch/library.h>

#include <cstdio>
#include <cstdlib>

namespace {

int number(const char *name) {
  const char *value = std::getenv(name);
  return value == nullptr ? 0 : std::atoi(value);
}

void say(const char *what, int a = 0, int b = 0) {
  if (std::getenv("STUB_DEVICES") != nullptr) std::fprintf(stderr, what, a, b);
}

struct Hooks : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return number("STUB_DEVICES") > 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return false; }
  std::string showConfig() const override { return ""; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return hasCUDA(); }
  at::Allocator *getPinnedMemoryAllocator() const override { return c10::GetDefaultCPUAllocator(); }
  const at::Generator &getDefaultGenerator(c10::DeviceIndex) const override { return at::detail::getDefaultCPUGenerator(); }
  c10::DeviceIndex deviceCount() const override {
    auto &context = at::globalContext();
    say("hooks: tf32 %d cudnn attention %d\n", context.allowTF32CuDNN(),
        context.userEnabledCuDNNSDP());
    return static_cast<c10::DeviceIndex>(number("STUB_DEVICES"));
  }
};

// on_device is a number of a device, whose memory cannot be given back, as libtorch's allocator cannot after an error that
// stays: its destructor then throws, which ends the process.
at::Tensor on_device() {
  static float number = 1;
  return at::for_blob(&number, {1})
      .deleter([](void *) { TORCH_CHECK(false, "CUDA error: device-side assert triggered"); })
      .options(at::TensorOptions(at::kFloat).device(at::kCUDA, 0))
      .target_device(at::Device(at::kCUDA, 0))
      .make_tensor();
}
void asserts() { TORCH_CHECK(false, "CUDA error: device-side assert triggered"); }

}  // namespace

TORCH_LIBRARY(stub, m) {
  m.def("on_device() -> Tensor", on_device);
  m.def("asserts() -> ()", asserts);
}

// The registry's key is the name of the class in libtorch.
static c10::Registerer<std::string, std::unique_ptr<at::CUDAHooksInterface>, at::CUDAHooksArgs> as_cuda(
    "CUDAHooks", at::CUDAHooksRegistry(), [](at::CUDAHooksArgs args) -> std::unique_ptr<at::CUDAHooksInterface> {
      return std::make_unique<Hooks>(args);
    });

// The devices as CUDA counts them: the error STUB_ERROR, or 100 without a device, which CUDA_VISIBLE_DEVICES may hide.
extern "C" int cudaGetDeviceCount(int *n) {
  const char *visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const bool hidden = visible != nullptr && (*visible < '0' || *visible > '9');
  *n = hidden ? 0 : number("STUB_DEVICES");
  if (number("STUB_ERROR") != 0) return number("STUB_ERROR");
  return *n == 0 ? 100 : 0;
}
extern "C" int cudaDeviceGetAttribute(int *value, int attribute, int) {
  *value = attribute == 75 ? number("STUB_CAPABILITY") / 10 : number("STUB_CAPABILITY") % 10;
  return 0;
}
extern "C" int cudaRuntimeGetVersion(int *version) {
  *version = 13000;
  return 0;
}
