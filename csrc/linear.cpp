// linear.cpp: the operators around bf16x3.h. Whatever the products cannot take, a number that cannot be split or
// another type, goes to libtorch's own linear, so that infinities and NaN come out as float32 gives them.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "bf16x3.h"
#include "guard.h"
#include "split_tensor.h"

using namespace goclip;
using bf16x3::Activation;
using bf16x3::Matrix;

namespace {

using Optional = std::optional<at::Tensor>;

bool takes(const at::Tensor &t) { return t.is_cpu() && t.scalar_type() == at::kFloat && t.layout() == at::kStrided; }

// rows and columns are two views of a contiguous (..., k): vectors of k, and the k columns as vectors.
Matrix rows(const at::Tensor &t) {
  const int64_t k = t.size(-1);
  return {t.const_data_ptr<float>(), t.numel() / k, k, k, 1};
}
Matrix columns(const at::Tensor &t) {
  const int64_t k = t.size(-1);
  return {t.const_data_ptr<float>(), k, t.numel() / k, 1, k};
}

// packed is a right-hand matrix's tiles, bytes, or undefined if it cannot be split.
at::Tensor packed(const Matrix &m) {
  at::Tensor tiles = at::empty({bf16x3::packed_bytes(m.vectors, m.depth)}, at::kByte);
  return bf16x3::pack(m, tiles.mutable_data_ptr()) ? tiles : at::Tensor();
}

// product is a b^T, or undefined if a number cannot be split.
at::Tensor product(const Matrix &a, const Matrix &b, at::IntArrayRef shape, const float *bias = nullptr) {
  const at::Tensor tiles = packed(b);
  if (!tiles.defined()) return {};
  at::Tensor out = at::empty(shape, at::kFloat);
  bf16x3::Epilogue e;
  e.bias = bias;
  return bf16x3::multiply(a, tiles.const_data_ptr(), b.vectors, e, out.mutable_data_ptr<float>()) ? out : at::Tensor();
}

std::vector<int64_t> shape_of(const at::Tensor &x, int64_t n) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = n;
  return shape;
}

// With fewer rows, splitting the weight takes as long as the product.
constexpr int64_t least_rows = 64;

bool worthwhile(const at::Tensor &x, const at::Tensor &weight, const Optional &bias) {
  return takes(x) && takes(weight) &&
         (!bias || (takes(*bias) && bias->dim() == 1 && bias->numel() == weight.size(0))) && weight.dim() == 2 &&
         weight.numel() > 0 && x.dim() > 0 && x.size(-1) == weight.size(1) && x.numel() >= least_rows * weight.size(1);
}

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &x, const at::Tensor &weight,
                            const Optional &bias) {
    context->save_for_backward({x, weight});
    context->saved_data["biased"] = bias.has_value();
    const at::Tensor in = x.contiguous(), w = weight.contiguous(), b = bias ? bias->contiguous() : at::Tensor();
    const at::Tensor y = product(rows(in), rows(w), shape_of(x, w.size(0)), bias ? b.const_data_ptr<float>() : nullptr);
    return y.defined() ? y : at::linear(x, weight, bias);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor x = saved[0].contiguous(), w = saved[1].contiguous(), dy = gradients[0].contiguous();
    const at::Tensor flat = dy.view({-1, w.size(0)});
    at::Tensor dx, dw, db;
    if (context->needs_input_grad(0)) {
      dx = product(rows(dy), columns(w), x.sizes());
      if (!dx.defined()) dx = at::matmul(dy, w);
    }
    if (context->needs_input_grad(1)) {
      dw = product(columns(dy), columns(x), w.sizes());
      if (!dw.defined()) dw = at::mm(flat.t(), x.view({-1, w.size(1)}));
    }
    if (context->saved_data["biased"].toBool() && context->needs_input_grad(2)) db = flat.sum(0);
    return {dx, dw, db};
  }
};

