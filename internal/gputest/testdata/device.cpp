// device.cpp: a CUDA device whose memory is the host's and whose kernels are the CPU's. It refuses what a device refuses:
// tensors of two devices, flash attention's wrong types, more than STUB_MEMORY bytes. With STUB_TRACE it writes to stderr
// what the host sends and reads, and waits for. It always writes where work on one stream uses memory that work on
// another has not been waited for (RACE).
//
// Work is done at once, in the order in which it is given. What a device may still have to do is in clocks alone: one for
// each stream and one for the host, of how far each has heard of the others (Mattern, Virtual time and global states of
// distributed systems, 1989).
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/InferSize.h>
#include <ATen/TensorUtils.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace {

using at::Tensor;
using c10::Device;
using c10::Stream;

const bool tracing = std::getenv("STUB_TRACE") != nullptr;
bool forgets(const char *what) {  // the negative controls of the clocks
  const char *told = std::getenv("STUB_FORGETS");
  return told != nullptr && std::string(told) == what;
}

// ---- Streams, events and the clocks

using Clock = std::map<c10::StreamId, int64_t>;
constexpr c10::StreamId host = -1;

std::mutex mutex;
std::map<c10::StreamId, Clock> clocks;
struct Block {
  size_t bytes = 0;
  c10::StreamId owner = 0;                 // the stream that allocated it
  std::pair<c10::StreamId, int64_t> written{0, 0};
  Clock read;
  std::map<c10::StreamId, bool> recorded;  // record_stream
};
std::map<void *, Block> blocks;
size_t in_use = 0;

void merge(Clock &into, const Clock &from) {
  for (const auto &[stream, tick] : from) into[stream] = std::max(into[stream], tick);
}

thread_local std::array<c10::StreamId, 8> current{};
thread_local c10::DeviceIndex current_device = 0;

void race(const char *what, const char *op, c10::StreamId on, c10::StreamId other) {
  std::fprintf(stderr, "RACE: %s on stream %ld %s of stream %ld, which it has not waited for\n", op, long(on), what, long(other));
}

// begin is one more piece of work on the current stream, after all that the host has heard of.
Clock &begin(c10::StreamId stream) {
  merge(clocks[stream], clocks[host]);
  clocks[stream][stream]++;
  return clocks[stream];
}

void touch(const Tensor &t, bool writes, const char *op) {
  if (!t.defined() || !t.is_cuda() || t.numel() == 0) return;
  const auto found = blocks.find(const_cast<void *>(t.storage().data()));
  if (found == blocks.end()) return;
  Block &b = found->second;
  const auto stream = current[t.get_device()];
  Clock &clock = clocks[stream];
  if (clock[b.written.first] < b.written.second) race("takes what is written by work", op, stream, b.written.first);
  if (writes) {
    for (const auto &[other, tick] : b.read)
      if (clock[other] < tick) race("overwrites what is read by work", op, stream, other);
    b.written = {stream, clock[stream]};
    b.read.clear();
  }
  b.read[stream] = clock[stream];
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kCUDA; }
  Device exchangeDevice(Device d) const override {
    const Device before = getDevice();
    current_device = d.index();
    return before;
  }
  Device getDevice() const override { return {c10::kCUDA, current_device}; }
  void setDevice(Device d) const override { current_device = d.index(); }
  void uncheckedSetDevice(Device d) const noexcept override { current_device = d.index(); }
  Stream getStream(Device d) const override {
    const auto index = d.has_index() ? d.index() : current_device;
    return Stream(Stream::UNSAFE, Device(c10::kCUDA, index), current[index]);
  }
  Stream getDefaultStream(Device d) const override { return Stream(Stream::UNSAFE, d, 0); }
  Stream getStreamFromGlobalPool(Device d, bool) const override {
    static std::atomic<c10::StreamId> last{0};
    return Stream(Stream::UNSAFE, d, ++last);
  }
  Stream exchangeStream(Stream s) const override {
    const Stream before = getStream(s.device());
    current[s.device_index()] = s.id();
    return before;
  }
  void record(void **event, const Stream &s, c10::DeviceIndex, c10::EventFlag) const override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (*event == nullptr) *event = new Clock;
    *static_cast<Clock *>(*event) = clocks[s.id()];
  }
  void block(void *event, const Stream &s) const override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (event != nullptr && !forgets("waits")) merge(clocks[s.id()], *static_cast<Clock *>(event));
  }
  void destroyEvent(void *event, c10::DeviceIndex) const noexcept override { delete static_cast<Clock *>(event); }
  bool queryEvent(void *) const override { return true; }
  bool queryStream(const Stream &) const override { return true; }
  void synchronizeStream(const Stream &s) const override {
    const std::lock_guard<std::mutex> lock(mutex);
    merge(clocks[host], clocks[s.id()]);
  }
  void synchronizeEvent(void *event) const override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (event != nullptr) merge(clocks[host], *static_cast<Clock *>(event));
  }
  void recordDataPtrOnStream(const c10::DataPtr &p, const Stream &s) const override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!forgets("records")) blocks[p.get()].recorded[s.id()] = true;
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    const char *n = std::getenv("STUB_DEVICES");
    if (n == nullptr) return 0;
    static const bool said = std::fprintf(stderr, "autograd counts\n") > 0;
    (void)said;
    return static_cast<c10::DeviceIndex>(std::atoi(n));
  }
};

