// int8.cpp: linear layers in 8 bits for inference, with the dot products of AVX512-VNNI or, where there are, AMX's
// tiles.
//
// Each row of the weight has a scale, w = s q with q from -127 to 127. Each row of the input has a scale and a zero
// point that are computed when it arrives (dynamic quantisation), x = t (p - z) with p from 0 to 255. Then
// x w = s t (sum p q - z sum q), whose sums are exact integers.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>

#include "bf16x3.h"
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

#pragma GCC diagnostic ignored "-Wuninitialized"  // in g++ 12's own intrinsics (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#include "avx512.h"
#include "tile.h"

namespace {

using namespace goclip::avx512;

// A dot instruction sums 4 products. A panel of the weight is 32 of its rows, in steps of depth: (depth / 4, 32, 4), of
// which a tile holds 16. The vector registers hold the sums of 12 rows of the input and a panel, the tiles those of 32.
constexpr int64_t step = 4, panel = 2 * lanes, side = 16, deep = side * step, vector_rows = 12, most_rows = 2 * side;
constexpr int64_t chunk = 96;

// Row is how a row of the input was quantised.
struct Row {
  float scale;
  int32_t zero;
};

// quantise writes x as bytes. A number that is not finite makes the scale NaN, and so the row's results.
template <class T>
Row quantise(const T *x, int64_t n, uint8_t *to) {
  __m512 least = _mm512_setzero_ps(), most = least, finite = least;
  for (int64_t j = 0; j < n; j += lanes) {
    const __m512 v = load(x + j, first(n - j));
    least = _mm512_min_ps(least, v), most = _mm512_max_ps(most, v);
    finite = _mm512_fmadd_ps(v, _mm512_setzero_ps(), finite);  // 0, or NaN
  }
  const float low = _mm512_reduce_min_ps(least), high = _mm512_reduce_max_ps(most);
  const float scale = std::max((high - low) / 255, std::numeric_limits<float>::min());
  const Row row{scale + _mm512_reduce_add_ps(finite), static_cast<int32_t>(std::lrint(-low / scale))};
  const __m512 inverse = _mm512_set1_ps(1 / scale);
  const __m512i zero = _mm512_set1_epi32(row.zero), last = _mm512_set1_epi32(255);
  for (int64_t j = 0; j < n; j += lanes) {
    const __mmask16 in = first(n - j);
    __m512i q = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(load(x + j, in), inverse)), zero);
    q = _mm512_min_epi32(_mm512_max_epi32(q, _mm512_setzero_si512()), last);
    _mm_mask_storeu_epi8(to + j, in, _mm512_cvtepi32_epi8(q));
  }
  return row;
}

// Sums are those of the products of some rows of the input with a panel.
struct alignas(64) Sums {
  int32_t n[most_rows][panel];
};

// dot is _mm512_dpbusd_epi32, for which g++ 12 copies and spills the sums.
inline void dot(__m512i &sum, __m512i p, __m512i q) { asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(p), "v"(q)); }

template <int rows>
void multiply(const uint8_t *x, int64_t stride, const int8_t *w, int64_t steps, Sums &to) {
  __m512i sum[rows][2];
#pragma GCC unroll 12
  for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = _mm512_setzero_si512();
  for (int64_t k = 0; k < steps; k++) {
    const __m512i a = _mm512_loadu_si512(w + k * panel * step), b = _mm512_loadu_si512(w + (k * panel + lanes) * step);
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
      int32_t four;
      std::memcpy(&four, x + i * stride + k * step, sizeof four);
      const __m512i p = _mm512_set1_epi32(four);
      dot(sum[i][0], p, a);
      dot(sum[i][1], p, b);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < rows; i++) {
    _mm512_store_si512(to.n[i], sum[i][0]);
    _mm512_store_si512(to.n[i] + lanes, sum[i][1]);
  }
}

