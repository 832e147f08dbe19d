// bf16x3.cpp: the kernel behind bf16x3.h.
#include "bf16x3.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "tile.h"
#pragma GCC diagnostic ignored "-Wuninitialized"  // in g++ 12's own intrinsics (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#include "avx512.h"

namespace goclip::bf16x3 {
namespace {

using namespace avx512;

constexpr int64_t side = 16, step = 32;  // vectors and depth of a tile

// Tiles are the two halves of 16 vectors at 32 depths. A left-hand one has a vector in each row; a right-hand one has a
// pair of depths in each row, and in it the pairs of the 16 vectors.
struct alignas(64) Tiles {
  uint32_t hi[side][16], lo[side][16];
};

int64_t over(int64_t n, int64_t by) { return (n + by - 1) / by; }

__m512 wide(__m256bh x) {
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

__m512i in_line(__m256i a, __m256i b) { return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1); }
__m512i in_pairs(__m256i a, __m256i b) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

void transpose(uint32_t (&m)[side][16]) {
  alignas(64) uint32_t was[side][16];
  std::memcpy(was, m, sizeof was);
  const __m512i column = _mm512_mullo_epi32(_mm512_set1_epi32(16),
                                            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  for (int i = 0; i < side; i++) _mm512_store_si512(m[i], _mm512_i32gather_epi32(column, &was[0][i], 4));
}

// split_tile fills the tiles of the vectors from v on and the depths from k on; what is beyond the matrix is zero. It
// returns whether every number could be split.
bool split_tile(const Matrix &m, bool right, int64_t v, int64_t k, Tiles &to) {
  const bool along = m.depth_stride == 1;  // whether the numbers of a vector lie side by side
  const float *from = m.data + v * m.vector_stride + k * m.depth_stride;
  const int64_t vectors = m.vectors - v, depth = m.depth - k;
  __mmask16 bad = 0;
  for (int64_t i = 0; i < side; i++) {
    // Of vector i the 32 depths, or of depths 2i and 2i + 1 the 16 vectors.
    const float *a = along ? from + i * m.vector_stride : from + 2 * i * m.depth_stride;
    const float *b = along ? a + side : a + m.depth_stride;
    const __mmask16 in_a = along ? (i < vectors ? first(depth) : 0) : (2 * i < depth ? first(vectors) : 0);
    const __mmask16 in_b = along ? (i < vectors ? first(depth - side) : 0) : (2 * i + 1 < depth ? first(vectors) : 0);
    const Split x(_mm512_maskz_loadu_ps(in_a, a)), y(_mm512_maskz_loadu_ps(in_b, b));
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

// Block is a result of 32 x 32 on its way from the tiles to memory.
struct alignas(64) Block {
  float c[2 * side][2 * side];
};

// product sums over steps of depth. Each time it loads eight tiles for twelve products, because loads are what limits
// them. With few rows there is one row of tiles.
template <bool Few>
void product(const Tiles *a0, const Tiles *a1, const Tiles *b0, const Tiles *b1, int64_t steps, Block &to) {
  using namespace tile;
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

// write is the epilogue of rows x columns of a block, at an offset in matrices of row_stride. A later one of several
// pieces of the depth adds to what is there.
void write(const Block &block, int64_t rows, int64_t columns, const Epilogue &e, bool later, bool last, int64_t offset,
           int64_t column, int64_t row_stride, float *to) {
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < columns; j += 16) {
      const __mmask16 in = first(columns - j);
      const int64_t at = offset + i * row_stride + j;
      __m512 x = _mm512_load_ps(block.c[i] + j);
      if (later) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(in, to + at));
      if (last) {
        if (e.bias) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(in, e.bias + column + j));
        if (e.activation == Activation::gelu) x = gelu(x);
        if (e.activation == Activation::quick_gelu) x = quick_gelu(x);
        if (e.residual) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(in, e.residual + at));
      }
      _mm512_mask_storeu_ps(to + at, in, x);
    }
  }
}

// Left-hand tiles of the calling thread's last product, kept because fresh memory costs as much as filling it.
Tiles *workspace(int64_t n) {
  thread_local std::unique_ptr<Tiles[]> tiles;
  thread_local int64_t have = 0;
  if (have < n) {
    tiles.reset(new Tiles[n]);
    have = n;
  }
  return tiles.get();
}

// What a core's second-level cache keeps beside a strip of the right-hand matrix, and the depth at which sums go to
// memory in between: a thread then has at most a megabyte of left-hand tiles.
constexpr int64_t panel_tiles = 512, piece_steps = 128;

}  // namespace

int64_t packed_bytes(int64_t vectors, int64_t depth) {
  return 2 * over(vectors, 2 * side) * over(depth, step) * sizeof(Tiles);
}

bool pack(const Matrix &m, void *to) {
  const int64_t steps = over(m.depth, step), groups = 2 * over(m.vectors, 2 * side);
  std::atomic<bool> bad{false};
#pragma omp parallel for
  for (int64_t i = 0; i < groups; i++) {
    for (int64_t k = 0; k < steps; k++) {
      if (!split_tile(m, true, i * side, k * step, static_cast<Tiles *>(to)[i * steps + k])) bad = true;
    }
  }
  return !bad;
}

