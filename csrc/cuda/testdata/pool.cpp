// pool.cpp: Pool against allocators that behave as libtorch's of 2.11 do, and write down what they are asked.
#include "../pool.h"

#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

struct Allocator {
  std::map<int, int> uses;  // of a pool, by graphs and captures; 0 once the last is gone
  int underway = 0;

  void begin(int pool) {
    const auto found = uses.find(pool);
    if (found != uses.end() && found->second == 0) throw std::runtime_error("use_count > 0");
    if (underway != 0) throw std::runtime_error("already recording");
    uses[pool]++, underway = pool;
  }
  void end(int pool) {
    if (underway != pool) throw std::runtime_error("not currently recording");
    underway = 0;
  }
  void release(int pool) {
    if (uses.at(pool)-- == 0) throw std::runtime_error("released too often");
  }
};

Allocator device, host;
int last = 0;

struct Calls {
  using Id = int;
  int fresh() { return ++last; }
  void end_device(int id) { device.end(id); }
  void end_host(int id) { host.end(id); }
  void release_device(int id) { device.release(id); }
  void release_host(int id) { host.release(id); }
};

int failures = 0;
void expect(bool holds, const char *what) {
  if (!holds) std::printf("%s\n", what), failures++;
}

int begin(goclip::Pool<Calls> &pool) {
  const int id = pool.take();
  device.begin(id), host.begin(id);
  return id;
}
int capture(goclip::Pool<Calls> &pool) {
  const int id = begin(pool);
  device.end(id), host.end(id);
  return id;
}
void drop(goclip::Pool<Calls> &pool, int id) {
  device.release(id), host.release(id);
  pool.give(id);
}

int main() {
  try {
    goclip::Pool<Calls> pool;
    const int first = capture(pool), second = capture(pool);
    expect(first == second, "graphs share a pool");
    drop(pool, first);
    expect(capture(pool) == first, "as long as one is left");
    drop(pool, first), drop(pool, first);
    const int third = capture(pool);
    expect(third != first, "a pool's id does not outlive its graphs");

    const int invalid = begin(pool);  // and capture_end throws before it ends the allocation
    pool.failed(invalid, true);
    expect(device.underway == 0 && host.underway == 0, "a failed capture leaves no allocation open");
    expect(device.uses[third] == 1 && host.uses[third] == 1, "and is in nobody's count");
    const int fourth = capture(pool);
    expect(fourth != third, "the next capture gets another pool");
    drop(pool, third);  // of the pool before
    expect(capture(pool) == fourth, "which graphs of an older pool do not count for");

    const int late = begin(pool);  // capture_end throws after it ended the allocation, before it counts as a capture
    device.end(late), host.end(late);
    pool.failed(late, true);
    expect(device.uses[late] == 2 && host.uses[late] == 2, "a capture that was ended is released, too");

    const int half = pool.take();  // capture_begin throws between the allocators
    device.begin(half);
    pool.failed(half, false);
    expect(device.underway == 0 && device.uses[half] == 0 && host.uses.count(half) == 0,
           "only what was begun is closed");
    const int unbegun = pool.take();
    pool.failed(unbegun, false);
    expect(capture(pool) != unbegun, "nor is anything of a capture that never began");
  } catch (const std::exception &e) {
    expect(false, e.what());
  }
  return failures;
}
