// group.h: a process group whose waits end when a rank of it is known to have failed.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "flight.h"

namespace goclip {

class Group {
 public:
  // A collective under way. It keeps its tensors alive.
  struct Pending {
    c10::intrusive_ptr<c10d::Work> work;
    c10::intrusive_ptr<c10::ivalue::Future> future;  // null on a device
  };

  // on_device says that the collectives are kernels, as NCCL's, which the host does not wait for.
  Group(c10::intrusive_ptr<c10d::Backend> backend, std::chrono::milliseconds timeout, bool on_device);
  ~Group();

  int rank() const { return backend_->getRank(); }
  int size() const { return backend_->getSize(); }

  // Each starts a collective that every rank starts in the same order. Tensors are contiguous; results lie in the
  // tensors themselves, or in `out`, the ranks' rows one after another.
  Pending all_reduce(const at::Tensor &t);
  Pending broadcast(const at::Tensor &t, int root);
  Pending all_gather(at::Tensor in, at::Tensor out);

  // wait throws what the collective ran into, abort's message, or that the time is over. On a device it has the
  // calling thread's stream wait, not the host, and throws what is known by then.
  void wait(const Pending &pending);

  // check throws what any collective that was waited for ran into. On a device the host waits here for all of them: a
  // result of theirs that was read is right if check, called after it, returns.
  void check();
  void abort(const std::string &reason);

 private:
  // What a waiting thread hears of. Callbacks of futures hold it, and may outlive the group.
  struct Events {
    std::mutex mutex;
    std::condition_variable changed;
    bool aborted = false;
    std::string reason;
  };

  Pending watch(c10::intrusive_ptr<c10d::Work> work);
  void settle(std::unique_lock<std::mutex> &lock, bool heard, const std::exception_ptr &failed);

  c10::intrusive_ptr<c10d::Backend> backend_;
  const std::chrono::milliseconds timeout_;
  const bool on_device_;
  std::shared_ptr<Events> events_ = std::make_shared<Events>();
  Flight<c10::intrusive_ptr<c10d::Work>> flight_;  // on a device; guarded by the events' mutex
};

// nccl_backend joins the ranks by NCCL, each with one CUDA device ("cuda:0"), and returns when they are connected. It
// is in csrc/cuda, which the build tag cuda adds; without it the function's address is null.
__attribute__((weak)) c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store> &store,
                                                                     int rank, int size, const std::string &device,
                                                                     std::chrono::milliseconds timeout);

// find_group is the group that gc_group_open gave this number; it throws once that is closed.
std::shared_ptr<Group> find_group(int64_t number);

}  // namespace goclip
