package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

func normal(s *torch.Scope, p *torch.Tensor, std float64) { s.Alias(p).NormalInPlace(0, std) }

// InitializeBiases draws the biases that defaultInit leaves to the layers: a key alone does not tell their fan-in.
func (t *Transformer) InitializeBiases(s *torch.Scope) {
	for _, b := range t.Blocks {
		initBias(s, b.MLP.Fc)
		initBias(s, b.MLP.Proj)
	}
}

// initBias draws a Linear's bias as PyTorch does.
func initBias(s *torch.Scope, l *nn.Linear) {
	bound := 1 / math.Sqrt(float64(l.Weight.Size(1)))
	s.Alias(l.Bias).UniformInPlace(-bound, bound)
}

// initConvBias draws a Conv2d's bias as PyTorch does.
func initConvBias(s *torch.Scope, c *nn.Conv2d) {
	bound := 1 / math.Sqrt(float64(c.Weight.Numel()/c.Weight.Size(0)))
	s.Alias(c.Bias).UniformInPlace(-bound, bound)
}