// ---- Memory

struct Memory final : c10::Allocator {
  static void give(void *p) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      const auto found = blocks.find(p);
      if (found == blocks.end()) return;
      const Block &b = found->second;
      for (const auto &[other, tick] : b.read) {
        const auto recorded = b.recorded.find(other);
        if (other != b.owner && recorded == b.recorded.end() && clocks[b.owner][other] < tick)
          race("frees what is used by work", "the allocator", b.owner, other);
      }
      in_use -= b.bytes;
      blocks.erase(found);
    }
    std::free(p);
  }
  c10::DataPtr allocate(size_t bytes) override {
    const std::lock_guard<std::mutex> lock(mutex);
    const Device device(c10::kCUDA, current_device);
    if (bytes == 0) return {nullptr, nullptr, &give, device};
    const char *limit = std::getenv("STUB_MEMORY");
    TORCH_CHECK_WITH(OutOfMemoryError, limit == nullptr || in_use + bytes <= size_t(std::atoll(limit)),
                     "CUDA out of memory. Tried to allocate ", bytes, " bytes.");
    void *p = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    std::memset(p, 0xff, bytes);  // NaN, where the device has what was there before
    blocks[p] = {bytes, current[current_device], {}, {}, {}};
    in_use += bytes;
    return {p, p, &give, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give; }
  void copy_data(void *to, const void *from, size_t n) const override { std::memcpy(to, from, n); }
};
Memory memory;

constexpr c10::DispatchKeySet key(c10::DispatchKey::CUDA);

Tensor device_empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<Device> device,
             std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const c10::DeviceGuard on(device.value_or(Device(c10::kCUDA, current_device)));
  return at::detail::empty_generic(size, &memory, key, dtype.value_or(at::kFloat), format);
}

Tensor device_empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                     std::optional<Device> device, std::optional<bool>) {
  const c10::DeviceGuard on(device.value_or(Device(c10::kCUDA, current_device)));
  return at::detail::empty_strided_generic(size, stride, &memory, key, dtype.value_or(at::kFloat));
}

// ---- Copies

// here is a tensor of the CPU with t's memory.
Tensor here(const Tensor &t) {
  if (!t.is_cuda()) return t;
  return at::from_blob(const_cast<void *>(t.const_data_ptr()), t.sizes(), t.strides(), t.options().device(at::kCPU));
}

// Inside a kernel's stand-in copies are its own.
thread_local bool is_inside = false;
struct Inside {
  Inside() { is_inside = true; }
  ~Inside() { is_inside = false; }
};

Tensor &device_copy(Tensor &to, const Tensor &from, bool non_blocking) {
  if (!is_inside) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto stream = current[(to.is_cuda() ? to : from).get_device()];
    begin(stream);
    touch(from, false, "copy_");
    touch(to, true, "copy_");
    // From memory that is not page-locked CUDA takes a copy at once; libtorch then waits for the stream unless asked not to.
    if (!to.is_cuda() || !from.is_cuda()) {
      if (!non_blocking || !to.is_cuda()) merge(clocks[host], clocks[stream]);
      if (tracing) {
        std::fprintf(stderr, "the host %s %zu bytes of %s on stream %ld%s\n", to.is_cuda() ? "sends" : "reads", from.nbytes(),
                     c10::toString(from.scalar_type()), long(stream), non_blocking ? "" : " and waits");
      }
    }
  }
  const at::AutoDispatchBelowADInplaceOrView below;
  Tensor target = here(to);
  target.copy_(from.numel() == 0 ? at::empty(from.sizes(), from.options().device(at::kCPU)) : here(from), non_blocking);
  return to;
}

