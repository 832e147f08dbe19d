// guard.h: the only try/catch, and the two casts between handles and at::Tensor.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstring>

#include "goclip.h"

namespace goclip {

extern std::atomic<int64_t> live;

template <class F>
char *guard(F &&f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const c10::Error &e) {
    return strdup(e.what_without_backtrace());
  } catch (const std::exception &e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
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
