// attention.cpp: self-attention for inference on the CPU, in one pass over each head. The sums are float32; what is read is
// float32 or bfloat16, and so is what is written, or split. The products are AMX's where it has them and their numbers may
// be split, else those of AVX-512, and without that libtorch's own operator.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "cpu.h"
#include "split_tensor.h"

#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // in g++ 12's own intrinsics (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#include "split.h"

namespace {

using namespace goclip::avx512;
using goclip::bf16x3::side, goclip::bf16x3::over, goclip::bf16x3::SplitRows, goclip::bf16x3::Tiles;

// block is how many rows of a product its registers hold, square how many rows and columns the tiles.
constexpr int64_t block = 6, square = 2 * side;

// product is six rows of a (6, k) b (k, 16 n) in registers.
template <int n>
void product(const float *a, int64_t a_stride, int64_t k, const float *b, int64_t b_stride, float *to, int64_t stride) {
  __m512 sum[block][n];
  for (auto &row : sum)
    for (auto &x : row) x = _mm512_setzero_ps();
  for (int64_t l = 0; l < k; l++) {
    __m512 right[n];
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) right[j] = _mm512_loadu_ps(b + l * b_stride + j * lanes);
#pragma GCC unroll 6
    for (int i = 0; i < block; i++) {
      const __m512 left = _mm512_set1_ps(a[i * a_stride + l]);
#pragma GCC unroll 4
      for (int j = 0; j < n; j++) sum[i][j] = _mm512_fmadd_ps(left, right[j], sum[i][j]);
    }
  }
  for (int i = 0; i < block; i++)
    for (int j = 0; j < n; j++) _mm512_storeu_ps(to + i * stride + j * lanes, sum[i][j]);
}

void products(const float *a, int64_t a_stride, int64_t k, const float *b, int64_t b_stride, float *to, int64_t stride,
              int64_t columns) {
  for (int64_t j = 0; j < columns; j += 4 * lanes) {
    const auto f = columns - j >= 4 * lanes   ? product<4>
                   : columns - j >= 3 * lanes ? product<3>
                   : columns - j >= 2 * lanes ? product<2>
                                              : product<1>;
    f(a, a_stride, k, b + j, b_stride, to + j, stride);
  }
}

// softmax makes the first n of the columns of a row e^(x - max) and the others 0. It returns the inverse of their sum.
__m512 softmax(float *row, int64_t n, int64_t columns) {
  const __m512 least = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 most = least, sum = _mm512_setzero_ps();
  for (int64_t j = 0; j < n; j += lanes) most = _mm512_max_ps(most, _mm512_mask_loadu_ps(least, first(n - j), row + j));
  most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
  for (int64_t j = 0; j < columns; j += lanes) {
    const __m512 e = _mm512_maskz_mov_ps(first(n - j), exponential(_mm512_sub_ps(load(row + j), most)));
    sum = _mm512_add_ps(sum, e);
    store(row + j, e);
  }
  return _mm512_set1_ps(1 / _mm512_reduce_add_ps(sum));
}

// Attention is self-attention of packed queries, keys and values: of each token 3 heads x depth numbers.
struct Attention {
  int64_t tokens, heads, depth;
  bool causal;

