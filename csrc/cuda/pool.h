// pool.h: the memory that captured graphs share, and what is left to do when a capture failed. It includes nothing of
// CUDA's, so that testdata/pool.cpp can record the calls.
#pragma once

#include <mutex>

namespace goclip {

// Pool gives captures of one device the id of the pool that their graphs share. libtorch forgets a pool with its last
// graph, and an assertion fails where the id is used again: the next capture then gets a new one.
//
// Calls has the type Id, whose default is no pool; Id fresh(); and end_device(id), end_host(id), release_device(id),
// release_host(id), which are the two allocators' and may throw.
template <class Calls>
class Pool {
 public:
  using Id = typename Calls::Id;

  explicit Pool(Calls calls = {}) : calls_(calls) {}

  // take is the id for one more capture.
  Id take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (users_ == 0) current_ = calls_.fresh();
    users_++;
    return current_;
  }

  // give says that what took the id is gone, and no longer in libtorch's count.
  void give(Id id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (users_ > 0 && id == current_) users_--;
  }

  // failed closes what a capture that threw left open: libtorch leaves before it ends the allocation to the pool, and
  // every later capture and allocation on the stream would meet it. counted says that both allocators count this
  // capture; where it failed to begin, only one that can be ended does. Later captures get another pool.
  void failed(Id id, bool counted) {
    close([&] { calls_.end_device(id); }, [&] { calls_.release_device(id); }, counted);
    close([&] { calls_.end_host(id); }, [&] { calls_.release_host(id); }, counted);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (id == current_) users_ = 0, current_ = Id();
  }

 private:
  template <class End, class Release>
  static void close(End end, Release release, bool counted) noexcept {
    bool ended = false;
    try {
      end();
      ended = true;
    } catch (...) {  // it had been ended, or was never begun
    }
    if (!ended && !counted) return;
    try {
      release();
    } catch (...) {  // nothing more can be done, and the capture's own error says what happened
    }
  }

  Calls calls_;
  std::mutex mutex_;
  Id current_{};
  int users_ = 0;  // graphs and captures that have current_
};

}  // namespace goclip
