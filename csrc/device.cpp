// device.cpp: copies to a device beside its work, and work that is captured once and replayed.
#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <map>
#include <mutex>

#include "graph.h"
#include "guard.h"
#include "pieces.h"

using namespace goclip;

namespace {

// copying is the stream of a device on which uploads go, beside the one on which it computes.
c10::Stream copying(c10::Device device) {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, c10::Stream> streams;
  const std::lock_guard<std::mutex> lock(mutex);
  auto found = streams.find(device.index());
  if (found == streams.end()) {
    const c10::impl::VirtualGuardImpl impl(device.type());
    found = streams.emplace(device.index(), impl.getStreamFromGlobalPool(device)).first;
  }
  return found->second;
}

// Sending is in_pieces' calls: to the bytes of a tensor, on the current stream.
struct Sending {
  struct Locked {
    at::Tensor bytes;
    void *data() const { return bytes.mutable_data_ptr(); }
  };
  at::Tensor to;

  Locked lock(size_t n) const {
    return {at::empty({static_cast<int64_t>(n)}, at::TensorOptions(at::kByte).pinned_memory(true))};
  }
  void send(const Locked &from, size_t at, size_t n) const {  // its allocator keeps from until the copy is done
    to.narrow(0, static_cast<int64_t>(at), static_cast<int64_t>(n)).copy_(from.bytes, /*non_blocking=*/true);
  }
};

}  // namespace

extern "C" {

char *gc_upload(const void *data, size_t bytes, int32_t dtype, const int64_t *shape, int32_t dims, int32_t index,
                gc_tensor **out, gc_event **arrived) {
  return guard([&] {
    open_cuda();
    const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
    const c10::Stream stream = copying(device);
    const c10::StreamGuard on(stream);
    at::Tensor t = at::empty(at::IntArrayRef(shape, dims), at::TensorOptions(device).dtype(element_type(dtype)));
    TORCH_CHECK(t.nbytes() == bytes, "the shape ", t.sizes(), " takes ", t.nbytes(), " bytes, not ", bytes);
    if (bytes != 0) in_pieces(Sending{t.view(-1).view(at::kByte)}, data, bytes);
    auto event = std::make_unique<c10::Event>(c10::kCUDA);
    event->record(stream);
    *out = own(std::move(t));
    *arrived = reinterpret_cast<gc_event *>(event.release());
  });
}

char *gc_arrive(gc_event *arrived, const gc_tensor *handle) {
  return guard([&] {
    const at::Tensor t = ref(handle);
    const c10::Stream stream = c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(t.device());
    reinterpret_cast<c10::Event *>(arrived)->block(stream);
    t.record_stream(stream);
  });
}

void gc_free_event(gc_event *event) {
  if (!device_lost) delete reinterpret_cast<c10::Event *>(event);
}

int gc_can_capture(void) { return &cuda_graph != nullptr; }

char *gc_capture_begin(int32_t index, gc_graph **out) {
  return guard([&] {
    TORCH_CHECK(&cuda_graph != nullptr,
                "this program is built without CUDA graphs: make build-cuda builds the commands with them");
    open_cuda();
    auto graph = cuda_graph(static_cast<c10::DeviceIndex>(index));
    graph->begin();
    *out = reinterpret_cast<gc_graph *>(graph.release());
  });
}

char *gc_capture_end(gc_graph *graph) {
  return guard([&] { reinterpret_cast<Graph *>(graph)->end(); });
}

char *gc_replay(gc_graph *graph) {
  return guard([&] { reinterpret_cast<Graph *>(graph)->replay(); });
}

void gc_free_graph(gc_graph *graph) {
  if (!device_lost) delete reinterpret_cast<Graph *>(graph);
}

}  // extern "C"
