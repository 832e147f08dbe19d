// attention.cpp: self-attention for inference on the CPU, in one pass over each head. The sums are float32; what is
// read is float32 or bfloat16, and so is what is written, or split. The products are AMX's where it has them and their
// numbers may be split, else those of AVX-512, and without that libtorch's own operator.
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
using goclip::bf16x3::side, goclip::bf16x3::MatrixOf, goclip::bf16x3::SplitRows, goclip::bf16x3::Tiles;

// block is how many rows of a product its registers hold, square how many rows and columns the tiles.
constexpr int64_t block = 6, square = 2 * side;

// Of fewer tokens the products are little beside the rest of a block, and float32's own are the more exact.
constexpr int64_t least_tokens = 128;

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

// Shape is that of packed queries, keys and values: of each token 3 heads x depth numbers.
struct Shape {
  int64_t tokens, heads, depth;
  bool causal;

  int64_t width() const { return heads * depth; }
  int64_t stride() const { return 3 * width(); }
  int64_t sees(int64_t token) const { return causal ? token + 1 : tokens; }
  __m512 scale() const { return _mm512_set1_ps(1 / std::sqrt(static_cast<float>(depth))); }
};

// VectorHead computes a head by products of float32 in vectors, six queries at a time.
class VectorHead {
  const Shape s;
  const int64_t keys = over(s.tokens, lanes) * lanes;
  const std::unique_ptr<float[]> work{new float[(s.depth + block) * keys + s.tokens * s.depth + 2 * block * s.depth]};
  float *const key = work.get(), *const value = key + s.depth * keys, *const weights = value + s.tokens * s.depth;
  float *const query = weights + block * keys, *const sums = query + block * s.depth;

 public:
  explicit VectorHead(const Shape &s) : s(s) {}

  // run computes one head of one sequence, whose rows of the result start at a row and a column.
  template <class T, class Out>
  bool run(const T *qkv, const Out &to, int64_t row, int64_t column) const {
    const int64_t stride = s.stride();
    for (int64_t t = 0; t < keys; t += lanes) {
      for (int64_t d = 0; d < s.depth; d += lanes) {
        __m512 rows[lanes];
        for (int64_t i = 0; i < lanes; i++)
          rows[i] = t + i < s.tokens ? load(qkv + (t + i) * stride + s.width() + d) : _mm512_setzero_ps();
        transpose(rows);
        for (int64_t i = 0; i < lanes; i++) store(key + (d + i) * keys + t, rows[i]);
      }
    }
    for (int64_t t = 0; t < s.tokens; t++)
      for (int64_t d = 0; d < s.depth; d += lanes)
        store(value + t * s.depth + d, load(qkv + t * stride + 2 * s.width() + d));
    for (int64_t t = 0; t < s.tokens; t += block) {
      const int64_t here = std::min(block, s.tokens - t);  // the rows behind them repeat the last one
      for (int64_t i = 0; i < block; i++)
        for (int64_t d = 0; d < s.depth; d += lanes)
          store(query + i * s.depth + d,
                _mm512_mul_ps(s.scale(), load(qkv + (t + std::min(i, here - 1)) * stride + d)));
      const int64_t seen = s.sees(t + here - 1), columns = over(seen, lanes) * lanes;
      products(query, s.depth, s.depth, key, keys, weights, keys, columns);
      __m512 inverse[block];
      for (int64_t i = 0; i < block; i++)
        inverse[i] = softmax(weights + i * keys, s.sees(t + std::min(i, here - 1)), columns);
      products(weights, keys, seen, value, s.depth, sums, s.depth, s.depth);
      for (int64_t i = 0; i < here; i++)
        for (int64_t d = 0; d < s.depth; d += lanes)
          store(to.at(row + t + i, column + d), _mm512_mul_ps(inverse[i], load(sums + i * s.depth + d)), 0xffff);
    }
    return true;
  }
};

// TileHead computes a head by AMX's products of split numbers, 32 queries at a time.
class TileHead {
  const Shape s;
  const int64_t strips = over(s.tokens, square), steps = over(s.depth, square);
  const std::unique_ptr<Tiles[]> key{new Tiles[2 * strips * steps]}, value{new Tiles[2 * steps * strips]};
  const std::unique_ptr<Tiles[]> query{new Tiles[2 * steps]}, weight{new Tiles[2 * strips]};
  const std::unique_ptr<float[]> weights{new float[square * square * strips]};

 public:
  explicit TileHead(const Shape &s) : s(s) { goclip::tile::configure(goclip::tile::Config()); }
  TileHead(const TileHead &) = delete;
  ~TileHead() { goclip::tile::release(); }