bool multiply(const Matrix &a, const void *packed, int64_t n, const Epilogue &e, float *to) {
  const auto *b = static_cast<const Tiles *>(packed);
  const int64_t groups = over(a.vectors, side), steps = over(a.depth, step), strips = over(n, 2 * side);
  const int64_t deep = std::min(steps, piece_steps);
  const int64_t panel = std::clamp<int64_t>(panel_tiles / deep / 2 * 2, 2, 16);
  const int64_t wave = std::min(over(groups, panel), static_cast<int64_t>(omp_get_max_threads())) * panel;
  Tiles *left = workspace(wave * deep);
  std::atomic<bool> bad{false};
#pragma omp parallel
  {
    tile::configure(tile::Config());
    bool stop = false;  // all threads read bad where none can set it
    for (int64_t k0 = 0; k0 < steps && !stop; k0 += deep) {
      const int64_t now = std::min(deep, steps - k0);
      for (int64_t g0 = 0; g0 < groups && !stop; g0 += wave) {
        const int64_t here = std::min(wave, groups - g0);
#pragma omp for
        for (int64_t i = 0; i < here * now; i++) {
          if (!split_tile(a, false, (g0 + i / now) * side, (k0 + i % now) * step, left[i])) bad = true;
        }
        stop = bad;
#pragma omp for
        for (int64_t task = 0; task < over(here, panel) * strips; task++) {
          const int64_t strip = task % strips, from = task / strips * panel;
          const Tiles *b0 = b + 2 * strip * steps + k0, *b1 = b0 + steps;
          for (int64_t g = from; g < std::min(from + panel, here); g += 2) {
            const Tiles *a0 = left + g * now, *a1 = a0 + now;
            Block block;
            g + 1 < here ? product<false>(a0, a1, b0, b1, now, block) : product<true>(a0, a1, b0, b1, now, block);
            const int64_t row = (g0 + g) * side, column = strip * 2 * side;
            write(block, std::min(2 * side, a.vectors - row), std::min(2 * side, n - column), e, k0 > 0,
                  k0 + now == steps, row * n + column, column, n, to);
          }
        }
      }
    }
    tile::release();
  }
  return !bad;
}

namespace {

// wrong compares the products of small matrices, with outliers, denormals and edges on all sides, with float64's.
bool wrong() {
  const int64_t m = 37, n = 45, k = 75;
  std::minstd_rand draw;
  const auto fill = [&](std::vector<float> &x) {
    for (float &v : x) {
      v = static_cast<float>(draw()) / std::minstd_rand::max() - 0.5f;
      const auto kind = draw() % 64;
      v *= kind == 0 ? 2e4f : kind == 1 ? 1e-38f : kind == 2 ? 1e-42f : 1;
    }
  };
  std::vector<float> a(m * k), b(n * k), c(m * n), bias(n);
  fill(a), fill(b), fill(bias);
  std::unique_ptr<Tiles[]> packed(new Tiles[packed_bytes(n, k) / sizeof(Tiles)]);
  Epilogue e;
  e.bias = bias.data();
  if (!pack({b.data(), n, k, k, 1}, packed.get()) || !multiply({a.data(), m, k, k, 1}, packed.get(), n, e, c.data()))
    return true;
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double sum = bias[j], size = std::abs(sum);
      for (int64_t l = 0; l < k; l++) {
        const double p = static_cast<double>(a[i * k + l]) * b[j * k + l];
        sum += p, size += std::abs(p);
      }
      // Three terms of at most 2^-16 are left out, and float32 rounds.
      if (!(std::abs(c[i * n + j] - sum) <= 0x1p-14 * size + 1e-30)) return true;
    }
  }
  a[k + 1] = std::numeric_limits<float>::infinity();
  return multiply({a.data(), m, k, k, 1}, packed.get(), n, e, c.data());
}

bool has_instructions() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool tiles = (d >> 22 & 1) && (d >> 24 & 1);                                      // AMX-BF16, AMX-TILE
  const bool vectors = (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1);  // F, DQ, BW, VL
  return tiles && vectors && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);     // AVX512-BF16
}

}  // namespace
}  // namespace goclip::bf16x3

#pragma GCC pop_options

// The tests' software model of the tiles, which catches their instructions on a processor that has none. Only a binary
// of tests links it; it returns whether it is on.
extern "C" __attribute__((weak)) int goclip_tile_model(void);

namespace goclip::bf16x3 {
namespace {

std::string ask() {
  if (!has_instructions()) return "the processor has no AMX with bfloat16";
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  if (syscall(SYS_arch_prctl, request_permission, tile_data) != 0) {
    return std::string("the system does not permit AMX (Linux 5.16 or later does): ") + strerror(errno);
  }
  return wrong() ? "AMX gave wrong results in the self-check" : "";
}

}  // namespace

std::string unusable() {
  if (goclip_tile_model != nullptr && goclip_tile_model()) return wrong() ? "the model of AMX gave wrong results" : "";
  static const std::string why = ask();
  return why;
}

}  // namespace goclip::bf16x3

#else

namespace goclip::bf16x3 {

std::string unusable() { return "the processor has no AMX"; }
int64_t packed_bytes(int64_t, int64_t) { return 0; }
bool pack(const Matrix &, void *) { return false; }
bool multiply(const Matrix &, const void *, int64_t, const Epilogue &, float *) { return false; }

}  // namespace goclip::bf16x3

#endif