  // head computes one head of one sequence, whose rows of the result start at a row and a column.
  template <class T, class Out>
  void head(const T *qkv, const Out &to, int64_t row, int64_t column, float *work) const {
    const int64_t width = heads * depth, stride = 3 * width, keys = padded();
    float *key = work, *value = key + depth * keys, *weights = value + tokens * depth;
    float *query = weights + block * keys, *sums = query + block * depth;
    for (int64_t t = 0; t < keys; t += lanes) {
      for (int64_t d = 0; d < depth; d += lanes) {
        __m512 rows[lanes];
        for (int64_t i = 0; i < lanes; i++)
          rows[i] = t + i < tokens ? load(qkv + (t + i) * stride + width + d) : _mm512_setzero_ps();
        transpose(rows);
        for (int64_t i = 0; i < lanes; i++) store(key + (d + i) * keys + t, rows[i]);
      }
    }
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t d = 0; d < depth; d += lanes)
        store(value + t * depth + d, load(qkv + t * stride + 2 * width + d));
    const __m512 scale = _mm512_set1_ps(1 / std::sqrt(static_cast<float>(depth)));
    for (int64_t t = 0; t < tokens; t += block) {
      const int64_t here = std::min(block, tokens - t);  // the rows behind them repeat the last one
      for (int64_t i = 0; i < block; i++)
        for (int64_t d = 0; d < depth; d += lanes)
          store(query + i * depth + d, _mm512_mul_ps(scale, load(qkv + (t + std::min(i, here - 1)) * stride + d)));
      const int64_t seen = causal ? t + here : tokens, columns = (seen + lanes - 1) / lanes * lanes;
      products(query, depth, depth, key, keys, weights, keys, columns);
      __m512 inverse[block];
      for (int64_t i = 0; i < block; i++)
        inverse[i] = softmax(weights + i * keys, causal ? t + std::min(i, here - 1) + 1 : tokens, columns);
      products(weights, keys, seen, value, depth, sums, depth, depth);
      for (int64_t i = 0; i < here; i++)
        for (int64_t d = 0; d < depth; d += lanes)
          store(to.at(row + t + i, column + d), _mm512_mul_ps(inverse[i], load(sums + i * depth + d)), 0xffff);
    }
  }

  int64_t padded() const { return (tokens + lanes - 1) / lanes * lanes; }
  int64_t workspace() const { return (depth + block) * padded() + tokens * depth + 2 * block * depth; }

  // TileWork is what a thread needs for a head by tiles.
  struct TileWork {
    std::unique_ptr<Tiles[]> key, value, query, weight;
    std::unique_ptr<float[]> weights;

    explicit TileWork(const Attention &a)
        : key(new Tiles[2 * a.key_strips() * a.depth_steps()]),
          value(new Tiles[2 * a.depth_steps() * a.key_strips()]),
          query(new Tiles[2 * a.depth_steps()]),
          weight(new Tiles[2 * a.key_strips()]),
          weights(new float[square * square * a.key_strips()]) {}
  };
  int64_t key_strips() const { return over(tokens, square); }
  int64_t depth_steps() const { return over(depth, square); }

  // head_by_tiles is head with AMX's products of split numbers, 32 queries at a time. It returns whether all numbers could
  // be split.
  template <class T, class Out>
  bool head_by_tiles(const T *qkv, const Out &to, int64_t row, int64_t column, const TileWork &work) const {
    using goclip::bf16x3::split_tile, goclip::bf16x3::MatrixOf;
    const int64_t width = heads * depth, stride = 3 * width, strips = key_strips(), steps = depth_steps();
    const MatrixOf<T> query{qkv, tokens, depth, stride, 1}, key{qkv + width, tokens, depth, stride, 1};
    const MatrixOf<T> value{qkv + 2 * width, depth, tokens, 1, stride};
    bool good = true;
    for (int64_t g = 0; g < 2 * strips; g++)
      for (int64_t k = 0; k < steps; k++)
        good &= split_tile(key, true, g * side, k * square, work.key[g * steps + k]);
    for (int64_t g = 0; g < 2 * steps; g++)
      for (int64_t k = 0; k < strips; k++)
        good &= split_tile(value, true, g * side, k * square, work.value[g * strips + k]);
    const __m512 scale = _mm512_set1_ps(1 / std::sqrt(static_cast<float>(depth)));
    for (int64_t t = 0; t < tokens && good; t += square) {
      const int64_t here = std::min(square, tokens - t), groups = over(here, side);
      const int64_t now = causal ? over(t + here, square) : strips;  // strips of keys that the queries see
      for (int64_t g = 0; g < groups; g++)
        for (int64_t k = 0; k < steps; k++)
          good &= split_tile(query, false, t + g * side, k * square, work.query[g * steps + k]);
      float *weights = work.weights.get();
      for (int64_t s = 0; s < now; s++)
        product(groups, work.query.get(), work.key.get() + 2 * s * steps, steps, steps, [&](int64_t i, int64_t j, __m512 x) {
          store(weights + i * now * square + s * square + j, _mm512_mul_ps(x, scale));
        });
      __m512 inverse[square];
      for (int64_t i = 0; i < here; i++)
        inverse[i] = softmax(weights + i * now * square, causal ? t + i + 1 : tokens, now * square);
      const MatrixOf<float> weight{weights, here, now * square, now * square, 1};
      for (int64_t g = 0; g < groups; g++)
        for (int64_t k = 0; k < now; k++) good &= split_tile(weight, false, g * side, k * square, work.weight[g * now + k]);
      for (int64_t c = 0; c < steps; c++)
        product(groups, work.weight.get(), work.value.get() + 2 * c * strips, strips, now, [&](int64_t i, int64_t j, __m512 x) {
          if (i < here && c * square + j < depth)
            store(to.at(row + t + i, column + c * square + j), _mm512_mul_ps(x, inverse[i]), 0xffff);
        });
    }
    return good;
  }

  // product gives each 16 numbers of one or two groups of rows and a strip of columns to a function.
  template <class To>
  static void product(int64_t groups, const Tiles *a, const Tiles *b, int64_t b_steps, int64_t steps, const To &to) {
    goclip::bf16x3::Block result;
    if (groups == 2) {
      goclip::bf16x3::product<false>(a, a + steps, b, b + b_steps, steps, result);
    } else {
      goclip::bf16x3::product<true>(a, a, b, b + b_steps, steps, result);
    }
    for (int64_t i = 0; i < groups * side; i++)
      for (int64_t j = 0; j < square; j += lanes) to(i, j, _mm512_load_ps(result.c[i] + j));
  }

  template <class T, class Out>
  bool sequences(int64_t n, const T *qkv, const Out &to, bool tiles) const {
    std::atomic<bool> bad{false};
    at::parallel_for(0, n * heads, 1, [&](int64_t from, int64_t end) {
      const auto each = [&](const auto &f) {
        for (int64_t i = from; i < end; i++)
          f(qkv + i / heads * tokens * 3 * heads * depth + i % heads * depth, i / heads * tokens, i % heads * depth);
      };
      if (tiles) {
        const TileWork work(*this);
        goclip::tile::configure(goclip::tile::Config());
        each([&](const T *qkv, int64_t row, int64_t column) {
          if (!head_by_tiles(qkv, to, row, column, work)) bad = true;
        });
        goclip::tile::release();
      } else {
        const std::unique_ptr<float[]> work(new float[workspace()]);
        each([&](const T *qkv, int64_t row, int64_t column) { head(qkv, to, row, column, work.get()); });
      }
    });
    return !bad;
  }
};

}  // namespace
#pragma GCC pop_options
#endif

