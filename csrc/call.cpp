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
  auto list = [&] { return v.n > 0 ? pool + v.bits : nullptr; };
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
      if (v.n == static_cast<int32_t>(c10::kCUDA)) open_cuda();
      return c10::Device(static_cast<c10::DeviceType>(v.n), static_cast<c10::DeviceIndex>(v.bits));
    case GC_STRING:
      return std::string(reinterpret_cast<const char *>(list()), v.n);
    case GC_INTS:
      return c10::List<int64_t>(c10::ArrayRef<int64_t>(list(), v.n));
    case GC_DOUBLES: {
      c10::List<double> out;
      out.reserve(v.n);
      for (int32_t i = 0; i < v.n; i++) out.push_back(as_double(list()[i]));
      return out;
    }
    case GC_BOOLS: {
      c10::List<bool> out;
      out.reserve(v.n);
      for (int32_t i = 0; i < v.n; i++) out.push_back(list()[i] != 0);
      return out;
    }
    case GC_TENSORS: {
      c10::List<at::Tensor> out;
      out.reserve(v.n);
      for (int32_t i = 0; i < v.n; i++) out.push_back(ref(as_tensor(list()[i])));
      return out;
    }
    case GC_OPT_TENSORS: {
      c10::List<std::optional<at::Tensor>> out;
      out.reserve(v.n);
      for (int32_t i = 0; i < v.n; i++) {
        out.push_back(list()[i] == 0 ? std::nullopt : std::optional<at::Tensor>(ref(as_tensor(list()[i]))));
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

// ambient is the mode that gc_enter set on this thread.
thread_local uint32_t ambient = 0;

// Which tags an argument takes, one bit each, and what is more to know of it. libtorch itself only asserts it.
constexpr uint32_t anything = (1u << 16) - 1, real = 1u << 16, dtype = 1u << 17, layout = 1u << 18, memory = 1u << 19;
constexpr uint32_t is(gc_tag tag) { return 1u << tag; }

uint32_t accepted(const c10::Type &type) {
  switch (type.kind()) {
    case c10::TypeKind::OptionalType:
      return is(GC_NONE) | accepted(*type.containedType(0));
    case c10::TypeKind::TensorType:
      return is(GC_TENSOR);
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
      return is(GC_INT);
    case c10::TypeKind::ScalarTypeType:
      return is(GC_INT) | dtype;
    case c10::TypeKind::LayoutType:
      return is(GC_INT) | layout;
    case c10::TypeKind::MemoryFormatType:
      return is(GC_INT) | memory;
    case c10::TypeKind::FloatType:
    case c10::TypeKind::SymFloatType:
      return is(GC_DOUBLE) | is(GC_INT) | real;
    case c10::TypeKind::BoolType:
    case c10::TypeKind::SymBoolType:
      return is(GC_BOOL);
    case c10::TypeKind::NumberType:
      return is(GC_INT) | is(GC_DOUBLE) | is(GC_BOOL);
    case c10::TypeKind::StringType:
      return is(GC_STRING);
    case c10::TypeKind::DeviceObjType:
      return is(GC_DEVICE);
    case c10::TypeKind::ClassType:
      return is(GC_OBJECT);
    case c10::TypeKind::GeneratorType:
    case c10::TypeKind::StorageType:
    case c10::TypeKind::StreamObjType:
      return 0;
    case c10::TypeKind::ListType: {
      const c10::Type &element = *type.containedType(0);
      switch (element.kind()) {
        case c10::TypeKind::IntType:
        case c10::TypeKind::SymIntType:
          return is(GC_INTS);
        case c10::TypeKind::FloatType:
          return is(GC_DOUBLES);
        case c10::TypeKind::BoolType:
          return is(GC_BOOLS);
        case c10::TypeKind::NumberType:
          return is(GC_INTS) | is(GC_DOUBLES);
        case c10::TypeKind::TensorType:
          return is(GC_TENSORS);
        case c10::TypeKind::OptionalType:
          return element.containedType(0)->kind() == c10::TypeKind::TensorType ? is(GC_OPT_TENSORS)
                                                                               : is(GC_INTS) | is(GC_DOUBLES);
        default:
          return 0;
      }
    }
    default:
      return anything;
  }
}

const char *named(int32_t tag) {
  static const char *names[] = {"None",
                                "a Tensor",
                                "an int",
                                "a float",
                                "a bool",
                                "a list of ints",
                                "a list of floats",
                                "a list of Tensors",
                                "a list of Tensors and None",
                                "a string",
                                "a Device",
                                "a list of bools",
                                "an object"};
  return tag >= 0 && tag < GC_OPAQUE ? names[tag] : "something unknown";
}

struct Operator {
  c10::OperatorHandle handle;
  std::vector<uint32_t> takes;

  explicit Operator(c10::OperatorHandle found) : handle(std::move(found)) {
    for (const c10::Argument &formal : handle.schema().arguments()) takes.push_back(accepted(*formal.real_type()));
  }

  // push puts the argument i on the stack if it is of the type that the operator takes there.
  void push(torch::jit::Stack &stack, size_t i, const gc_value &v, const int64_t *pool) const {
    const c10::Argument &formal = handle.schema().arguments()[i];
    const uint32_t want = takes[i];
    TORCH_CHECK(want >> v.tag & 1, "the argument ", formal.name(), " must be of type ", formal.type()->annotation_str(),
                ", not ", named(v.tag));
    if (v.tag == GC_INT && want & real) return void(stack.emplace_back(static_cast<double>(v.bits)));
    if (v.tag == GC_INT && want & dtype) element_type(v.bits);
    if (v.tag == GC_INT && want & (layout | memory)) {
      const auto end = want & layout ? static_cast<int64_t>(c10::Layout::NumOptions)
                                     : static_cast<int64_t>(c10::MemoryFormat::NumOptions);
      TORCH_CHECK(v.bits >= 0 && v.bits < end, v.bits, " is not a ", want & layout ? "layout" : "memory format");
    }
    stack.push_back(argument(v, pool));
    if (v.tag == GC_OBJECT) {
      TORCH_CHECK(stack.back().type()->isSubtypeOf(*formal.type()), "the argument ", formal.name(), " must be of type ",
                  formal.type()->annotation_str(), ", not ", stack.back().type()->annotation_str());
    }
  }

  void fill(torch::jit::Stack &stack, const gc_value *args, size_t n, const int64_t *pool) const {
    const auto &formals = handle.schema().arguments();
    TORCH_CHECK(n <= formals.size(), "takes ", formals.size(), " arguments, not ", n);
    for (size_t i = 0; i < n; i++) push(stack, i, args[i], pool);
    for (size_t i = n; i < formals.size(); i++) {
      TORCH_CHECK(formals[i].default_value().has_value(), "the argument ", formals[i].name(), " is missing");
      stack.push_back(*formals[i].default_value());
    }
  }
};

}  // namespace

extern "C" char *gc_find(const char *name, const char *overload, const gc_op **op) {
  return guard([&] {
    auto handle = c10::Dispatcher::singleton().findSchema({name, overload});
    TORCH_CHECK(handle.has_value(), "libtorch has no operator ", name, ".", overload);
    *op = reinterpret_cast<const gc_op *>(new Operator(*handle));
  });
}

extern "C" uint32_t gc_enter(uint32_t mode) {
  const uint32_t before = ambient;
  ambient = mode;
  return before;
}

extern "C" char *gc_call(const gc_op *op, uint32_t mode, uint32_t owner, const gc_value *args, int32_t n,
                         const int64_t *pool, gc_value *outs, int32_t cap, int32_t *nouts, gc_value **spill) {
  return guard([&] {
    on_thread(owner);
    mode |= ambient & GC_NO_GRAD;
    const auto &callee = *reinterpret_cast<const Operator *>(op);
    // The stack keeps its memory from call to call; an operator that calls back in here would find it in use.
    thread_local torch::jit::Stack kept;
    torch::jit::Stack stack = std::move(kept);
    stack.clear();
    callee.fill(stack, args, n, pool);
    {
      std::optional<c10::InferenceMode> inference;
      if (mode & GC_INFERENCE) inference.emplace();
      c10::AutoGradMode grad(!(mode & (GC_NO_GRAD | GC_INFERENCE)));
      // Without gradients autograd's kernels only pass the call on. Version counters and views are below them and stay.
      std::optional<at::AutoDispatchBelowAutograd> below;
      if (mode & GC_NO_GRAD) below.emplace();
      std::optional<Autocast> autocast;
      if (mode & GC_AUTOCAST) autocast.emplace(mode);
      callee.handle.callBoxed(stack);
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

namespace {
char out_of_memory[] = "out of memory, even for the message";
}

char *goclip::message(const char *text) noexcept {
  char *copy = strdup(text);
  return copy == nullptr ? out_of_memory : copy;
}

extern "C" void gc_free_message(char *message) {
  if (message != out_of_memory) free(message);
}
extern "C" void gc_clear_autocast_cache(void) { at::autocast::clear_cache(); }
