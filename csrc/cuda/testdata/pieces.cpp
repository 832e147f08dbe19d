// pieces.cpp: in_pieces against an allocator that rounds as libtorch's does, and a device that has the bytes.
#include "../../pieces.h"

#include <cstdio>
#include <vector>

int failures = 0;
void expect(bool holds, const char *what, size_t bytes) {
  if (!holds) std::printf("%zu bytes: %s\n", bytes, what), failures++;
}

struct Calls {
  std::vector<char> &device;
  size_t locked = 0;

  std::vector<char> lock(size_t bytes) {
    size_t rounded = 1;
    while (rounded < bytes) rounded *= 2;
    locked += rounded;
    return std::vector<char>(bytes);
  }
  void send(std::vector<char> &from, size_t at, size_t bytes) { std::copy_n(from.data(), bytes, device.data() + at); }
};

int main() {
  using goclip::piece_bytes;
  for (const size_t bytes : {size_t(0), size_t(1), size_t(3), piece_bytes - 1, piece_bytes, piece_bytes + 1, 9 * piece_bytes + 5}) {
    std::vector<char> data(bytes), device(bytes);
    for (size_t i = 0; i < bytes; i++) data[i] = static_cast<char>(i * 31 + i / 7919);
    Calls calls{device};
    goclip::in_pieces(calls, data.data(), bytes);
    expect(device == data, "the device has other bytes", bytes);
    expect(calls.locked <= bytes + piece_bytes, "more is locked than a piece beyond them", bytes);
  }
  return failures;
}
