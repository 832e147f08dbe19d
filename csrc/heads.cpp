// heads.cpp: attention in training on the CPU, for sequences of few tokens in bfloat16: a few float32 products of all
// heads at once, forward and backward. What it keeps for the backward pass are its inputs; the probabilities are
// computed again.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cmath>
#include <limits>

namespace {

// Heads are the queries, keys and values (B, heads, T, D) of all heads in float32, (B heads, T, D) each.
struct Heads {
  at::Tensor q, k, v;
  double scale;

  Heads(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v)
      : q(flat(q)), k(flat(k)), v(flat(v)), scale(1 / std::sqrt(static_cast<double>(q.size(3)))) {}

  static at::Tensor flat(const at::Tensor &x) {
    return x.to(at::kFloat).reshape({x.size(0) * x.size(1), x.size(2), x.size(3)});
  }

  // probabilities are softmax(scale q k^T), (B heads, T, T). With causal, position i sees j <= i.
  at::Tensor probabilities(bool causal) const {
    at::Tensor mask = at::zeros({1, q.size(1), q.size(1)}, q.options());
    if (causal) mask.fill_(-std::numeric_limits<float>::infinity()).triu_(1);
    return at::baddbmm(mask, q, k.transpose(1, 2), causal, scale).softmax(-1);
  }
};

struct Attention : torch::autograd::Function<Attention> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &q, const at::Tensor &k,
                            const at::Tensor &v, bool causal) {
    context->save_for_backward({q, k, v});
    context->saved_data["causal"] = causal;
    const Heads h(q, k, v);
    return at::bmm(h.probabilities(causal), h.v).to(v.scalar_type()).view(v.sizes());
  }

  // With P = softmax(S) and O = P V: dV = P^T dO, dP = dO V^T, dS = P (dP - rows of P dP), dQ = dS K, dK = dS^T Q.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Heads h(saved[0], saved[1], saved[2]);
    const at::Tensor p = h.probabilities(context->saved_data["causal"].toBool()), d = Heads::flat(gradients[0]);
    const at::Tensor ds = at::_softmax_backward_data(at::bmm(d, h.v.transpose(1, 2)), p, -1, at::kFloat).mul_(h.scale);
    const auto as = [](const at::Tensor &x, const at::Tensor &like) {
      return x.to(like.scalar_type()).view(like.sizes());
    };
    return {as(at::bmm(ds, h.k), saved[0]), as(at::bmm(ds.transpose(1, 2), h.q), saved[1]),
            as(at::bmm(p.transpose(1, 2), d), saved[2]), at::Tensor()};
  }
};

// attention_of_heads maps (B, heads, T, D) each to (B, heads, T, D), also under autocast by float32 products.
at::Tensor attention_of_heads(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, bool causal) {
  const c10::impl::ExcludeDispatchKeyGuard no_casts(c10::DispatchKey::AutocastCPU);
  return Attention::apply(q, k, v, causal);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(goclip, m) {
  m.def("attention_of_heads(Tensor q, Tensor k, Tensor v, bool causal) -> Tensor", attention_of_heads);
}
