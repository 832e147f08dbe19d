// call.cpp: the boxed call that reaches every operator of the dispatcher.
#include <ATen/autocast_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <optional>
#include <vector>

#include "guard.h"

using namespace goclip;

namespace {

double as_double(int64_t bits) {
  double d;
  std::memcpy(&d, &bits, sizeof d);
  return d;
}

int64_t as_bits(double d) {
  int64_t bits;
  std::memcpy(&bits, &d, sizeof bits);
  return bits;
}

const gc_tensor *as_tensor(int64_t bits) { return reinterpret_cast<const gc_tensor *>(bits); }

c10::IValue argument(const gc_value &v, const int64_t *pool) {
  const int64_t *list = pool + v.bits;
  switch (v.tag) {
    case GC_NONE:
      return {};
    case GC_TENSOR:
      return v.bits == 0 ? c10::IValue() : c10::IValue(ref(as_tensor(v.bits)));
    case GC_INT:
      return v.bits;
    case GC_DOUBLE:
      return as_double(v.bits);
    case GC_BOOL:
      return v.bits != 0;
    case GC_OBJECT:
      return *reinterpret_cast<const c10::IValue *>(v.bits);
    case GC_DEVICE:
      return c10::Device(static_cast<c10::DeviceType>(v.n), static_cast<c10::DeviceIndex>(v.bits));
    case GC_STRING:
      return std::string(reinterpret_cast<const char *>(list), v.n);
    case GC_INTS:
      return c10::List<int64_t>(c10::ArrayRef<int64_t>(list, v.n));
    case GC_DOUBLES: {
      c10::List<double> out;
      out.reserve(v.n);
      for (int32_t i = 0; i < v.n; i++) out.push_back(as_double(list[i]));
      return out;
    }
    case GC_BOOLS: {
      c10::List<bool> out;
      out.reserve(v.n);
      for (int32_t i = 0; i < v.n; i++) out.push_back(list[i] != 0);
      return out;
    }
    case GC_TENSORS: {
      c10::List<at::Tensor> out;
      out.reserve(v.n);
      for (int32_t i = 0; i < v.n; i++) out.push_back(ref(as_tensor(list[i])));
      return out;
    }
    case GC_OPT_TENSORS: {
      c10::List<std::optional<at::Tensor>> out;
      out.reserve(v.n);
      for (int32_t i = 0; i < v.n; i++) {
        out.push_back(list[i] == 0 ? std::nullopt : std::optional<at::Tensor>(ref(as_tensor(list[i]))));
      }
      return out;
    }
    default:
      TORCH_CHECK(false, "an argument has the unknown tag ", v.tag);
  }
}

// Results writes the values that an operator returns, lists flattened, and spills those that the caller has no room
// for.
struct Results {
  gc_value *outs;
  int32_t cap, n = 0;
  std::vector<gc_value> more;

  void put(gc_value v) {
    if (n < cap) {
      outs[n] = v;
    } else {
      more.push_back(v);
    }
    n++;
  }
  void put(at::Tensor &&t) { put({GC_TENSOR, 0, reinterpret_cast<int64_t>(own(std::move(t)))}); }
  void put(c10::IValue &&v) {
    if (v.isTensor()) {
      put(std::move(v).toTensor());
    } else if (v.isTensorList()) {
      for (at::Tensor &t : v.toTensorVector()) put(std::move(t));
    } else if (v.isInt()) {
      put({GC_INT, 0, v.toInt()});
    } else if (v.isDouble()) {
      put({GC_DOUBLE, 0, as_bits(v.toDouble())});
    } else if (v.isBool()) {
      put({GC_BOOL, 0, v.toBool()});
    } else if (v.isNone()) {
      put({GC_NONE, 0, 0});
    } else if (v.isObject()) {
      live.fetch_add(1, std::memory_order_relaxed);
      put({GC_OBJECT, 0, reinterpret_cast<int64_t>(new c10::IValue(std::move(v)))});
    } else {
      put({GC_OPAQUE, 0, 0});
    }
  }
};

// Autocast switches automatic mixed precision on for one call. A parameter's copy that is made without gradients is not
// kept: a later call that records them would find it and lose the parameter's gradient.
struct Autocast {
  c10::DeviceType device;
  at::ScalarType was;
  bool cached;

