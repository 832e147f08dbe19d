// flight.h: collectives under way on a device, whose errors the host sees only later. It includes nothing
// of c10d's, so that cuda/testdata/flight.cpp can stand in for it.
#pragma once

#include <deque>
#include <exception>
#include <utility>

namespace goclip {

// Flight keeps what was given to the device until it is done. Work is a pointer to what has isCompleted() and
// exception(), as c10d::Work: a collective whose communicator was ended is completed, by an exception.
template <class Work>
class Flight {
 public:
  void add(Work w) {
    land();
    works_.push_back(std::move(w));
  }

  // failure is the error of the first collective that had one, and stays; null without.
  std::exception_ptr failure() {
    land();
    return failed_;
  }

  // landed reports whether there is nothing left to hear of.
  bool landed() {
    land();
    return failed_ || works_.empty();
  }

 private:
  // land forgets what is done. They are done in their order.
  void land() {
    while (!failed_ && !works_.empty() && works_.front()->isCompleted()) {
      failed_ = works_.front()->exception();
      works_.pop_front();
    }
  }

  std::deque<Work> works_;
  std::exception_ptr failed_;
};

}  // namespace goclip
