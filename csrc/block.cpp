// block.cpp: what stands between the products of a transformer's block, for inference on the CPU, in one pass each. The
// sums are float32; what is read and written is float32 or bfloat16. Without AVX-512 they are libtorch's own operators.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // in g++ 12's own intrinsics (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#include "avx512.h"

namespace {

using namespace goclip::avx512;

// LayerNorm is a layer norm's gain and shift, of width numbers.
struct LayerNorm {
  const float *gain, *shift;
  int64_t width;
  float eps;

  // row adds the branch, if there is one, to x and normalises the sum.
  template <class Branch, class Out>
  void row(const float *x, const Branch *branch, float *sum, Out *to) const {
    __m512 total = _mm512_setzero_ps(), more = total;
    for (int64_t j = 0; j < width; j += lanes) {
      const __mmask16 in = first(width - j);
      __m512 v = load(x + j, in);
      if (branch != nullptr) {
        v = _mm512_add_ps(v, load(branch + j, in));
        store(sum + j, v, in);
      }
      total = _mm512_add_ps(total, v);
      std::swap(total, more);
    }
    if (branch != nullptr) x = sum;
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_add_ps(total, more)) / width);
    total = more = _mm512_setzero_ps();
    for (int64_t j = 0; j < width; j += lanes) {
      const __mmask16 in = first(width - j);
      const __m512 v = _mm512_maskz_sub_ps(in, load(x + j, in), mean);
      total = _mm512_fmadd_ps(v, v, total);
      std::swap(total, more);
    }
    const float variance = _mm512_reduce_add_ps(_mm512_add_ps(total, more)) / width;
    const __m512 scale = _mm512_set1_ps(1 / std::sqrt(variance + eps));
    for (int64_t j = 0; j < width; j += lanes) {
      const __mmask16 in = first(width - j);
      const __m512 v = _mm512_mul_ps(_mm512_sub_ps(load(x + j, in), mean), scale);
      store(to + j, _mm512_fmadd_ps(v, load(gain + j, in), load(shift + j, in)), in);
    }
  }

  template <class Branch, class Out>
  void rows(int64_t n, const float *x, const Branch *branch, float *sum, Out *to) const {
    at::parallel_for(0, n, 8, [&](int64_t from, int64_t end) {
      for (int64_t i = from * width; i < end * width; i += width)
        row(x + i, branch == nullptr ? nullptr : branch + i, sum + i, to + i);
    });
  }
};

// block is how many rows of a product its registers hold.
constexpr int64_t block = 6;

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

