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
#include <optional>
#include <random>
#include <vector>

#pragma GCC diagnostic ignored "-Wuninitialized"  // in g++ 12's own intrinsics (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#include "split.h"

namespace goclip::bf16x3 {
namespace {

// finish is the epilogue of 16 numbers from a column on, which lie at an offset in the product.
__m512 finish(__m512 x, const Epilogue &e, int64_t column, int64_t offset, __mmask16 in) {
  if (e.bias) x = _mm512_add_ps(x, load(e.bias + column, in));
  if (e.activation == Activation::gelu) x = gelu(x);
  if (e.activation == Activation::quick_gelu) x = quick_gelu(x);
  if (e.activation == Activation::gelu_tanh) x = gelu_tanh(x);
  if (e.residual) x = _mm512_add_ps(x, load(e.residual + offset, in));
  return x;
}

// Product is a matrix of n columns that is being written.
struct Product {
  float *numbers;
  int64_t n;
  const Epilogue &e;

  // write takes rows x columns of a block, from a row and a column on. A later one of several pieces of the depth adds
  // to what is there.
  void write(const Block &block, int64_t row, int64_t rows, int64_t column, bool later, bool last) const {
    for (int64_t i = 0; i < rows; i++) {
      for (int64_t j = column; j < std::min(column + 2 * side, n); j += lanes) {
        const __mmask16 in = first(n - j);
        const int64_t at = (row + i) * n + j;
        __m512 x = _mm512_load_ps(block.c[i] + j - column);
        if (later) x = _mm512_add_ps(x, load(numbers + at, in));
        avx512::store(numbers + at, last ? finish(x, e, j, at, in) : x, in);
      }
    }
  }

  void write(const Block &block, int64_t row, int64_t rows, int64_t column, const SplitRows &to) const {
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = column; j < column + 2 * side; j += lanes)
        store(to.at(row + i, j), finish(_mm512_load_ps(block.c[i] + j - column), e, j, (row + i) * n + j, 0xffff),
              0xffff);
  }
};

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

int64_t split_bytes(int64_t vectors, int64_t depth) { return over(vectors, side) * over(depth, step) * sizeof(Tiles); }

bool may_split(int64_t n, int64_t depth) { return n % step == 0 && over(depth, step) <= piece_steps; }

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

bool multiply(const Matrix &a, const void *packed, int64_t n, const Epilogue &e, void *to) {
  const auto *b = static_cast<const Tiles *>(packed), *before = static_cast<const Tiles *>(a.tiles);
  const int64_t groups = over(a.vectors, side), steps = over(a.depth, step), strips = over(n, 2 * side);
  const int64_t deep = std::min(steps, piece_steps);
  const int64_t panel = std::clamp<int64_t>(panel_tiles / deep / 2 * 2, 2, 16);
  const int64_t wave =
      before ? groups : std::min(over(groups, panel), static_cast<int64_t>(omp_get_max_threads())) * panel;
  Tiles *left = before ? nullptr : workspace(wave * deep);
  std::atomic<bool> bad{false};
  const Product product_to{static_cast<float *>(to), n, e};
  std::optional<SplitRows> rows_to;
  if (e.split) rows_to.emplace(to, a.vectors, n, &bad);
#pragma omp parallel
  {
    tile::configure(tile::Config());
    bool stop = false;  // all threads read bad where none can set it
    for (int64_t k0 = 0; k0 < steps && !stop; k0 += deep) {
      const int64_t now = std::min(deep, steps - k0);
      for (int64_t g0 = 0; g0 < groups && !stop; g0 += wave) {
        const int64_t here = std::min(wave, groups - g0);
        const Tiles *first_a = before ? before + k0 : left;
        const int64_t apart = before ? steps : now;  // from one group's tiles to the next one's
        if (!before) {
#pragma omp for
          for (int64_t i = 0; i < here * now; i++) {
            if (!split_tile(a, false, (g0 + i / now) * side, (k0 + i % now) * step, left[i])) bad = true;
          }
          stop = bad;
        }
#pragma omp for
        for (int64_t task = 0; task < over(here, panel) * strips; task++) {
          const int64_t strip = task % strips, from = task / strips * panel, column = strip * 2 * side;
          const Tiles *b0 = b + 2 * strip * steps + k0, *b1 = b0 + steps;
          for (int64_t g = from; g < std::min(from + panel, here); g += 2) {
            const Tiles *a0 = first_a + g * apart, *a1 = a0 + apart;
            Block block;
            g + 1 < here ? product<false>(a0, a1, b0, b1, now, block) : product<true>(a0, a1, b0, b1, now, block);
            const int64_t row = (g0 + g) * side, rows = std::min(2 * side, a.vectors - row);
            if (e.split) {
              product_to.write(block, row, rows, column, *rows_to);
            } else {
              product_to.write(block, row, rows, column, k0 > 0, k0 + now == steps);
            }
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

const std::string &answer() {
  static const std::string why = ask();
  return why;
}

}  // namespace

bool modelled() { return goclip_tile_model != nullptr && goclip_tile_model(); }

std::string unusable() {
  if (modelled()) return wrong() ? "the model of AMX gave wrong results" : "";
  return answer();
}

bool usable() { return modelled() || answer().empty(); }

}  // namespace goclip::bf16x3

#else

namespace goclip::bf16x3 {

std::string unusable() { return "the processor has no AMX"; }
bool usable() { return false; }
bool modelled() { return false; }
int64_t packed_bytes(int64_t, int64_t) { return 0; }
int64_t split_bytes(int64_t, int64_t) { return 0; }
bool may_split(int64_t, int64_t) { return false; }
bool pack(const Matrix &, void *) { return false; }
bool multiply(const Matrix &, const void *, int64_t, const Epilogue &, void *) { return false; }

}  // namespace goclip::bf16x3

#endif