// multiply_tiles is multiply of 32 rows, or of 16 if they are few.
template <bool few>
void multiply_tiles(const uint8_t *x, int64_t stride, const int8_t *w, int64_t steps, Sums &to) {
  using goclip::tile::dot_bytes, goclip::tile::zero;
  namespace tile = goclip::tile;
  zero<0>(), zero<1>();
  if (!few) zero<2>(), zero<3>();
  constexpr int64_t w_stride = panel * step;
  for (int64_t k = 0; k < steps; k += side) {
    tile::load<6>(w + k * w_stride, w_stride), tile::load<4>(x + k * step, stride), dot_bytes<0, 4, 6>();
    tile::load<7>(w + k * w_stride + lanes * step, w_stride), dot_bytes<1, 4, 7>();
    if (!few) tile::load<5>(x + side * stride + k * step, stride), dot_bytes<2, 5, 6>(), dot_bytes<3, 5, 7>();
  }
  constexpr int64_t row = sizeof to.n[0];
  tile::store<0>(to.n[0], row), tile::store<1>(to.n[0] + lanes, row);
  if (!few) tile::store<2>(to.n[side], row), tile::store<3>(to.n[side] + lanes, row);
}

// Weight is (rows, depth) as pack wrote it: its panels, and of each row the scale and the sum of q.
struct Weight {
  const int8_t *panels;
  const float *scales;
  const int32_t *sums;
  int64_t rows, depth;

  int64_t steps() const { return over(depth, deep) * side; }
  int64_t panel_bytes() const { return steps() * panel * step; }
};

// packed_bytes is the size of a weight's panels, which zeros fill to the depth of a tile.
int64_t packed_bytes(int64_t rows, int64_t depth) {
  return over(rows, panel) * Weight{nullptr, nullptr, nullptr, rows, depth}.panel_bytes();
}

void pack(const float *w, int64_t rows, int64_t depth, int8_t *panels, float *scales, int32_t *sums) {
  const int64_t bytes = packed_bytes(panel, depth);
  at::parallel_for(0, over(rows, panel), 1, [&](int64_t from, int64_t end) {
    std::memset(panels + from * bytes, 0, (end - from) * bytes);
    for (int64_t i = from * panel; i < std::min(end * panel, rows); i++) {
      float most = 1e-12f;
      for (int64_t k = 0; k < depth; k++) most = std::max(most, std::abs(w[i * depth + k]));
      scales[i] = most / 127, sums[i] = 0;
      int8_t *to = panels + i / panel * bytes + i % panel * step;
      for (int64_t k = 0; k < depth; k++) {
        const auto q = static_cast<int8_t>(std::lrint(w[i * depth + k] / scales[i]));
        sums[i] += q;
        to[k / step * panel * step + k % step] = q;
      }
    }
  });
}

// Epilogue is what happens to sums behind their scales: bias, activation, residual, in the layout of the result. Both
// pointers may be NULL.
struct Epilogue {
  const float *bias = nullptr, *residual = nullptr;
  int64_t activation = 0;
};

// write finishes the results of some rows and a panel, at an offset in the result.
template <class T>
void write(const Sums &sums, const Row *rows, int64_t n, const Weight &w, const Epilogue &e, int64_t column,
           int64_t offset, T *to) {
  for (int64_t j = 0; j < std::min(panel, w.rows - column); j += lanes) {
    const __mmask16 in = first(w.rows - column - j);
    const __m512 scale = load(w.scales + column + j, in);
    const __m512i sum = _mm512_maskz_loadu_epi32(in, w.sums + column + j);
    const __m512 add = e.bias != nullptr ? load(e.bias + column + j, in) : _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i++) {
      const __m512i shift = _mm512_mullo_epi32(sum, _mm512_set1_epi32(rows[i].zero));
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(sums.n[i] + j), shift));
      __m512 y = _mm512_fmadd_ps(dot, _mm512_mul_ps(scale, _mm512_set1_ps(rows[i].scale)), add);
      if (e.activation == 1) y = rough_gelu(y);
      if (e.activation == 2) y = rough_quick_gelu(y);
      if (e.activation == 3) y = rough_gelu_tanh(y);
      const int64_t at = offset + i * w.rows + column + j;
      if (e.residual != nullptr) y = _mm512_add_ps(y, load(e.residual + at, in));
      store(to + at, y, in);
    }
  }
}