namespace {

using namespace goclip;

// self_attention maps packed queries, keys and values (B, T, 3 heads D) to (B, T, heads D), in their type. With split the
// products' numbers may be split, and with split_result it is split itself (split.h) where it can be.
at::Tensor self_attention(const at::Tensor &qkv, int64_t heads, bool causal, bool split, bool split_result) {
  TORCH_CHECK(qkv.dim() == 3 && heads > 0 && qkv.size(2) % (3 * heads) == 0, "queries, keys and values of ", heads,
              " heads must be (B, T, 3 heads D), not ", qkv.sizes());
  const int64_t n = qkv.size(0), tokens = qkv.size(1), width = qkv.size(2) / 3, depth = width / heads;
#if defined(__x86_64__)
  const bool half = qkv.scalar_type() == at::kBFloat16;
  if (has_avx512() && qkv.is_cpu() && (half || qkv.scalar_type() == at::kFloat) && qkv.is_contiguous() &&
      qkv.numel() > 0 && depth % lanes == 0) {
    const Attention attention{tokens, heads, depth, causal};
    const bool can_split = !half && split_result && width % 32 == 0;
    const auto with = [&](bool tiles, bool split_now) -> at::Tensor {
      const at::Tensor out = split_now ? bf16x3::empty_split({n, tokens, width}) : at::empty({n, tokens, width}, qkv.options());
      void *to = out.mutable_data_ptr();
      std::atomic<bool> bad{false};
      const bool good =
          half ? attention.sequences(n, static_cast<const BFloat16 *>(qkv.const_data_ptr()),
                                     Rows<BFloat16>{static_cast<BFloat16 *>(to), width}, tiles)
          : split_now
              ? attention.sequences(n, qkv.const_data_ptr<float>(), SplitRows(to, n * tokens, width, &bad), tiles)
              : attention.sequences(n, qkv.const_data_ptr<float>(), Rows<float>{static_cast<float *>(to), width}, tiles);
      return good && !bad ? out : at::Tensor();
    };
    if ((split || half) && bf16x3::usable()) {
      const at::Tensor out = with(true, can_split);
      if (out.defined()) return out;
    }
    return with(false, false);
  }
#endif
  const auto parts = qkv.to(at::kFloat).view({n, tokens, 3, heads, depth}).permute({2, 0, 3, 1, 4}).unbind(0);
  const at::Tensor y = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0, causal);
  return y.transpose(1, 2).reshape({n, tokens, width}).to(qkv.scalar_type());
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(goclip, m) {
  m.def("self_attention(Tensor qkv, int heads, bool causal, bool split, bool split_result) -> Tensor", self_attention);
}
