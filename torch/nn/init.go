package nn

import (
	"math"

	"github.com/goclip/goclip/torch"
)

// Parameter returns a float32 tensor on the CPU that requires a gradient and belongs to the garbage
// collector. Its numbers are whatever lies in its memory: load or set them. [Normal] and [Constant]
// set them.
func Parameter(shape ...int) *torch.Tensor {
	return torch.Empty(nil, torch.CPU, torch.Float32, shape...).SetRequiresGrad(true)
}

// Normal returns a [Parameter] drawn from the normal distribution of mean 0 and this standard deviation,
// as torch.nn.init.normal_ draws it.
func Normal(std float64, shape ...int) *torch.Tensor {
	return drawn(func(p *torch.Tensor) { p.NormalInPlace(0, std) }, shape...)
}

// Constant returns a [Parameter] whose elements are all v.
func Constant(v float64, shape ...int) *torch.Tensor {
	return drawn(func(p *torch.Tensor) { p.Fill(v) }, shape...)
}

// uniform is a [Parameter] drawn from U(-bound, bound).
func uniform(bound float64, shape ...int) *torch.Tensor {
	return drawn(func(p *torch.Tensor) { p.UniformInPlace(-bound, bound) }, shape...)
}

// kaimingUniform is torch.nn.init.kaiming_uniform_(a=sqrt(5)), a weight of torch.nn.Linear and
// Conv2d. The steps are PyTorch's, because another order rounds to other bounds (torch/nn/init.py).
func kaimingUniform(fanIn int, shape ...int) *torch.Tensor {
	a := math.Sqrt(5)
	gain := math.Sqrt(2 / (1 + float64(a*a)))
	return uniform(math.Sqrt(3)*(gain/math.Sqrt(float64(fanIn))), shape...)
}

// fanUniform is the bias of torch.nn.Linear and Conv2d: U(+-1/sqrt(fan in)).
func fanUniform(fanIn int, shape ...int) *torch.Tensor {
	return uniform(1/math.Sqrt(float64(fanIn)), shape...)
}

// xavierUniform is torch.nn.init.xavier_uniform_ of a matrix (out, in).
func xavierUniform(out, in int) *torch.Tensor {
	std := math.Sqrt(2 / float64(in+out))
	return uniform(math.Sqrt(3)*std, out, in)
}

func drawn(draw func(p *torch.Tensor), shape ...int) *torch.Tensor {
	p := Parameter(shape...)
	if err := torch.NoGrad(func(*torch.Scope) { draw(p) }); err != nil {
		panic(err) // *torch.Error, as of an operator
	}
	return p
}
