// graph.cpp: CUDA graphs.
#include "graph.h"

#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <map>

#include "pool.h"
#include "version.h"

namespace {

struct Allocators {
  using Id = at::cuda::MempoolId_t;
  c10::DeviceIndex device = 0;

  Id fresh() const { return at::cuda::graph_pool_handle(); }
  void end_device(Id id) const { c10::cuda::CUDACachingAllocator::endAllocateToPool(device, id); }
  void release_device(Id id) const { c10::cuda::CUDACachingAllocator::releasePool(device, id); }
  void end_host(Id id) const { at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(id); }
  void release_host(Id id) const { at::getHostAllocator(at::kCUDA)->release_pool(id); }
};

// Captures is what a device's captures share, as long as the process lives. All graphs share the memory of their
// temporaries: no two run at once, and what a graph reads and what is read of it lies outside.
struct Captures {
  goclip::Pool<Allocators> pool;
  // libtorch has 32 streams of either priority and hands them out in turn, over and over. Uploads and NCCL take theirs
  // from those of ordinary priority; this one is kept.
  const c10::cuda::CUDAStream stream;

  explicit Captures(c10::DeviceIndex device)
      : pool(Allocators{device}), stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device)) {}

  static Captures &of(c10::DeviceIndex device) {
    static std::mutex mutex;
    static auto &all = *new std::map<c10::DeviceIndex, Captures>;  // graphs may be freed while the process ends
    const std::lock_guard<std::mutex> lock(mutex);
    return all.try_emplace(device, device).first->second;
  }
};

struct Captured : at::cuda::CUDAGraph {
  bool ended() const { return capture_ended_; }

  // After a capture that failed the generators believe that it is still open, and refuse to draw.
  void release_generators() {
    for (auto &entry : captured_generator_states_) entry.first->capturing_ = false;
  }
};

class CUDAGraph : public goclip::Graph {
 public:
  explicit CUDAGraph(c10::DeviceIndex device)
      : captures_(Captures::of(device)), before_(c10::cuda::getCurrentCUDAStream(device)), graph_(new Captured) {}

  ~CUDAGraph() override {
    graph_.reset();  // first: it leaves the pool
    if (taken_) captures_.pool.give(id_);
  }

  void begin() override {
    const c10::cuda::CUDAGuard on(captures_.stream.device_index());
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();  // the graph has memory of its own
    c10::cuda::setCurrentCUDAStream(captures_.stream);
    try {
      at::cuda::getCurrentCUDABlasHandle();  // whose workspace is the stream's, and would lie in the graph's memory
      id_ = captures_.pool.take();
      taken_ = true;
      // Other threads may continue: they copy images to the device meanwhile.
      graph_->capture_begin(id_, cudaStreamCaptureModeThreadLocal);
    } catch (...) {
      if (taken_) failed(/*counted=*/false);
      c10::cuda::setCurrentCUDAStream(before_);
      throw;
    }
  }

  void end() override {
    const c10::cuda::CUDAGuard on(captures_.stream.device_index());
    try {
      graph_->capture_end();
    } catch (...) {
      if (!graph_->ended()) failed(/*counted=*/true);
      c10::cuda::setCurrentCUDAStream(before_);
      throw;
    }
    c10::cuda::setCurrentCUDAStream(before_);
  }

  void replay() override {
    const c10::cuda::CUDAGuard on(captures_.stream.device_index());
    graph_->replay();
  }

 private:
  void failed(bool counted) {
    graph_->release_generators();
    captures_.pool.failed(id_, counted);
    taken_ = false;
  }

  Captures &captures_;
  c10::cuda::CUDAStream before_;
  std::unique_ptr<Captured> graph_;
  at::cuda::MempoolId_t id_{};
  bool taken_ = false;
};

}  // namespace

std::unique_ptr<goclip::Graph> goclip::cuda_graph(c10::DeviceIndex device) {
  return std::make_unique<CUDAGraph>(device);
}