// multiply_chunk multiplies rows of the input with a panel and gives each block's sums, first row and number of rows to
// a function.
template <class To>
void multiply_chunk(bool tiles, const uint8_t *x, int64_t stride, int64_t rows, const int8_t *w, int64_t steps,
                    const To &to) {
  Sums sums;
  for (int64_t i = 0; i < rows;) {
    const int64_t left = rows - i;
    const int64_t here = tiles                 ? std::min(left, most_rows)
                         : left >= vector_rows ? vector_rows
                         : left >= 8           ? 8
                         : left >= 4           ? 4
                                               : 1;
    const auto f = tiles                 ? (here > side ? multiply_tiles<false> : multiply_tiles<true>)
                   : here == vector_rows ? multiply<vector_rows>
                   : here == 8           ? multiply<8>
                   : here == 4           ? multiply<4>
                                         : multiply<1>;
    f(x + i * stride, stride, w, steps, sums);
    to(sums, i, here);
    i += here;
  }
}

// tiles_are_right compares AMX's sums, which are exact, with those of AVX512-VNNI.
bool tiles_are_right() {
  constexpr int64_t rows = 37, steps = 3 * side, stride = steps * step;
  std::minstd_rand draw;
  alignas(64) static uint8_t x[2 * most_rows * stride];
  alignas(64) static int8_t w[steps * panel * step];
  for (auto &v : x) v = static_cast<uint8_t>(draw() >> 8);
  for (auto &v : w) v = static_cast<int8_t>(draw() >> 8);
  static int32_t sums[2][rows][panel];
  for (const bool tiles : {false, true}) {
    if (tiles) goclip::tile::configure(goclip::tile::Config());
    multiply_chunk(tiles, x, stride, rows, w, steps,
                   [&](const Sums &s, int64_t i, int64_t n) { std::memcpy(sums[tiles][i], s.n, n * sizeof s.n[0]); });
    if (tiles) goclip::tile::release();
  }
  return std::memcmp(sums[0], sums[1], sizeof sums[0]) == 0;
}

bool has_tiles() {
  unsigned a, b, c, d;
  if (goclip::bf16x3::modelled()) return true;
  static const bool has = goclip::bf16x3::usable() && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
                          (d >> 25 & 1) &&  // AMX-INT8
                          tiles_are_right();
  return has;
}

template <class T, class Out>
void linear(const T *x, int64_t n, const Weight &w, const Epilogue &e, Out *to) {
  // Rows lie on cache lines, an odd number of them apart, so that those of a block do not share a set.
  const int64_t stride = (over(w.depth, deep) | 1) * deep;
  struct alignas(deep) Line {
    uint8_t bytes[deep];
  };
  const std::unique_ptr<Line[]> lines(new Line[over(n, most_rows) * most_rows * stride / deep]);
  auto *const bytes = reinterpret_cast<uint8_t *>(lines.get());
  const std::unique_ptr<Row[]> rows(new Row[n]);
  at::parallel_for(0, n, 4, [&](int64_t from, int64_t end) {
    for (int64_t i = from; i < end; i++) {
      rows[i] = quantise(x + i * w.depth, w.depth, bytes + i * stride);
      std::memset(bytes + i * stride + w.depth, 0, w.steps() * step - w.depth);
    }
  });
  // A task is a chunk of rows, which stays in the second-level cache, and a panel of the weight. Neighbouring tasks
  // share the panel where there are many rows, and else the rows.
  const int64_t chunks = over(n, chunk), panels = over(w.rows, panel);
  const bool tiles = has_tiles();
  at::parallel_for(0, chunks * panels, 1, [&](int64_t from, int64_t end) {
    if (tiles) goclip::tile::configure(goclip::tile::Config());
    for (int64_t task = from; task < end; task++) {
      const int64_t p = task % panels, begin = task / panels * chunk;
      multiply_chunk(tiles, bytes + begin * stride, stride, std::min(chunk, n - begin), w.panels + p * w.panel_bytes(),
                     w.steps(), [&](const Sums &sums, int64_t i, int64_t here) {
                       write(sums, rows.get() + begin + i, here, w, e, p * panel, (begin + i) * w.rows, to);
                     });
    }
    if (tiles) goclip::tile::release();
  });
}

}  // namespace
#pragma GCC pop_options
#endif

