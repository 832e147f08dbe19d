package torch

// What stands between the products of a block, in one pass each beside packed weights
// ([Tensor.Pack], csrc/block.cpp). Elsewhere these are the plain operators, so that a forward pass
// gives the same numbers with and without recording gradients.

var (
	opAddLayerNorm  = NewOp("goclip::add_layer_norm")
	opSelfAttention = NewOp("goclip::self_attention")
)

// AddLayerNorm is t + branch, (..., W), and the [Tensor.LayerNorm] of that sum. A nil branch adds
// nothing. next is the weight that multiplies the norm, or nil: if it is packed, this is one pass, and
// the norm is bfloat16 if its products read that.
func (t *Tensor) AddLayerNorm(branch, weight, bias *Tensor, eps float64, next *Tensor) (sum, norm *Tensor) {
	if next == nil || next.packed == nil || !t.fuses() || bias == nil {
		if branch != nil {
			t = t.Add(branch)
		}
		return t, t.LayerNorm(weight, bias, eps)
	}
	as := Float32
	if next.packed.halves() {
		as = BFloat16
	}
	out := opAddLayerNorm.All(nil, t, branch, weight, bias, eps, as)
	return out[0], out[1]
}

// LinearAdd is t + x.Linear(weight, bias), in one pass where the packed weight's products can.
func (t *Tensor) LinearAdd(x, weight, bias *Tensor) *Tensor {
	if weight.packedFor(x, bias, false) && t.fuses() {
		return weight.packed.linearAdd(x, t)
	}
	return t.Add(x.Linear(weight, bias))
}

// SelfAttention is [ScaledDotProductAttention] of queries, keys and values side by side, of so many
// heads: (B, T, 3 W) -> (B, T, W). Without gradients on the CPU it is one pass, which rounds in
// another order.
func (t *Tensor) SelfAttention(heads int, causal bool) *Tensor {
	if t.fuses() {
		return opSelfAttention.Call(t, heads, causal)
	}
	shape := t.Shape()
	w := shape[2] / 3
	parts := t.View(shape[0], shape[1], 3, heads, w/heads).Permute(2, 0, 3, 1, 4).Unbind(0) // (B, heads, T, W/heads) each
	return ScaledDotProductAttention(parts[0], parts[1], parts[2], causal).Transpose(1, 2).Reshape(shape[0], shape[1], w)
}

// fuses reports whether the fused passes take t.
func (t *Tensor) fuses() bool {
	return t.scope.inference() && t.Device() == CPU && (t.DType() == Float32 || t.DType() == BFloat16)
}