  // run is VectorHead's. It returns whether all numbers could be split.
  template <class T, class Out>
  bool run(const T *qkv, const Out &to, int64_t row, int64_t column) const {
    bool good = true;
    // split fills the tiles of groups of 16 vectors from one on.
    const auto split = [&](const auto &m, bool right, int64_t from, int64_t groups, int64_t steps, Tiles *tiles) {
      for (int64_t i = 0; i < groups * steps; i++)
        good &= goclip::bf16x3::split_tile(m, right, from + i / steps * side, i % steps * square, tiles[i]);
    };
    const int64_t stride = s.stride();
    const MatrixOf<T> queries{qkv, s.tokens, s.depth, stride, 1}, keys{qkv + s.width(), s.tokens, s.depth, stride, 1};
    split(keys, true, 0, 2 * strips, steps, key.get());
    split(MatrixOf<T>{qkv + 2 * s.width(), s.depth, s.tokens, 1, stride}, true, 0, 2 * steps, strips, value.get());
    for (int64_t t = 0; t < s.tokens && good; t += square) {
      const int64_t here = std::min(square, s.tokens - t), groups = over(here, side);
      const int64_t seen = over(s.sees(t + here - 1), square), columns = seen * square;
      split(queries, false, t, groups, steps, query.get());
      for (int64_t c = 0; c < seen; c++)
        product(groups, query.get(), key.get() + 2 * c * steps, steps, steps, [&](int64_t i, int64_t j, __m512 x) {
          store(weights.get() + i * columns + c * square + j, _mm512_mul_ps(x, s.scale()));
        });
      __m512 inverse[square];
      for (int64_t i = 0; i < here; i++) inverse[i] = softmax(weights.get() + i * columns, s.sees(t + i), columns);
      split(MatrixOf<float>{weights.get(), here, columns, columns, 1}, false, 0, groups, seen, weight.get());
      for (int64_t c = 0; c < steps; c++)
        product(groups, weight.get(), value.get() + 2 * c * strips, strips, seen, [&](int64_t i, int64_t j, __m512 x) {
          if (i < here && c * square + j < s.depth)
            store(to.at(row + t + i, column + c * square + j), _mm512_mul_ps(x, inverse[i]), 0xffff);
        });
    }
    return good;
  }

 private:
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
};

// attend computes the heads of n sequences. It returns whether all of them could be.
template <class Head, class T, class Out>
bool attend(const Shape &s, int64_t n, const T *qkv, const Out &to) {
  std::atomic<bool> good{true};
  at::parallel_for(0, n * s.heads, 1, [&](int64_t from, int64_t end) {
    const Head head(s);
    for (int64_t i = from; i < end; i++) {
      const int64_t row = i / s.heads * s.tokens, column = i % s.heads * s.depth;
      if (!head.run(qkv + row * s.stride() + column, to, row, column)) good = false;
    }
  });
  return good;
}

}  // namespace
#pragma GCC pop_options
#endif

namespace {

using namespace goclip;

// self_attention maps packed queries, keys and values (B, T, 3 heads D) to (B, T, heads D), in their type. With split
// the products' numbers may be split, and with split_result it is split itself (split.h) where it can be.
at::Tensor self_attention(const at::Tensor &qkv, int64_t heads, bool causal, bool split, bool split_result) {
  TORCH_CHECK(qkv.dim() == 3 && heads > 0 && qkv.size(2) % (3 * heads) == 0, "queries, keys and values of ", heads,
              " heads must be (B, T, 3 heads D), not ", qkv.sizes());
  const int64_t n = qkv.size(0), tokens = qkv.size(1), width = qkv.size(2) / 3, depth = width / heads;
#if defined(__x86_64__)
  const bool half = qkv.scalar_type() == at::kBFloat16;
  if (has_avx512() && qkv.is_cpu() && (half || qkv.scalar_type() == at::kFloat) && qkv.is_contiguous() &&
      qkv.numel() > 0 && depth % lanes == 0) {
    const Shape shape{tokens, heads, depth, causal};
    const bool can_split = !half && split_result && width % 32 == 0;
    const auto with = [&](bool tiles, bool split_now) -> at::Tensor {
      const at::Tensor out =
          split_now ? bf16x3::empty_split({n, tokens, width}) : at::empty({n, tokens, width}, qkv.options());
      const void *from = qkv.const_data_ptr();
      void *to = out.mutable_data_ptr();
      const auto run = [&](const auto *from, const auto &to) {
        return tiles ? attend<TileHead>(shape, n, from, to) : attend<VectorHead>(shape, n, from, to);
      };
      std::atomic<bool> bad{false};
      bool good;
      if (half) {
        good = run(static_cast<const BFloat16 *>(from), Rows<BFloat16>{static_cast<BFloat16 *>(to), width});
      } else if (split_now) {
        good = run(static_cast<const float *>(from), SplitRows(to, n * tokens, width, &bad));
      } else {
        good = run(static_cast<const float *>(from), Rows<float>{static_cast<float *>(to), width});
      }
      return good && !bad ? out : at::Tensor();
    };
    const bool usable = (split || half) && bf16x3::usable();
    const bool tiles = usable && tokens >= least_tokens;
    if (tiles || (usable && can_split)) {
      const at::Tensor out = with(tiles, can_split);
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