Tensor copy_from(const Tensor &from, const Tensor &to, bool non_blocking) {
  Tensor target = to;
  return device_copy(target, from, non_blocking);
}

const Tensor &device_resize(const Tensor &t, c10::IntArrayRef size, std::optional<at::MemoryFormat>) {
  Tensor fresh = at::empty(size, t.options());
  if (t.numel() != 0) TORCH_CHECK(t.sizes() == size, "the stand-in resizes empty tensors alone");
  if (t.sizes() != size) {
    auto *impl = t.unsafeGetTensorImpl();
    impl->set_storage_keep_dtype(fresh.storage());
    impl->set_sizes_contiguous(size);
  }
  return t;
}

Tensor copy_from_and_resize(const Tensor &from, const Tensor &to) {
  if (to.sizes() != from.sizes()) device_resize(to, from.sizes(), std::nullopt);
  return copy_from(from, to, false);
}

void record_stream(Tensor &t, Stream s) { Guard().recordDataPtrOnStream(t.storage().data_ptr(), s); }

// ---- Kernels

Tensor device_as_strided(const Tensor &t, c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<int64_t> offset) {
  auto out = at::detail::make_tensor<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(t.storage()), t.key_set(), t.dtype());
  auto *impl = out.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(size, stride, offset.value_or(t.storage_offset()));
  return out;
}

Tensor device_view(const Tensor &t, c10::IntArrayRef size) {
  const auto inferred = at::infer_size_dv(size, t.numel());
  const auto stride = at::detail::computeStride(t.sizes(), t.strides(), inferred);
  TORCH_CHECK(stride.has_value(), "view size is not compatible with input tensor's size and stride");
  return device_as_strided(t, inferred, *stride, t.storage_offset());
}

Tensor reshape_alias(const Tensor &t, c10::IntArrayRef size, c10::IntArrayRef stride) { return device_as_strided(t, size, stride, {}); }

Tensor device_unfold(const Tensor &t, int64_t dim, int64_t size, int64_t step) {
  auto sizes = t.sizes().vec(), strides = t.strides().vec();
  dim = at::maybe_wrap_dim(dim, t.dim());
  sizes.push_back(size), strides.push_back(strides[dim]);
  sizes[dim] = (sizes[dim] - size) / step + 1, strides[dim] *= step;
  return device_as_strided(t, sizes, strides, {});
}

at::Scalar read_number(const Tensor &t) {
  Tensor number = at::empty({}, t.options().device(at::kCPU));
  device_copy(number, t, false);
  return number.item();
}

// kernel is every other one: the CPU's, on copies that are made at once.
void kernel(const c10::OperatorHandle &op, torch::jit::Stack *stack) {
  const auto &schema = op.schema();
  const std::string name = schema.name();
  const size_t n = schema.arguments().size(), first = stack->size() - n;
  bool indices = name.find("index") != std::string::npos;  // which may lie on the host
  Device seen(c10::kCPU);
  std::vector<std::pair<Tensor, bool>> used;
  const auto see = [&](const Tensor &t, bool writes) {
    if (!t.defined()) return;
    used.emplace_back(t, writes);
    if (t.is_cuda()) {
      TORCH_CHECK(!seen.is_cuda() || seen == t.device(), "Expected all tensors to be on the same device, but found at least two devices, ", seen, " and ", t.device(), " (", name, ")");
      seen = t.device();
    }
  };
  for (size_t i = 0; i < n; i++) {
    const auto &v = (*stack)[first + i];
    const auto *alias = schema.arguments()[i].alias_info();
    const bool writes = alias != nullptr && alias->isWrite();
    if (v.isTensor()) see(v.toTensor(), writes);
    if (v.isTensorList()) for (const Tensor &t : v.toTensorVector()) see(t, writes);
    if (v.isOptionalTensorList())
      for (const std::optional<Tensor> &t : v.toOptionalTensorVector())
        if (t.has_value()) see(*t, writes);
  }
  for (const auto &[t, writes] : used)
    TORCH_CHECK(!seen.is_cuda() || t.is_cuda() || t.dim() == 0 || indices, "Expected all tensors to be on the same device, but found at least two devices, ", seen, " and cpu (", name, ")");
  const auto book = [&](auto &&note) {
    const std::lock_guard<std::mutex> lock(mutex);
    note();
  };
  book([&] {
    begin(current[seen.is_cuda() ? seen.index() : 0]);
    for (const auto &[t, writes] : used) touch(t, writes, name.c_str());
  });
  {
    const Inside inside;
    at::native::cpu_fallback(op, stack);
  }
  book([&] {
    for (size_t i = stack->size() - schema.returns().size(); i < stack->size(); i++) {
      const auto &v = (*stack)[i];
      if (v.isTensor()) touch(v.toTensor(), true, name.c_str());
      if (v.isTensorList())
        for (const Tensor &t : v.toTensorVector()) touch(t, true, name.c_str());
    }
  });
}

