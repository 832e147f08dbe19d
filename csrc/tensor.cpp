// tensor.cpp: the life cycle of handles, host memory in and out, autograd.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>

#include "guard.h"

using namespace goclip;

std::atomic<int64_t> goclip::live{0};
std::atomic<bool> goclip::device_lost{false};

namespace {

const at::TensorImpl *impl(const gc_tensor *t) { return reinterpret_cast<const at::TensorImpl *>(t); }

std::vector<at::Tensor> refs(gc_tensor *const *ts, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; i++) out.push_back(ref(ts[i]));
  return out;
}

// keeps_device reports whether t, or the graph behind it, holds memory of a device that is lost: a destructor that
// gives it back may throw, which ends the process.
bool keeps_device(const gc_tensor *t) {
  return device_lost && (!impl(t)->device().is_cpu() || ref(t).grad_fn() != nullptr);
}

}  // namespace

extern "C" {

void gc_lose_device(void) { device_lost = true; }

void gc_free(gc_tensor **ts, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (ts[i] == nullptr) continue;
    if (!keeps_device(ts[i])) {
      c10::intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>::reclaim(reinterpret_cast<at::TensorImpl *>(ts[i]));
    }
    live.fetch_sub(1, std::memory_order_relaxed);
  }
}

gc_tensor *gc_retain(gc_tensor *t) { return own(ref(t)); }

int64_t gc_live(void) { return live.load(std::memory_order_relaxed); }

char *gc_from_host(const void *data, size_t bytes, int32_t dtype, const int64_t *shape, int32_t dims, gc_tensor **out) {
  return guard([&] {
    at::Tensor t = at::empty(at::IntArrayRef(shape, dims), element_type(dtype));
    TORCH_CHECK(t.nbytes() == bytes, "the shape ", t.sizes(), " takes ", t.nbytes(), " bytes, not ", bytes);
    if (bytes != 0) std::memcpy(t.mutable_data_ptr(), data, bytes);
    *out = own(std::move(t));
  });
}

char *gc_from_memory(void *data, int32_t dtype, int64_t n, void (*done)(void *context), void *context,
                     gc_tensor **out) {
  return guard([&] {
    *out = own(at::from_blob(
        data, {n}, [done, context](void *) { done(context); }, element_type(dtype)));
  });
}

char *gc_to_host(const gc_tensor *handle, void *dst, size_t bytes) {
  return guard([&] {
    at::Tensor t = ref(handle).detach().to(at::kCPU).contiguous();
    TORCH_CHECK(t.nbytes() == bytes, "the tensor has ", t.nbytes(), " bytes, not ", bytes);
    if (bytes != 0) std::memcpy(dst, t.const_data_ptr(), bytes);
  });
}

char *gc_write(const gc_tensor *handle, size_t offset, const void *data, size_t bytes) {
  return guard([&] {
    at::Tensor t = ref(handle);
    TORCH_CHECK(t.is_cpu() && t.is_contiguous(), "only a contiguous tensor on the CPU can be written into");
    TORCH_CHECK(offset <= t.nbytes() && bytes <= t.nbytes() - offset, "the tensor has ", t.nbytes(), " bytes, not ",
                offset, " and ", bytes, " more");
    auto *to = static_cast<char *>(t.mutable_data_ptr()) + offset;
    at::parallel_for(0, static_cast<int64_t>(bytes), 1 << 20, [&](int64_t first, int64_t last) {
      std::memcpy(to + first, static_cast<const char *>(data) + first, last - first);
    });
  });
}

char *gc_shape(const gc_tensor *t, uint32_t owner, int64_t *shape, int32_t cap, int32_t *dims) {
  return guard([&] {
    on_thread(owner);
    TORCH_CHECK(!impl(t)->is_nested(), "a nested tensor has no shape");
    const auto sizes = impl(t)->sizes();
    *dims = static_cast<int32_t>(sizes.size());
    std::copy_n(sizes.begin(), std::min(*dims, cap), shape);
  });
}

