package torch

import "slices"

var opAttentionOfHeads = NewOp("goclip::attention_of_heads")

// ScaledDotProductAttention is softmax(q k^T / sqrt(d)) v over (B, heads, T, d). With causal,
// position i sees j <= i.
//
// libtorch's backward pass asks oneDNN for three products of each head alone, which in bfloat16 cost an eighth of a training
// step of ViT-B/32. So heads of few tokens are multiplied all at once on the CPU, in float32 (csrc/heads.cpp). Whether gradients
// are recorded must not matter: a block that is computed again for the backward pass gives the same numbers.
func ScaledDotProductAttention(q, k, v *Tensor, causal bool) *Tensor {
	if q.DType() == BFloat16 && q.Device() == CPU && q.Dim() == 4 && q.Size(2) <= 2*q.Size(3) &&
		slices.Equal(q.Shape(), k.Shape()) && slices.Equal(q.Shape(), v.Shape()) {
		return opAttentionOfHeads.Call(q, k, v, causal)
	}
	return opSDPA.Call(q, k, v, nil, 0.0, causal)
}
