// flight.cpp: Flight against collectives that end when they are told to, as NCCL's do.
#include "../../flight.h"

#include <cstdio>
#include <memory>
#include <stdexcept>

struct Work {
  bool done = false;
  std::exception_ptr error;
  int asked = 0;
  bool isCompleted() { return asked++, done; }
  std::exception_ptr exception() { return error; }
};

int failures = 0;
void expect(bool holds, const char *what) {
  if (!holds) std::printf("%s\n", what), failures++;
}

int main() {
  goclip::Flight<std::shared_ptr<Work>> flight;
  expect(flight.landed() && !flight.failure(), "nothing is under way at first");
  const auto a = std::make_shared<Work>(), b = std::make_shared<Work>(), c = std::make_shared<Work>();
  flight.add(a), flight.add(b);
  expect(!flight.landed(), "the host continues while two are under way");
  expect(b->asked == 0, "and asks for the first alone");
  a->done = true;
  expect(!flight.landed() && a.use_count() == 1, "what is done is let go, with its tensors");
  flight.add(c);
  b->done = c->done = true;
  b->error = std::make_exception_ptr(std::runtime_error("rank 1 is gone"));
  expect(flight.landed(), "one that was ended is done");
  for (int i = 0; i < 2; i++) {
    try {
      if (const auto failed = flight.failure()) std::rethrow_exception(failed);
      expect(false, "an error is not lost");
    } catch (const std::exception &e) {
      expect(std::string(e.what()) == "rank 1 is gone", "and says what happened");
    }
    flight.add(std::make_shared<Work>());
    expect(flight.landed(), "after it nothing is waited for");
  }
  return failures;
}