char *gc_dtype(const gc_tensor *t, uint32_t owner, int32_t *dtype) {
  return guard([&] {
    on_thread(owner);
    *dtype = static_cast<int32_t>(c10::typeMetaToScalarType(impl(t)->dtype()));
  });
}

char *gc_device(const gc_tensor *t, uint32_t owner, int32_t *type, int32_t *index) {
  return guard([&] {
    on_thread(owner);
    const auto device = impl(t)->device();
    *type = static_cast<int32_t>(device.type());
    *index = device.index();
  });
}

char *gc_item(const gc_tensor *t, double *value) {
  return guard([&] { *value = ref(t).item().toDouble(); });
}

int gc_is_contiguous(const gc_tensor *t) {
  return !impl(t)->is_nested() && impl(t)->layout() == at::kStrided && impl(t)->is_contiguous();
}

void *gc_to_pointer(const gc_tensor *t) { return new at::Tensor(ref(t)); }

char *gc_from_pointer(const void *tensor, gc_tensor **out) {
  return guard([&] { *out = own(at::Tensor(*static_cast<const at::Tensor *>(tensor))); });
}

void gc_free_pointer(void *tensor) { delete static_cast<at::Tensor *>(tensor); }

char *gc_backward(const gc_tensor *t, const gc_tensor *gradient, int retain_graph) {
  return guard([&] {
    open_cuda_if_there();  // autograd counts the devices
    ref(t).backward(ref(gradient), retain_graph != 0, /*create_graph=*/false);
  });
}

char *gc_grad(gc_tensor *const *outputs, gc_tensor *const *gradients, size_t nout, gc_tensor *const *inputs, size_t nin,
              int retain_graph, gc_tensor **grads) {
  return guard([&] {
    open_cuda_if_there();
    auto out = torch::autograd::grad(refs(outputs, nout), refs(inputs, nin),
                                     gradients == nullptr ? std::vector<at::Tensor>() : refs(gradients, nout),
                                     retain_graph != 0, /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < nin; i++) grads[i] = own(std::move(out[i]));
  });
}

char *gc_grads(gc_tensor *const *ts, size_t n, gc_tensor **grads) {
  return guard([&] {
    std::vector<at::Tensor> found;
    found.reserve(n);
    for (size_t i = 0; i < n; i++) found.push_back(impl(ts[i])->grad());  // at::Tensor::grad warns of what is no leaf
    for (size_t i = 0; i < n; i++) grads[i] = own(std::move(found[i]));
  });
}

// An optimiser reads as many numbers of a gradient as its parameter has, so that one of another kind is refused here,
// as torch/csrc/autograd/python_variable.cpp refuses it.
char *gc_set_grad(gc_tensor *t, const gc_tensor *handle) {
  return guard([&] {
    const at::Tensor param = ref(t), grad = ref(handle);
    if (grad.defined()) {
      TORCH_CHECK(grad.layout() == param.layout() && grad.sizes() == param.sizes(), "a gradient of the shape ",
                  grad.sizes(), " does not fit a tensor of the shape ", param.sizes());
      TORCH_CHECK(grad.scalar_type() == param.scalar_type(), "a gradient of type ", grad.scalar_type(),
                  " does not fit a tensor of type ", param.scalar_type());
      TORCH_CHECK(grad.device() == param.device(), "a gradient on ", grad.device(), " does not fit a tensor on ",
                  param.device());
    }
    param.mutable_grad() = grad;
  });
}

char *gc_clear_grads(gc_tensor *const *ts, size_t n) {
  return guard([&] {
    for (size_t i = 0; i < n; i++) ref(ts[i]).mutable_grad().reset();
  });
}

char *gc_grad_fn(const gc_tensor *t, char **name) {
  return guard([&] {
    const auto node = ref(t).grad_fn();
    *name = node == nullptr ? nullptr : strdup(node->name().c_str());
  });
}

char *gc_set_requires_grad(gc_tensor *t, int on) {
  return guard([&] { ref(t).set_requires_grad(on != 0); });
}

int gc_requires_grad(const gc_tensor *t) { return impl(t)->requires_grad(); }

}  // extern "C"
