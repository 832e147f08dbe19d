package clip

import (
	"math"
	"strings"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// New makes a model with random weights as the towers' own authors draw them: each tower's initialize names its source.
// Everything else begins as PyTorch's layers do.
func New(c *Config, seed uint64) (*Model, error) {
	c = c.clone()
	c.fillDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	m, err := tryAllocate(c)
	if err != nil {
		return nil, err
	}
	err = torch.NoGrad(func(s *torch.Scope) {
		state := torch.RNGState(torch.CPU)
		torch.ManualSeed(seed)
		m.initialize(s)
		_ = torch.SetRNGState(torch.CPU, state) // libtorch's own bytes: it takes them back
	})
	return m, err
}

func (c *Config) clone() *Config {
	d := *c
	return &d
}

func (m *Model) initialize(s *torch.Scope) {
	for key, p := range m.Parameters() {
		defaultInit(s, key, p)
	}
	m.Visual.initializeBiases(s)
	m.Text.initializeBiases(s)
	m.Visual.initialize(s)
	m.Text.initialize(s)
	s.Alias(m.LogitScale).Fill(*m.Config.InitLogitScale)
	if m.LogitBias != nil {
		s.Alias(m.LogitBias).Fill(*m.Config.InitLogitBias)
	}
}

func normal(s *torch.Scope, p *torch.Tensor, std float64) { s.Alias(p).NormalInPlace(0, std) }

// defaultInit is what PyTorch's layers start with: torch.nn.Linear and Conv2d draw their weight from
// U(+-1/sqrt(fan_in)); MultiheadAttention's in_proj_weight, or the three in its place, are Xavier uniform and its
// biases are 0; a normalisation is the identity.
func defaultInit(s *torch.Scope, key string, p *torch.Tensor) {
	x := s.Alias(p)
	shape := p.Shape()
	switch {
	case strings.HasSuffix(key, "in_proj_bias"), strings.HasSuffix(key, "out_proj.bias"):
		x.Fill(0)
	case strings.HasSuffix(key, "_proj_weight"):
		bound := math.Sqrt(6 / float64(shape[0]+shape[1]))
		x.UniformInPlace(-bound, bound)
	case len(shape) >= 2:
		fanIn := p.Numel() / shape[0]
		bound := 1 / math.Sqrt(float64(fanIn))
		x.UniformInPlace(-bound, bound)
	}
}

// initializeBiases draws the biases that defaultInit leaves to the layers: a key alone does not tell their fan-in.
func (t *Transformer) initializeBiases(s *torch.Scope) {
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
