package nn

import (
	"math"

	"github.com/goclip/goclip/torch"
)

// LoRA is what a frozen weight W (out, in) learns by low-rank adaptation: W x becomes W x + Scale *
// B A x (Hu et al., arXiv 2106.09685, equation 3). A packed weight, such as that of queries, keys
// and values, has a pair for each of its Parts of equal height. The keys are those of the peft
// library. A nil one changes nothing.
type LoRA struct {
	A     *torch.Tensor `torch:"lora_A"` // (Parts * R, in)
	B     *torch.Tensor `torch:"lora_B"` // (out, R)
	Scale float64       `torch:"-"`      // alpha / R
	Parts int           `torch:"-"`
}

// NewLoRA allocates the pair for weight on its device, uninitialised.
func NewLoRA(weight *torch.Tensor, rank, parts int, alpha float64) *LoRA {
	on := func(shape ...int) *torch.Tensor {
		return torch.Empty(nil, weight.Device(), torch.Float32, shape...).SetRequiresGrad(true)
	}
	return &LoRA{A: on(parts*rank, weight.Size(1)), B: on(weight.Size(0), rank), Scale: alpha / float64(rank), Parts: parts}
}

// Initialize draws A as torch.nn.Linear's weight, U(+-1/sqrt(in)), and makes B zero, so that
// nothing changes at first.
func (l *LoRA) Initialize(s *torch.Scope) {
	bound := 1 / math.Sqrt(float64(l.A.Size(1)))
	s.Alias(l.A).UniformInPlace(-bound, bound)
	s.Alias(l.B).Fill(0)
}

// Add is y + Scale * B A x, where y (..., out) is W x for x (..., in).
func (l *LoRA) Add(y, x *torch.Tensor) *torch.Tensor {
	if l == nil {
		return y
	}
	return l.AddParts(y, x, 0, l.Parts)
}

// AddParts is [LoRA.Add] for y that has only the rows of n parts, from the part first on.
func (l *LoRA) AddParts(y, x *torch.Tensor, first, n int) *torch.Tensor {
	if l == nil {
		return y
	}
	rank, rows := l.B.Size(1), l.B.Size(0)/l.Parts
	low := x.Linear(x.Borrow(l.A).Narrow(0, first*rank, n*rank), nil) // (..., n * R)
	b := x.Borrow(l.B)
	parts := make([]*torch.Tensor, n)
	for i := range parts {
		parts[i] = low.Narrow(-1, i*rank, rank).Linear(b.Narrow(0, (first+i)*rows, rows), nil)
	}
	return y.Add(torch.Cat(-1, parts...).MulScalar(l.Scale))
}

// Merged is W + Scale * B A, in the scope s.
func (l *LoRA) Merged(s *torch.Scope, weight *torch.Tensor) *torch.Tensor {
	rank, rows := l.B.Size(1), l.B.Size(0)/l.Parts
	parts := make([]*torch.Tensor, l.Parts)
	for i := range parts {
		parts[i] = s.Alias(l.B).Narrow(0, i*rows, rows).MatMul(s.Alias(l.A).Narrow(0, i*rank, rank))
	}
	return s.Alias(weight).Add(torch.Cat(0, parts...).MulScalar(l.Scale))
}
