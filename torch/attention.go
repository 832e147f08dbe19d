package torch

import (
	"math"
	"slices"
)

var (
	opBaddbmm = NewOp("aten::baddbmm")
	opBmm     = NewOp("aten::bmm")
	opTriu    = NewOp("aten::triu_")
)

// ScaledDotProductAttention is softmax(q k^T / sqrt(d)) v over (B, heads, T, d). With causal,
// position i sees j <= i.
func ScaledDotProductAttention(q, k, v *Tensor, causal bool) *Tensor {
	if q.DType() == BFloat16 && q.Device() == CPU && q.Dim() == 4 && q.Size(2) <= 2*q.Size(3) &&
		slices.Equal(q.Shape(), k.Shape()) && slices.Equal(q.Shape(), v.Shape()) {
		return productsOfHeads(q, k, v, causal)
	}
	return opSDPA.Call(q, k, v, nil, 0.0, causal)
}

// productsOfHeads is attention in a few products of all heads at once. libtorch's backward pass asks oneDNN for three products of
// each head alone, which in bfloat16 cost an eighth of a training step of ViT-B/32. The probabilities are in memory here,
// which for short sequences is no more than the output that libtorch keeps instead. Whether gradients are recorded must not matter:
// a block that is computed again for the backward pass gives the same numbers.
func productsOfHeads(q, k, v *Tensor, causal bool) *Tensor {
	shape := q.Shape()
	t, d := shape[2], shape[3]
	heads := Stack(0, q, k, v).View(3, shape[0]*shape[1], t, d).Unbind(0) // (B heads, T, d) each
	mask, beta := Zeros(q.scope, CPU, BFloat16, 1, t, t), 0.0
	if causal {
		opTriu.Run(q.scope, mask.Fill(math.Inf(-1)), 1)
		beta = 1
	}
	scores := opBaddbmm.Call(mask, heads[0], heads[1].Transpose(1, 2), beta, 1/math.Sqrt(float64(d)))
	return opBmm.Call(scores.Softmax(-1), heads[2]).View(shape...)
}
