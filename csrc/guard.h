// guard.h: the only try/catch, and the two casts between handles and at::Tensor.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstring>

#include "goclip.h"

namespace goclip {

extern std::atomic<int64_t> live;

// device_lost is set for good by gc_lose_device: nothing of a device is then given back, which would throw in
// destructors.
extern std::atomic<bool> device_lost;

// message is a copy of text for the caller, who frees it with gc_free_message. It is never NULL, which is success.
char *message(const char *text) noexcept;

// thread_number is the calling thread's, never 0.
uint32_t thread_number();

// libtorch looks for CUDA once: getCUDAHooks() when it is first called, autograd at the first backward. What it does
// not find then it never finds, so libtorch_cuda.so is opened before anything that makes it look.
//
// open_cuda opens it, or says why that cannot be. open_cuda_if_there does so without a word, once, if it lies beside
// libtorch_cpu.so.
void open_cuda();
void open_cuda_if_there();

// on_thread fails on every thread but the owner's.
inline void on_thread(uint32_t owner) {
  TORCH_CHECK(owner == 0 || owner == thread_number(),
              "the scope belongs to another goroutine: only the function that Do runs may use it and its tensors");
}

// element_type is the ScalarType of this number.
inline c10::ScalarType element_type(int64_t number) {
  TORCH_CHECK(number >= 0 && number < static_cast<int64_t>(c10::ScalarType::NumOptions) &&
                  number != static_cast<int64_t>(c10::ScalarType::Undefined),
              number, " is not an element type");
  return static_cast<c10::ScalarType>(number);
}

template <class F>
char *guard(F &&f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const c10::Error &e) {
    return message(e.what_without_backtrace());
  } catch (const std::exception &e) {
    return message(e.what());
  } catch (...) {
    return message("unknown C++ exception");
  }
}

// own hands a reference to the caller.
inline gc_tensor *own(at::Tensor &&t) {
  if (!t.defined()) return nullptr;
  live.fetch_add(1, std::memory_order_relaxed);
  return reinterpret_cast<gc_tensor *>(t.unsafeReleaseTensorImpl());
}

// ref is a tensor that shares the handle's reference; undefined for NULL.
inline at::Tensor ref(const gc_tensor *t) {
  if (t == nullptr) return {};
  auto *impl = reinterpret_cast<at::TensorImpl *>(const_cast<gc_tensor *>(t));
  return at::Tensor(c10::intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>::reclaim_copy(impl));
}

}  // namespace goclip
