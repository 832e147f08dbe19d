// split.h: float32 numbers as two of bfloat16 in AMX's tiles, and the products of such tiles, for the files that use
// them.
//
// As avx512.h, with "avx512bf16" beside its targets; what it makes runs only where bf16x3::usable() is true.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include "avx512.h"
#include "bf16x3.h"
#include "tile.h"

namespace goclip::bf16x3 {

using namespace avx512;

constexpr int64_t side = 16, step = 32;  // vectors and depth of a tile

// Tiles are the two halves of 16 vectors at 32 depths. A left-hand one has a vector in each row; a right-hand one has a
// pair of depths in each row, and in it the pairs of the 16 vectors.
struct alignas(64) Tiles {
  uint32_t hi[side][16], lo[side][16];
};

static inline __m512 wide(__m256bh x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(x)), 16));
}

// Split is one vector of numbers as hi + lo, 16 bits each.
struct Split {
  __m256i hi, lo;
  __mmask16 bad;  // the numbers that cannot be split: hi is infinite or NaN

  explicit Split(__m512 x) {
    const __m256bh h = _mm512_cvtneps_pbh(x);
    hi = reinterpret_cast<__m256i>(h);
    lo = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_sub_ps(x, wide(h))));
    bad = _mm512_fpclass_ps_mask(wide(h), 0x99);  // quiet NaN, infinities, signalling NaN
  }
};

static inline __m512i in_line(__m256i a, __m256i b) { return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1); }
static inline __m512i in_pairs(__m256i a, __m256i b) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

static inline void transpose(uint32_t (&m)[side][16]) {
  __m512 rows[side];
  for (int i = 0; i < side; i++) rows[i] = _mm512_load_ps(m[i]);
  avx512::transpose(rows);
  for (int i = 0; i < side; i++) _mm512_store_ps(m[i], rows[i]);
}

// split_tile fills the tiles of the vectors from v on and the depths from k on; what is beyond the matrix is zero. It
// returns whether every number could be split.
template <class T>
bool split_tile(const MatrixOf<T> &m, bool right, int64_t v, int64_t k, Tiles &to) {
  const bool along = m.depth_stride == 1;  // whether the numbers of a vector lie side by side
  const T *from = m.data + v * m.vector_stride + k * m.depth_stride;
  const int64_t vectors = m.vectors - v, depth = m.depth - k;
  __mmask16 bad = 0;
  for (int64_t i = 0; i < side; i++) {
    // Of vector i the 32 depths, or of depths 2i and 2i + 1 the 16 vectors.
    const T *a = along ? from + i * m.vector_stride : from + 2 * i * m.depth_stride;
    const T *b = along ? a + side : a + m.depth_stride;
    const __mmask16 in_a = along ? (i < vectors ? first(depth) : 0) : (2 * i < depth ? first(vectors) : 0);
    const __mmask16 in_b = along ? (i < vectors ? first(depth - side) : 0) : (2 * i + 1 < depth ? first(vectors) : 0);
    const Split x(load(a, in_a)), y(load(b, in_b));
    bad |= x.bad | y.bad;
    _mm512_store_si512(to.hi[i], along ? in_line(x.hi, y.hi) : in_pairs(x.hi, y.hi));
    _mm512_store_si512(to.lo[i], along ? in_line(x.lo, y.lo) : in_pairs(x.lo, y.lo));
  }
  if (along == right) {
    transpose(to.hi);
    transpose(to.lo);
  }
  return bad == 0;
}

// SplitRows are where the rows of a left-hand matrix of so many steps of depth go, number by number.
struct SplitRows {
  Tiles *tiles;
  int64_t steps;
  std::atomic<bool> *bad;  // set if a number cannot be split

  // The rows behind the last are zero, so that what is computed of them can be split.
  SplitRows(void *to, int64_t rows, int64_t depth, std::atomic<bool> *bad)
      : tiles(static_cast<Tiles *>(to)), steps(depth / step), bad(bad) {
    if (rows % side != 0) std::memset(tiles + rows / side * steps, 0, steps * sizeof(Tiles));
  }

  // Place is that of one number.
  struct Place {
    char *hi;
    std::atomic<bool> *bad;
  };
  Place at(int64_t row, int64_t column) const {
    Tiles &t = tiles[row / side * steps + column / step];
    return {reinterpret_cast<char *>(t.hi[row % side]) + column % step * 2, bad};
  }
};

// store writes 16 numbers of a row from a multiple of 16 on.
static inline void store(SplitRows::Place to, __m512 x, __mmask16) {
  const Split s(x);
  _mm256_store_si256(reinterpret_cast<__m256i *>(to.hi), s.hi);
  _mm256_store_si256(reinterpret_cast<__m256i *>(to.hi + sizeof Tiles::hi), s.lo);
  if (s.bad) *to.bad = true;
}

// Block is a result of 32 x 32 on its way from the tiles to memory.
struct alignas(64) Block {
  float c[2 * side][2 * side];
};

// product sums over steps of depth. Each time it loads eight tiles for twelve products, because loads are what limits
// them. With few rows there is one row of tiles.
template <bool Few>
static inline void product(const Tiles *a0, const Tiles *a1, const Tiles *b0, const Tiles *b1, int64_t steps,
                           Block &to) {
  using tile::dot, tile::load, tile::store, tile::zero;
  zero<0>(), zero<1>();
  if (!Few) zero<2>(), zero<3>();
  for (int64_t k = 0; k < steps; k++) {
    load<4>(a0[k].lo), load<6>(b0[k].hi), dot<0, 4, 6>();
    load<7>(b1[k].hi), dot<1, 4, 7>();
    if (!Few) load<5>(a1[k].lo), dot<2, 5, 6>(), dot<3, 5, 7>();
    load<4>(a0[k].hi), dot<0, 4, 6>(), dot<1, 4, 7>();
    if (!Few) load<5>(a1[k].hi), dot<2, 5, 6>(), dot<3, 5, 7>();
    load<6>(b0[k].lo), dot<0, 4, 6>();
    load<7>(b1[k].lo), dot<1, 4, 7>();
    if (!Few) dot<2, 5, 6>(), dot<3, 5, 7>();
  }
  constexpr int64_t stride = sizeof to.c[0];
  store<0>(to.c[0], stride), store<1>(to.c[0] + side, stride);
  if (!Few) store<2>(to.c[side], stride), store<3>(to.c[side] + side, stride);
}

}  // namespace goclip::bf16x3
