package torch

// What stands between the products of a block, in one pass each beside packed weights
// ([Tensor.Pack], csrc/norm.cpp, attention.cpp). Elsewhere these are the plain operators, so that a forward pass
// gives the same numbers with and without recording gradients.

var (
	opAddLayerNorm  = NewOp("goclip::add_layer_norm")
	opSelfAttention = NewOp("goclip::self_attention")
)

// AddLayerNorm is t + branch, (..., W), and the [Tensor.LayerNorm] of that sum. A nil branch adds
// nothing. next is the weight that multiplies the norm, or nil: if it is packed, this is one pass, and
// the norm is what its products read fastest, and of use for nothing else.
func (t *Tensor) AddLayerNorm(branch, weight, bias *Tensor, eps float64, next *Tensor) (sum, norm *Tensor) {
	if next == nil || next.packed == nil || !t.fuses() || bias == nil {
		if branch != nil {
			t = t.Add(branch)
		}
		return t, t.LayerNorm(weight, bias, eps)
	}
	as := Float32
	switch {
	case next.packed.halves():
		as = BFloat16
	case next.readsSplit():
		as = split
	}
	out := opAddLayerNorm.All(nil, t, branch, weight, bias, eps, as)
	return out[0], out[1]
}

// split is float32 numbers as two of bfloat16, laid out for products by [PackBFloat16x3] (csrc/split_tensor.h). Its type is
// c10::ScalarType::UInt32, which no other tensor of goclip has.
const split DType = 28

// readsSplit reports whether products by the weight, which may be nil, read [split] numbers.
func (t *Tensor) readsSplit() bool {
	return t != nil && t.packed != nil && t.packed.how == PackBFloat16x3
}

// LinearAdd is t + x.Linear(weight, bias), in one pass where the packed weight's products can.
func (t *Tensor) LinearAdd(x, weight, bias *Tensor) *Tensor {
	if weight.packedFor(x, bias, false) && t.fuses() {
		return weight.packed.linearAdd(x, t)
	}
	return t.Add(x.Linear(weight, bias))
}

// SelfAttention is [ScaledDotProductAttention] of queries, keys and values side by side, of so many
// heads: (B, T, 3 W) -> (B, T, W), in one pass on the CPU, which records no gradient. next is the weight
// that multiplies the result, as for [Tensor.AddLayerNorm], or nil; joined says that the result is first
// joined with others.
func (t *Tensor) SelfAttention(heads int, causal bool, next *Tensor, joined bool) *Tensor {
	if !t.fuses() {
		misuse("self attention", "it takes a tensor on the CPU and records no gradient: use ScaledDotProductAttention")
	}
	return opSelfAttention.Call(t, heads, causal, next.readsSplit(), next.readsSplit() && !joined)
}

// fuses reports whether the fused passes take t.
func (t *Tensor) fuses() bool {
	return t.scope.inference() && t.Device() == CPU && (t.DType() == Float32 || t.DType() == BFloat16)
}
