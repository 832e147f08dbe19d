// graph.cpp: CUDA graphs.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "graph.h"

namespace {

class CUDAGraph : public goclip::Graph {
 public:
  explicit CUDAGraph(c10::DeviceIndex device)
      : stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device)),
        before_(c10::cuda::getCurrentCUDAStream(device)) {}

  void begin() override {
    const c10::cuda::CUDAGuard on(stream_.device_index());
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();  // the graph has memory of its own
    c10::cuda::setCurrentCUDAStream(stream_);
    try {
      // Other threads may go on: they copy pictures to the device meanwhile.
      graph_.capture_begin(pool(), cudaStreamCaptureModeThreadLocal);
    } catch (...) {
      c10::cuda::setCurrentCUDAStream(before_);
      throw;
    }
  }

  void end() override {
    const c10::cuda::CUDAGuard on(stream_.device_index());
    try {
      graph_.capture_end();
    } catch (...) {
      c10::cuda::setCurrentCUDAStream(before_);
      throw;
    }
    c10::cuda::setCurrentCUDAStream(before_);
  }

  void replay() override {
    const c10::cuda::CUDAGuard on(stream_.device_index());
    graph_.replay();
  }

 private:
  // All graphs share the memory of their temporaries: no two run at once, and what a graph reads and what is read of it
  // lies outside.
  static at::cuda::MempoolId_t pool() {
    static const auto shared = at::cuda::graph_pool_handle();
    return shared;
  }

  c10::cuda::CUDAStream stream_, before_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace

std::unique_ptr<goclip::Graph> goclip::cuda_graph(c10::DeviceIndex device) {
  return std::make_unique<CUDAGraph>(device);
}
