package nn

import "github.com/goclip/goclip/torch"

// Linear is x @ Weight^T + Bias.
type Linear struct {
	Weight *torch.Tensor `torch:"weight"` // (out, in)
	Bias   *torch.Tensor `torch:"bias"`   // (out), nil for none
	LoRA   *LoRA         `torch:""`       // nil but in low-rank adaptation
}

// NewLinear is initialised as torch.nn.Linear(in, out).
func NewLinear(in, out int) *Linear {
	l := NewLinearNoBias(in, out)
	l.Bias = fanUniform(in, out)
	return l
}

// NewLinearNoBias is initialised as torch.nn.Linear(in, out, bias=False).
func NewLinearNoBias(in, out int) *Linear { return &Linear{Weight: kaimingUniform(in, out, in)} }

// Forward maps (..., in) to (..., out).
func (l *Linear) Forward(x *torch.Tensor) *torch.Tensor {
	return l.LoRA.Add(x.Linear(l.Weight, l.Bias), x)
}

// Takes is the weight that multiplies the input, for what computes that ([torch.Tensor.AddLayerNorm]): nil
// if there is no layer, or if something else reads its input, too.
func (l *Linear) Takes() *torch.Tensor {
	if l == nil || l.LoRA != nil {
		return nil
	}
	return l.Weight
}

// AddForward is x + Forward(y).
func (l *Linear) AddForward(x, y *torch.Tensor) *torch.Tensor {
	if l.LoRA != nil {
		return x.Add(l.Forward(y))
	}
	return x.LinearAdd(y, l.Weight, l.Bias)
}

// LayerNorm normalises the last dimension, of size W (Ba et al., arXiv 1607.06450).
type LayerNorm struct {
	Weight *torch.Tensor `torch:"weight"` // (W)
	Bias   *torch.Tensor `torch:"bias"`   // (W)
	Eps    float64       `torch:"-"`
}

// NewLayerNorm has gain 1, bias 0 and PyTorch's epsilon 1e-5.
func NewLayerNorm(width int) *LayerNorm {
	return &LayerNorm{Weight: Constant(1, width), Bias: Constant(0, width), Eps: 1e-5}
}

// Forward keeps the shape (..., W).
func (l *LayerNorm) Forward(x *torch.Tensor) *torch.Tensor {
	return x.LayerNorm(l.Weight, l.Bias, l.Eps)
}

// AddForward is x + branch and Forward of that sum. A nil branch adds nothing; next is the weight
// that multiplies the norm, or nil ([torch.Tensor.AddLayerNorm]).
func (l *LayerNorm) AddForward(x, branch, next *torch.Tensor) (sum, norm *torch.Tensor) {
	return x.AddLayerNorm(branch, l.Weight, l.Bias, l.Eps, next)
}

// Embedding is a table of num vectors of width dim.
type Embedding struct {
	Weight *torch.Tensor `torch:"weight"` // (num, dim)
}

// NewEmbedding is initialised as torch.nn.Embedding(num, dim).
func NewEmbedding(num, dim int) *Embedding { return &Embedding{Weight: Normal(1, num, dim)} }

// Forward maps int64 ids (...) to their vectors (..., dim).
func (e *Embedding) Forward(ids *torch.Tensor) *torch.Tensor { return ids.Embedding(e.Weight) }

// Weight is a lone tensor under the key "weight": an embedding's table, a convolution's kernel.
type Weight struct {
	Weight *torch.Tensor `torch:"weight"`
}
