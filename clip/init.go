package clip

import (
	"math"
	"strings"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// New makes a model with random weights as the towers' own authors draw them: each tower's Initialize names its source.
// Everything else begins as PyTorch's layers do.
func New(c *tower.Config, seed uint64) (*Model, error) {
	c = c.Clone()
	if err := c.Complete(); err != nil {
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

func (m *Model) initialize(s *torch.Scope) {
	for key, p := range m.Parameters() {
		defaultInit(s, key, p)
	}
	parts := []any{m.Visual, m.Text}
	if m.Decoder != nil {
		parts = append(parts, m.Decoder)
	}
	for _, t := range parts {
		if t, ok := t.(tower.Initializer); ok {
			t.InitializeBiases(s)
		}
	}
	for _, t := range parts {
		if t, ok := t.(tower.Initializer); ok {
			t.Initialize(s)
		}
	}
	m.initializeScale(s)
}

func (m *Model) initializeScale(s *torch.Scope) {
	s.Alias(m.LogitScale).Fill(*m.Config.InitLogitScale)
	if m.LogitBias != nil {
		s.Alias(m.LogitBias).Fill(*m.Config.InitLogitBias)
	}
}

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
