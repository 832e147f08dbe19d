package nn_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

type block struct {
	Ln     *nn.LayerNorm `torch:"ln_1"`
	Proj   *nn.Linear    `torch:"proj"`
	Many   []*nn.Weight  `torch:"many"`
	Beside *nn.Weight    `torch:""`
	Heads  int           `torch:"-"`
	count  int
}

func TestParams(t *testing.T) {
	b := &block{Ln: nn.NewLayerNorm(4), Proj: nn.NewLinear(4, 2), Many: []*nn.Weight{{Weight: nn.Parameter(1)}, {Weight: nn.Parameter(2)}},
		Beside: &nn.Weight{Weight: nn.Parameter(3)}, count: 1}
	b.Proj.Bias = nil
	var keys []string
	for key, p := range nn.Params(b) {
		keys = append(keys, key)
		assert.True(t, p.RequiresGrad(), key)
	}
	assert.Equal(t, []string{"ln_1.weight", "ln_1.bias", "proj.weight", "many.0.weight", "many.1.weight", "weight"}, keys)
	assert.Panics(t, func() {
		for range nn.Params(&struct{ Forgotten *torch.Tensor }{}) {
			t.Error("an untagged field was walked")
		}
	})
}

func TestLayers(t *testing.T) {
	ln, linear := nn.NewLayerNorm(2), nn.NewLinear(2, 1)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		s.Alias(linear.Weight).CopyFrom(torch.FromSlice(s, []float32{2, 3}, 1, 2))
		s.Alias(linear.Bias).Fill(0.5)
		x := torch.FromSlice(s, []float32{1, 3}, 1, 2)
		assert.InDelta(t, 11.5, linear.Forward(x).Item(), 1e-6)
		assert.InDeltaSlice(t, []float32{-1, 1}, torch.ToSlice[float32](ln.Forward(x)), 1e-5) // (x - 2) / sqrt(1 + 1e-5)
	}))
}
