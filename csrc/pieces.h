// pieces.h: how data goes through page-locked memory. It includes nothing of libtorch's, so that
// cuda/testdata/pieces.cpp can record the calls.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace goclip {

// libtorch rounds page-locked memory up to a power of two, which would lock up to twice the size of a batch. Pieces of
// this size are none the larger for it, and while one is on its way the next is filled.
constexpr size_t piece_bytes = size_t(4) << 20;

// in_pieces has calls copy data. Calls has the type Locked; Locked lock(bytes), memory to write to at Locked::data();
// and send(locked, offset, bytes), which may return before the copy is done: locked's memory is not given to anybody
// before.
template <class Calls>
void in_pieces(Calls &&calls, const void *data, size_t bytes) {
  for (size_t at = 0; at < bytes; at += piece_bytes) {
    const size_t n = std::min(piece_bytes, bytes - at);
    auto locked = calls.lock(n);
    std::memcpy(locked.data(), static_cast<const char *>(data) + at, n);
    calls.send(locked, at, n);
  }
}

}  // namespace goclip