// transpose turns 16 vectors of 16 numbers into their columns, which are written stride apart.
void transpose(__m512 (&r)[16], float *to, int64_t stride) {
  __m512 s[16];
  for (int i = 0; i < 16; i += 4) {
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
    const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3]));
    const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
    s[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c)), s[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    s[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d)), s[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  // s[4 g + c] has of the vectors 4 g to 4 g + 3 the columns c, c + 4, c + 8, c + 12.
  for (int c = 0; c < 4; c++) {
    const __m512 a = _mm512_shuffle_f32x4(s[c], s[4 + c], 0x88), b = _mm512_shuffle_f32x4(s[8 + c], s[12 + c], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(s[c], s[4 + c], 0xdd), e = _mm512_shuffle_f32x4(s[8 + c], s[12 + c], 0xdd);
    store(to + c * stride, _mm512_shuffle_f32x4(a, b, 0x88));
    store(to + (8 + c) * stride, _mm512_shuffle_f32x4(a, b, 0xdd));
    store(to + (4 + c) * stride, _mm512_shuffle_f32x4(d, e, 0x88));
    store(to + (12 + c) * stride, _mm512_shuffle_f32x4(d, e, 0xdd));
  }
}

// Attention is self-attention of packed queries, keys and values: of each token 3 heads x depth numbers.
struct Attention {
  int64_t tokens, heads, depth;
  bool causal;

  int64_t padded() const { return (tokens + lanes - 1) / lanes * lanes; }
  int64_t workspace() const { return (depth + block) * padded() + tokens * depth + 2 * block * depth; }

  // head computes one head of one sequence. Work has room for workspace() numbers.
  template <class T>
  void head(const T *qkv, T *to, float *work) const {
    const int64_t width = heads * depth, stride = 3 * width, keys = padded();
    float *key = work, *value = key + depth * keys, *weights = value + tokens * depth;
    float *query = weights + block * keys, *sums = query + block * depth;
    for (int64_t t = 0; t < keys; t += lanes) {
      for (int64_t d = 0; d < depth; d += lanes) {
        __m512 rows[lanes];
        for (int64_t i = 0; i < lanes; i++)
          rows[i] = t + i < tokens ? load(qkv + (t + i) * stride + width + d) : _mm512_setzero_ps();
        transpose(rows, key + d * keys + t, keys);
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
          store(to + (t + i) * width + d, _mm512_mul_ps(inverse[i], load(sums + i * depth + d)));
    }
  }

  // softmax makes the first n of the columns of a row e^(x - max) and the others 0. It returns the inverse of their sum.
  static __m512 softmax(float *row, int64_t n, int64_t columns) {
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

  template <class T>
  void sequences(int64_t n, const T *qkv, T *to) const {
    at::parallel_for(0, n * heads, 1, [&](int64_t from, int64_t end) {
      const std::unique_ptr<float[]> work(new float[workspace()]);
      for (int64_t i = from; i < end; i++)
        head(qkv + i / heads * tokens * 3 * heads * depth + i % heads * depth,
             to + i / heads * tokens * heads * depth + i % heads * depth, work.get());
    });
  }
};

}  // namespace
#pragma GCC pop_options
#endif

namespace {

using Optional = std::optional<at::Tensor>;

bool avx512() {
#if defined(__x86_64__)
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return has;
#else
  return false;
#endif
}

bool takes(const at::Tensor &t) {
  return t.is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16) && t.is_contiguous() &&
         t.numel() > 0;
}

// add_layer_norm is x + branch, or x, and its layer norm in float32 or bfloat16.
std::tuple<at::Tensor, at::Tensor> add_layer_norm(const at::Tensor &x, const Optional &branch, const at::Tensor &weight,
                                                  const at::Tensor &bias, double eps, at::ScalarType type) {
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16, "the norm must be float32 or bfloat16, not ", type);
  TORCH_CHECK(!branch || branch->sizes() == x.sizes(), "a branch of shape ", branch->sizes(), " does not fit ", x.sizes());
#if defined(__x86_64__)
  const int64_t width = weight.numel();
  const auto floats = [](const at::Tensor &t) { return takes(t) && t.scalar_type() == at::kFloat; };
  if (avx512() && floats(x) && floats(weight) && floats(bias) && weight.dim() == 1 && bias.sizes() == weight.sizes() &&
      x.dim() > 0 && x.size(-1) == width && (!branch || takes(*branch))) {
    const at::Tensor sum = branch ? at::empty_like(x) : x, norm = at::empty_like(x, type);
    const LayerNorm layer{weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), width, static_cast<float>(eps)};
    const auto run = [&](const auto *branch, auto *to) {
      layer.rows(x.numel() / width, x.const_data_ptr<float>(), branch,
                 branch ? sum.mutable_data_ptr<float>() : nullptr, to);
    };
    const auto with = [&](auto *to) {
      if (branch && branch->scalar_type() == at::kBFloat16) {
        run(static_cast<const BFloat16 *>(branch->const_data_ptr()), to);
      } else {
        run(branch ? branch->const_data_ptr<float>() : nullptr, to);
      }
    };
    type == at::kFloat ? with(norm.mutable_data_ptr<float>()) : with(static_cast<BFloat16 *>(norm.mutable_data_ptr()));
    return {sum, norm};
  }
#endif
  const at::Tensor sum = branch ? x + *branch : x;
  return {sum, at::layer_norm(sum, weight.sizes(), weight, bias, eps).to(type)};
}

// self_attention maps packed queries, keys and values (B, T, 3 heads D) to (B, T, heads D), in their type.
at::Tensor self_attention(const at::Tensor &qkv, int64_t heads, bool causal) {
  TORCH_CHECK(qkv.dim() == 3 && heads > 0 && qkv.size(2) % (3 * heads) == 0, "queries, keys and values of ", heads,
              " heads must be (B, T, 3 heads D), not ", qkv.sizes());
  const int64_t n = qkv.size(0), tokens = qkv.size(1), width = qkv.size(2) / 3, depth = width / heads;
#if defined(__x86_64__)
  if (avx512() && takes(qkv) && depth % lanes == 0) {
    const at::Tensor out = at::empty({n, tokens, width}, qkv.options());
    const Attention attention{tokens, heads, depth, causal};
    if (qkv.scalar_type() == at::kFloat) {
      attention.sequences(n, qkv.const_data_ptr<float>(), out.mutable_data_ptr<float>());
    } else {
      attention.sequences(n, static_cast<const BFloat16 *>(qkv.const_data_ptr()),
                          static_cast<BFloat16 *>(out.mutable_data_ptr()));
    }
    return out;
  }
#endif
  const auto parts = qkv.to(at::kFloat).view({n, tokens, 3, heads, depth}).permute({2, 0, 3, 1, 4}).unbind(0);
  const at::Tensor y = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0, causal);
  return y.transpose(1, 2).reshape({n, tokens, width}).to(qkv.scalar_type());
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(goclip, m) {
  m.def(
      "add_layer_norm(Tensor x, Tensor? branch, Tensor weight, Tensor bias, float eps, ScalarType type) -> (Tensor, "
      "Tensor)",
      add_layer_norm);
  m.def("self_attention(Tensor qkv, int heads, bool causal) -> Tensor", self_attention);
}