namespace {

using Optional = std::optional<at::Tensor>;
using namespace goclip;

// pack_int8 prepares a float32 weight (n, k) for linear_int8: its panels, scales and sums. They are empty on a
// processor without AVX512-VNNI and of a weight that is not finite.
std::tuple<at::Tensor, at::Tensor, at::Tensor> pack_int8(const at::Tensor &weight) {
  TORCH_CHECK(weight.is_cpu() && weight.scalar_type() == at::kFloat && weight.dim() == 2,
              "the weight must be a float32 matrix on the CPU");
  const auto empty = [](int64_t n, at::ScalarType type) { return at::empty({n}, type); };
#if defined(__x86_64__)
  if (has_vnni() && weight.numel() > 0 && at::isfinite(weight).all().item<bool>()) {
    const at::Tensor w = weight.contiguous();
    const int64_t n = w.size(0), k = w.size(1);
    const at::Tensor panels = empty(packed_bytes(n, k), at::kChar);
    const at::Tensor scales = empty(n, at::kFloat), sums = empty(n, at::kInt);
    pack(w.const_data_ptr<float>(), n, k, panels.mutable_data_ptr<int8_t>(), scales.mutable_data_ptr<float>(),
         sums.mutable_data_ptr<int32_t>());
    return {panels, scales, sums};
  }
#endif
  return {empty(0, at::kChar), empty(0, at::kFloat), empty(0, at::kInt)};
}

// linear_int8 is activation(x weight^T + bias) in x's type, float32 or bfloat16, or residual and that in float32. The
// activation is 0 none, 1 GELU, 2 QuickGELU or 3 GELU by tanh. It has no derivative.
at::Tensor linear_int8(const at::Tensor &x, const at::Tensor &panels, const at::Tensor &scales, const at::Tensor &sums,
                       const Optional &bias, int64_t activation, const Optional &residual) {
#if defined(__x86_64__)
  const int64_t n = scales.numel(), k = x.dim() > 0 ? x.size(-1) : 0;
  TORCH_CHECK(has_vnni() && n > 0 && panels.scalar_type() == at::kChar && scales.scalar_type() == at::kFloat &&
                  sums.scalar_type() == at::kInt && sums.numel() == n && panels.is_contiguous() &&
                  panels.numel() == packed_bytes(n, k),
              "the packed weight does not fit rows of ", k, " numbers");
  TORCH_CHECK(x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) &&
                  (!bias || (bias->is_cpu() && bias->scalar_type() == at::kFloat && bias->numel() == n)),
              "the input must be float32 or bfloat16 on the CPU, the bias float32 of ", n, " numbers");
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = n;
  const at::Tensor out = at::empty(shape, residual ? at::kFloat : x.scalar_type());
  TORCH_CHECK(
      !residual || (residual->is_cpu() && residual->scalar_type() == at::kFloat && residual->sizes() == out.sizes()),
      "the residual must be float32 on the CPU, of shape ", out.sizes());
  if (out.numel() == 0) return out;
  const at::Tensor in = x.contiguous(), b = bias ? bias->contiguous() : at::Tensor();
  const at::Tensor r = residual ? residual->contiguous() : at::Tensor();
  const Weight w{panels.const_data_ptr<int8_t>(), scales.const_data_ptr<float>(), sums.const_data_ptr<int32_t>(), n, k};
  const Epilogue e{bias ? b.const_data_ptr<float>() : nullptr, residual ? r.const_data_ptr<float>() : nullptr,
                   activation};
  const auto run = [&](const auto *from, auto *to) { linear(from, in.numel() / k, w, e, to); };
  if (x.scalar_type() == at::kFloat) {
    run(in.const_data_ptr<float>(), out.mutable_data_ptr<float>());
  } else if (residual) {
    run(static_cast<const BFloat16 *>(in.const_data_ptr()), out.mutable_data_ptr<float>());
  } else {
    run(static_cast<const BFloat16 *>(in.const_data_ptr()), static_cast<BFloat16 *>(out.mutable_data_ptr()));
  }
  return out;
#else
  TORCH_CHECK(false, "this processor has no AVX512-VNNI");
#endif
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(goclip, m) {
  m.def("pack_int8(Tensor weight) -> (Tensor, Tensor, Tensor)", pack_int8);
  m.def(
      "linear_int8(Tensor x, Tensor panels, Tensor scales, Tensor sums, Tensor? bias, int activation, Tensor? "
      "residual=None) -> Tensor",
      linear_int8);
}