  explicit Autocast(uint32_t mode) : device(static_cast<c10::DeviceType>(mode >> 16 & 0xff)) {
    was = at::autocast::get_autocast_dtype(device);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(mode >> 8 & 0xff));
    at::autocast::set_autocast_enabled(device, true);
    cached = at::autocast::is_autocast_cache_enabled();
    at::autocast::set_autocast_cache_enabled(cached && !(mode & (GC_NO_GRAD | GC_INFERENCE)));
  }
  ~Autocast() {
    at::autocast::set_autocast_cache_enabled(cached);
    at::autocast::set_autocast_enabled(device, false);
    at::autocast::set_autocast_dtype(device, was);
  }
};

void fill_defaults(const c10::FunctionSchema &schema, torch::jit::Stack &stack) {
  const auto &formals = schema.arguments();
  TORCH_CHECK(stack.size() <= formals.size(), "takes ", formals.size(), " arguments, not ", stack.size());
  for (size_t i = stack.size(); i < formals.size(); i++) {
    TORCH_CHECK(formals[i].default_value().has_value(), "the argument ", formals[i].name(), " is missing");
    stack.push_back(*formals[i].default_value());
  }
}

}  // namespace

extern "C" char *gc_find(const char *name, const char *overload, const gc_op **op) {
  return guard([&] {
    auto handle = c10::Dispatcher::singleton().findSchema({name, overload});
    TORCH_CHECK(handle.has_value(), "libtorch has no operator ", name, ".", overload);
    *op = reinterpret_cast<const gc_op *>(new c10::OperatorHandle(*handle));
  });
}

extern "C" char *gc_call(const gc_op *op, uint32_t mode, const gc_value *args, int32_t n, const int64_t *pool,
                         gc_value *outs, int32_t cap, int32_t *nouts, gc_value **spill) {
  return guard([&] {
    const auto &handle = *reinterpret_cast<const c10::OperatorHandle *>(op);
    // The stack keeps its memory from call to call; an operator that calls back in here would find it in use.
    thread_local torch::jit::Stack kept;
    torch::jit::Stack stack = std::move(kept);
    stack.clear();
    for (int32_t i = 0; i < n; i++) stack.push_back(argument(args[i], pool));
    fill_defaults(handle.schema(), stack);
    {
      std::optional<c10::InferenceMode> inference;
      if (mode & GC_INFERENCE) inference.emplace();
      c10::AutoGradMode grad(!(mode & (GC_NO_GRAD | GC_INFERENCE)));
      // Without gradients autograd's kernels only pass the call on. Version counters and views are below them and stay.
      std::optional<at::AutoDispatchBelowAutograd> below;
      if (mode & GC_NO_GRAD) below.emplace();
      std::optional<Autocast> autocast;
      if (mode & GC_AUTOCAST) autocast.emplace(mode);
      handle.callBoxed(stack);
    }
    Results results{outs, cap};
    for (c10::IValue &v : stack) results.put(std::move(v));
    if (!results.more.empty()) {
      const size_t bytes = results.more.size() * sizeof(gc_value);
      *spill = static_cast<gc_value *>(malloc(bytes));
      TORCH_CHECK(*spill != nullptr, "out of memory for the results");
      std::memcpy(*spill, results.more.data(), bytes);
    }
    *nouts = results.n;
    stack.clear();
    kept = std::move(stack);
  });
}

extern "C" void gc_free_spill(gc_value *spill) { free(spill); }
extern "C" void gc_free_object(gc_object *object) {
  if (object == nullptr) return;
  delete reinterpret_cast<c10::IValue *>(object);
  live.fetch_sub(1, std::memory_order_relaxed);
}
extern "C" void gc_free_message(char *message) { free(message); }
extern "C" void gc_clear_autocast_cache(void) { at::autocast::clear_cache(); }
