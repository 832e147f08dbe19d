package nn

import (
	"fmt"

	"github.com/goclip/goclip/torch"
)

// MultiheadAttention is self-attention (Vaswani et al., arXiv 1706.03762) with the keys of
// torch.nn.MultiheadAttention.
type MultiheadAttention struct {
	InWeight *torch.Tensor `torch:"in_proj_weight"` // (3 W, W): queries, keys, values
	InBias   *torch.Tensor `torch:"in_proj_bias"`   // (3 W)
	Out      *Linear       `torch:"out_proj"`       // W -> W
	Heads    int           `torch:"-"`
	Causal   bool          `torch:"-"` // position i sees j <= i
}

// NewMultiheadAttention is initialised as torch.nn.MultiheadAttention(width, heads). width must be
// a multiple of heads.
func NewMultiheadAttention(width, heads int) *MultiheadAttention {
	if heads < 1 || width%heads != 0 {
		panic(&torch.Error{Op: "multihead_attention", Msg: fmt.Sprintf("the width %d is not a multiple of %d heads", width, heads)})
	}
	out := NewLinear(width, width) // the first numbers that PyTorch draws
	out.Bias = Constant(0, width)
	return &MultiheadAttention{InWeight: xavierUniform(3*width, width), InBias: Constant(0, 3*width), Out: out, Heads: heads}
}

// Forward keeps the shape (B, T, W).
func (a *MultiheadAttention) Forward(x *torch.Tensor) *torch.Tensor { return a.ForwardMasked(x, nil) }

// ForwardMasked is Forward in which queries see only the keys where mask is true. mask is bool and
// broadcasts to (B, heads, T, T): (B, 1, 1, T) hides padding. nil masks nothing.
func (a *MultiheadAttention) ForwardMasked(x, mask *torch.Tensor) *torch.Tensor {
	b, t, w := x.Size(0), x.Size(1), x.Size(2)
	qkv := x.Linear(a.InWeight, a.InBias).View(b, t, 3, a.Heads, w/a.Heads).Permute(2, 0, 3, 1, 4).Unbind(0) // 3 x (B, heads, T, W/heads)
	var y *torch.Tensor
	if mask == nil {
		y = torch.ScaledDotProductAttention(qkv[0], qkv[1], qkv[2], a.Causal)
	} else {
		if a.Causal {
			at := torch.ArangeLike(x, t)
			mask = mask.Mul(at.Unsqueeze(0).Le(at.Unsqueeze(1)))
		}
		y = torch.MaskedAttention(qkv[0], qkv[1], qkv[2], mask, 0)
	}
	return a.Out.Forward(y.Transpose(1, 2).Reshape(b, t, w)) // (B, T, W)
}