// ---- Flash attention of variable length, which only CUDA has

// sequences calls f with the rows [from, to) of queries and keys of each sequence.
template <class F>
void sequences(const Tensor &queries, const Tensor &keys, F f) {
  const Tensor q = here(queries), k = here(keys);
  for (int64_t i = 0; i + 1 < q.numel(); i++) f(q[i].item<int>(), q[i + 1].item<int>(), k[i].item<int>(), k[i + 1].item<int>());
}

Tensor attend(const Tensor &q, const Tensor &k, const Tensor &v, bool causal) {  // (n, heads, d) each
  const auto rows = [](const Tensor &x) { return x.transpose(0, 1).unsqueeze(0).to(at::kFloat); };
  return at::scaled_dot_product_attention(rows(q), rows(k), rows(v), {}, 0.0, causal).squeeze(0).transpose(0, 1).to(q.scalar_type());
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> flash(const Tensor &q, const Tensor &k, const Tensor &v, const std::optional<Tensor> &queries,
                                                         const std::optional<Tensor> &keys, int64_t most_queries, int64_t most_keys, double dropout, bool causal, bool, std::optional<double>,
                                                         std::optional<int64_t>, std::optional<int64_t>, const std::optional<Tensor> &, const std::optional<Tensor> &) {
  TORCH_CHECK(q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16, "FlashAttention only support fp16 and bf16 data type");
  TORCH_CHECK(k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type(), "query and key must have the same dtype");
  TORCH_CHECK(q.dim() == 3 && k.sizes() == v.sizes() && q.size(1) == k.size(1) && q.size(2) == k.size(2), "wrong shapes: ", q.sizes(), k.sizes(), v.sizes());
  TORCH_CHECK(q.size(2) % 8 == 0 && q.size(2) <= 256, "FlashAttention forward only supports head dimension at most 256, a multiple of 8");
  TORCH_CHECK(q.stride(-1) == 1 && k.stride(-1) == 1 && v.stride(-1) == 1, "Input tensor must have contiguous last dimension");
  for (const auto *starts : {&queries, &keys}) {
    TORCH_CHECK((*starts)->is_cuda() && (*starts)->scalar_type() == at::kInt && (*starts)->is_contiguous(), "cu_seqlens must be int32 on the device");
  }
  TORCH_CHECK(dropout == 0, "the stand-in has no dropout");
  Tensor out = at::empty(q.sizes(), q.options());
  const Tensor sums = at::zeros({q.size(1), q.size(0)}, q.options().dtype(at::kFloat)), state = at::zeros({2}, q.options().dtype(at::kUInt64)),
               unused = at::empty({0}, q.options());
  {
    const std::lock_guard<std::mutex> lock(mutex);
    begin(current[q.get_device()]);
    for (const Tensor *t : {&q, &k, &v, &*queries, &*keys}) touch(*t, false, "flash attention");
    touch(out, true, "flash attention");
  }
  const at::AutoDispatchBelowADInplaceOrView below;
  Tensor target = here(out);
  int64_t rows = 0;
  sequences(*queries, *keys, [&](int q0, int q1, int k0, int k1) {
    TORCH_CHECK(q1 - q0 <= most_queries && k1 - k0 <= most_keys, "a sequence is longer than the longest");
    rows = q1;
    if (q1 > q0) target.slice(0, q0, q1).copy_(attend(here(q).slice(0, q0, q1), here(k).slice(0, k0, k1), here(v).slice(0, k0, k1), causal));
  });
  TORCH_CHECK(rows == q.size(0), "the sequences have ", rows, " rows and the queries ", q.size(0));
  return {out, sums, state, unused, unused};
}

std::tuple<Tensor, Tensor, Tensor> flash_backward(const Tensor &grad, const Tensor &q, const Tensor &k, const Tensor &v, const Tensor &, const Tensor &, const Tensor &queries,
                                                  const Tensor &keys, int64_t, int64_t, double, bool causal, const Tensor &, const Tensor &, std::optional<double>, std::optional<int64_t>,
                                                  std::optional<int64_t>) {
  std::array<Tensor, 3> out{at::zeros(q.sizes(), q.options()), at::zeros(k.sizes(), k.options()), at::zeros(v.sizes(), v.options())};
  {
    const std::lock_guard<std::mutex> lock(mutex);
    begin(current[q.get_device()]);
    for (const Tensor *t : {&grad, &q, &k, &v, &queries, &keys}) touch(*t, false, "flash attention's backward");
    for (const Tensor &t : out) touch(t, true, "flash attention's backward");
  }
  sequences(queries, keys, [&](int q0, int q1, int k0, int k1) {
    if (q1 == q0) return;
    std::array<Tensor, 3> in;
    const std::array<const Tensor *, 3> from{&q, &k, &v};
    const std::array<std::pair<int, int>, 3> rows{{{q0, q1}, {k0, k1}, {k0, k1}}};
    // softmax(q k^T / sqrt(d)) v by hand: autograd is at work already.
    for (int i = 0; i < 3; i++) in[i] = here(*from[i]).slice(0, rows[i].first, rows[i].second).transpose(0, 1).to(at::kFloat);
    const Tensor g = here(grad).slice(0, q0, q1).transpose(0, 1).to(at::kFloat);
    const double scale = 1 / std::sqrt(double(q.size(2)));
    Tensor scores = in[0].matmul(in[1].transpose(1, 2)) * scale;
    if (causal) scores = scores.masked_fill(at::ones(scores.sizes(), at::kBool).triu(1), -INFINITY);
    const Tensor p = scores.softmax(-1), dp = g.matmul(in[2].transpose(1, 2));
    const Tensor ds = p * (dp - (dp * p).sum(-1, true)) * scale;
    const std::array<Tensor, 3> d{ds.matmul(in[1]), ds.transpose(1, 2).matmul(in[0]), p.transpose(1, 2).matmul(g)};
    for (int i = 0; i < 3; i++) here(out[i]).slice(0, rows[i].first, rows[i].second).copy_(d[i].transpose(0, 1));
  });
  return {out[0], out[1], out[2]};
}

// ---- Batch norm, which writes the running statistics in training, though its schema does not say so

using Optional = std::optional<Tensor>;

std::tuple<Tensor, Tensor, Tensor> batch_norm(const Tensor &x, const Optional &weight, const Optional &bias, const Optional &mean, const Optional &variance, bool training,
                                              double momentum, double eps) {
  const char *name = "native_batch_norm";
  {
    const std::lock_guard<std::mutex> lock(mutex);
    begin(current[x.get_device()]);
    touch(x, false, name);
    for (const Optional *t : {&weight, &bias}) if (*t) touch(**t, false, name);
    for (const Optional *t : {&mean, &variance}) if (*t) touch(**t, training, name);
  }
  const at::AutoDispatchBelowADInplaceOrView below;
  const auto host = [](const Optional &t) { return t ? Optional(here(*t)) : t; };
  const auto [y, m, v] = at::native_batch_norm(here(x), host(weight), host(bias), host(mean), host(variance), training, momentum, eps);
  const auto device = [&](const Tensor &t) {
    const Tensor out = at::empty_like(t, t.options().device(x.device()));
    Tensor target = here(out);
    target.copy_(t);
    const std::lock_guard<std::mutex> lock(mutex);
    touch(out, true, name);
    return out;
  };
  return {device(y), device(m), device(v)};
}

const bool here_it_is = (c10::SetAllocator(c10::kCUDA, &memory), true);

}  // namespace

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&kernel>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", device_empty);
  m.impl("empty_strided", device_empty_strided);
  m.impl("copy_", device_copy);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("resize_", device_resize);
  m.impl("as_strided", device_as_strided);
  m.impl("view", device_view);
  m.impl("_reshape_alias", reshape_alias);
  m.impl("unfold", device_unfold);
  m.impl("_local_scalar_dense", read_number);
  m.impl("record_stream", record_stream);
  m.impl("convolution", torch::CppFunction::makeFromBoxedFunction<&kernel>());  // else cuDNN's choices are made
  m.impl("convolution_backward", torch::CppFunction::makeFromBoxedFunction<&kernel>());
  m.impl("native_batch_norm", batch_norm);
  m.impl("_flash_attention_forward", flash);
  m.impl("_flash_attention_backward", flash_backward);
}
