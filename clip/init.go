package clip

import (
	"math"
	"strings"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// New makes a model with random weights, OpenAI's initialisation (openai/CLIP clip/model.py initialize_parameters): the
// text tower's is its own, the picture tower's blocks keep PyTorch's layer defaults.
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
	normal := func(p *torch.Tensor, std float64) { s.Alias(p).NormalInPlace(0, std) }
	for key, p := range m.Parameters() {
		defaultInit(s, key, p)
	}
	for _, t := range []*Transformer{m.Visual.Transformer, m.Text.Transformer} {
		for _, b := range t.Blocks {
			initBias(s, b.MLP.Fc)
			initBias(s, b.MLP.Proj)
		}
	}

	width := float64(m.Config.Vision.Width)
	normal(m.Visual.ClassEmbedding, 1/math.Sqrt(width))
	normal(m.Visual.PositionalEmbedding, 1/math.Sqrt(width))
	normal(m.Visual.Proj, 1/math.Sqrt(width))

	t, width := m.Config.Text, float64(m.Config.Text.Width)
	normal(m.Text.TokenEmbedding.Weight, 0.02)
	normal(m.Text.PositionalEmbedding, 0.01)
	attention := 1 / math.Sqrt(width)
	projection := attention / math.Sqrt(2*float64(t.Layers))
	for _, b := range m.Text.Transformer.Blocks {
		normal(b.Attn.InWeight, attention)
		normal(b.Attn.Out.Weight, projection)
		normal(b.MLP.Fc.Weight, 1/math.Sqrt(2*width))
		normal(b.MLP.Proj.Weight, projection)
	}
	normal(m.Text.Projection, attention)
	s.Alias(m.LogitScale).Fill(*m.Config.InitLogitScale)
}

// defaultInit is what PyTorch's layers start with: torch.nn.Linear and Conv2d draw their weight from
// U(+-1/sqrt(fan_in)); MultiheadAttention's in_proj_weight is Xavier uniform and its biases are 0; a LayerNorm is the
// identity.
func defaultInit(s *torch.Scope, key string, p *torch.Tensor) {
	x := s.Alias(p)
	shape := p.Shape()
	switch {
	case strings.Contains(key, "ln_"):
		return // nn.NewLayerNorm set it
	case strings.HasSuffix(key, "in_proj_bias"), strings.HasSuffix(key, "out_proj.bias"):
		x.Fill(0)
	case strings.HasSuffix(key, "in_proj_weight"):
		bound := math.Sqrt(6 / float64(shape[0]+shape[1]))
		x.UniformInPlace(-bound, bound)
	case len(shape) >= 2:
		fanIn := p.Numel() / shape[0]
		bound := 1 / math.Sqrt(float64(fanIn))
		x.UniformInPlace(-bound, bound)
	}
}

// initBias draws a Linear's bias as PyTorch does.
func initBias(s *torch.Scope, l *nn.Linear) {
	bound := 1 / math.Sqrt(float64(l.Weight.Size(1)))
	s.Alias(l.Bias).UniformInPlace(-bound, bound)
}