// linear is at::linear with a derivative, both from three bfloat16 products where they are worth it.
at::Tensor linear(const at::Tensor &x, const at::Tensor &weight, const Optional &bias) {
  return worthwhile(x, weight, bias) ? Linear::apply(x, weight, bias) : at::linear(x, weight, bias);
}

// pack_linear is a weight's (n, k) tiles for packed_linear, empty if the weight cannot be split.
at::Tensor pack_linear(const at::Tensor &weight) {
  TORCH_CHECK(takes(weight) && weight.dim() == 2, "the weight must be a float32 matrix on the CPU");
  const at::Tensor w = weight.contiguous(), tiles = w.numel() > 0 ? packed(rows(w)) : at::Tensor();
  return tiles.defined() ? tiles : at::empty({0}, at::kByte);
}

// packed_linear is residual + activation(x weight^T + bias), with the activation 0 none, 1 GELU, 2 QuickGELU or 3 GELU
// by tanh. With split it is split for the next product where it can be (split.h), and x may be split. It has no
// derivative.
at::Tensor packed_linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &tiles, const Optional &bias,
                         int64_t activation, const Optional &residual, bool split) {
  TORCH_CHECK(weight.dim() == 2 && tiles.is_cpu() && tiles.is_contiguous() && tiles.scalar_type() == at::kByte &&
                  tiles.numel() == bf16x3::packed_bytes(weight.size(0), weight.size(1)),
              "the tiles are not the weight's");
  TORCH_CHECK(x.dim() > 0 && x.size(-1) == weight.size(1), "rows of ", x.dim() > 0 ? x.size(-1) : 0,
              " numbers do not fit a weight of ", weight.sizes());
  const bool is_split = bf16x3::is_split(x);
  TORCH_CHECK((is_split || takes(x)) && (!bias || (takes(*bias) && bias->numel() == weight.size(0))),
              "the input and the bias must be float32 on the CPU, the bias of ", weight.size(0), " numbers");
  const int64_t n = weight.size(0), k = weight.size(1);
  const auto shape = shape_of(x, n);
  TORCH_CHECK(!residual || (takes(*residual) && residual->sizes() == at::IntArrayRef(shape)),
              "the residual must be float32 on the CPU, of shape ", shape);
  if (x.numel() == 0 || n == 0) return at::empty(shape, at::kFloat);
  const at::Tensor in = x.contiguous(), b = bias ? bias->contiguous() : at::Tensor();
  const at::Tensor r = residual ? residual->contiguous() : at::Tensor();
  Matrix left = is_split ? Matrix{nullptr, in.numel() / k, k, k, 1, in.const_data_ptr()} : rows(in);
  bf16x3::Epilogue e;
  if (bias) e.bias = b.const_data_ptr<float>();
  if (residual) e.residual = r.const_data_ptr<float>();
  e.activation = static_cast<Activation>(activation);
  for (const bool now : {true, false}) {
    e.split = now && split && bf16x3::may_split(n, k);
    if (now && !e.split) continue;
    const at::Tensor out = e.split ? bf16x3::empty_split(shape) : at::empty(shape, at::kFloat);
    if (bf16x3::multiply(left, tiles.const_data_ptr(), n, e, out.mutable_data_ptr())) return out;
  }
  at::Tensor y = at::linear(x, weight, bias);
  if (activation == 1) y = at::gelu(y);
  if (activation == 2) y = y * at::sigmoid(y * 1.702);
  if (activation == 3) y = at::gelu(y, "tanh");
  return residual ? y + *residual : y;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(goclip, m) {
  m.def("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor", linear);
  m.def("pack_linear(Tensor weight) -> Tensor", pack_linear);
  m.def(
      "packed_linear(Tensor x, Tensor weight, Tensor tiles, Tensor? bias, int activation, Tensor? residual, bool "
      "split) -> Tensor",
      packed_linear);
}

extern "C" char *gc_bf16x3(void) {
  return guard([] {
    const std::string why = bf16x3::unusable();
    TORCH_CHECK(why.empty(), why);
  });
}
