// graph.h: work on a CUDA device, captured once to be replayed.
#pragma once

#include <c10/core/Device.h>

#include <memory>

namespace goclip {

class Graph {
 public:
  virtual ~Graph() = default;

  // What the calling thread then gives the device to do is noted and not done, until end is called on the same thread.
  virtual void begin() = 0;
  virtual void end() = 0;

  // replay has the device do it once more, on the calling thread's stream.
  virtual void replay() = 0;
};

// cuda_graph is in csrc/cuda, which the build tag cuda adds; without it the function's address is null.
__attribute__((weak)) std::unique_ptr<Graph> cuda_graph(c10::DeviceIndex device);

}  // namespace goclip
