// norm.cpp: the addition and the layer norm between the products of a transformer's block, for inference on the CPU, in
// one pass. The sums are float32; what is read is float32 or bfloat16, and so is what is written, or split. Without
// AVX-512 it is libtorch's own operators.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <atomic>
#include <cmath>
#include <cstring>

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
using goclip::bf16x3::SplitRows;

// LayerNorm is a layer norm's gain and shift, of width numbers.
struct LayerNorm {
  const float *gain, *shift;
  int64_t width;
  float eps;

  // row adds the branch, if there is one, to x and normalises the sum.
  template <class Branch, class Out>
  void row(const float *x, const Branch *branch, float *sum, const Out &to, int64_t i) const {
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
      store(to.at(i, j), _mm512_fmadd_ps(v, load(gain + j, in), load(shift + j, in)), in);
    }
  }

  template <class Branch, class Out>
  void rows(int64_t n, const float *x, const Branch *branch, float *sum, const Out &to) const {
    at::parallel_for(0, n, 8, [&](int64_t from, int64_t end) {
      for (int64_t i = from; i < end; i++)
        branch == nullptr ? row(x + i * width, branch, sum, to, i)
                          : row(x + i * width, branch + i * width, sum + i * width, to, i);
    });
  }
};

}  // namespace
#pragma GCC pop_options
#endif

namespace {

using Optional = std::optional<at::Tensor>;
using namespace goclip;

bool takes(const at::Tensor &t) {
  return t.is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16) && t.is_contiguous() &&
         t.numel() > 0;
}

// add_layer_norm is x + branch, or x, and its layer norm in float32 or bfloat16, or split (UInt32) if it can be and
// else in float32.
std::tuple<at::Tensor, at::Tensor> add_layer_norm(const at::Tensor &x, const Optional &branch, const at::Tensor &weight,
                                                  const at::Tensor &bias, double eps, at::ScalarType type) {
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kUInt32,
              "the norm must be float32, bfloat16 or split, not ", type);
  TORCH_CHECK(!branch || branch->sizes() == x.sizes(), "a branch of shape ", branch->sizes(), " does not fit ",
              x.sizes());
#if defined(__x86_64__)
  const int64_t width = weight.numel();
  const auto floats = [](const at::Tensor &t) { return takes(t) && t.scalar_type() == at::kFloat; };
  if (has_avx512() && floats(x) && floats(weight) && floats(bias) && weight.dim() == 1 &&
      bias.sizes() == weight.sizes() && x.dim() > 0 && x.size(-1) == width && (!branch || takes(*branch))) {
    const at::Tensor sum = branch ? at::empty_like(x) : x;
    const LayerNorm layer{weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), width, static_cast<float>(eps)};
    const int64_t rows = x.numel() / width;
    const auto run = [&](const auto *branch, const auto &to) {
      layer.rows(rows, x.const_data_ptr<float>(), branch, branch ? sum.mutable_data_ptr<float>() : nullptr, to);
    };
    const auto write = [&](const auto &to) {
      if (branch && branch->scalar_type() == at::kBFloat16) {
        run(static_cast<const BFloat16 *>(branch->const_data_ptr()), to);
      } else {
        run(branch ? branch->const_data_ptr<float>() : nullptr, to);
      }
    };
    if (type == at::kUInt32) {
      if (width % 32 == 0 && bf16x3::usable()) {
        const at::Tensor norm = bf16x3::empty_split(x.sizes());
        std::atomic<bool> bad{false};
        write(SplitRows(norm.mutable_data_ptr(), rows, width, &bad));
        if (!bad) return {sum, norm};
      }
      type = at::kFloat;
    }
    const at::Tensor norm = at::empty_like(x, type);
    if (type == at::kFloat) {
      write(Rows<float>{norm.mutable_data_ptr<float>(), width});
    } else {
      write(Rows<BFloat16>{static_cast<BFloat16 *>(norm.mutable_data_ptr()), width});
    }
    return {sum, norm};
  }
#endif
  const at::Tensor sum = branch ? x + *branch : x;
  return {sum, at::layer_norm(sum, weight.sizes(), weight, bias, eps).to(type == at::kUInt32 ? at::kFloat : type)};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(goclip, m) {
  m.def(
      "add_layer_norm(Tensor x, Tensor? branch, Tensor weight, Tensor bias, float eps, ScalarType type) -> (Tensor, "
      "Tensor)",
      add_layer_norm);
}
