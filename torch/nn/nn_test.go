package nn_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

type block struct {
	Ln     *nn.LayerNorm   `torch:"ln_1"`
	Proj   *nn.Linear      `torch:"proj"`
	Many   []*nn.Weight    `torch:"many"`
	Beside *nn.Weight      `torch:""`
	Bn     *nn.BatchNorm2d `torch:"bn"`
	Any    any             `torch:"any"`
	None   any             `torch:"none"`
	Absent any             `torch:"absent"`
	Heads  int             `torch:"-"`
	count  int
}

func TestParams(t *testing.T) {
	b := &block{Ln: nn.NewLayerNorm(4), Proj: nn.NewLinear(4, 2), Many: []*nn.Weight{{Weight: nn.Parameter(1)}, {Weight: nn.Parameter(2)}},
		Beside: &nn.Weight{Weight: nn.Parameter(3)}, Bn: nn.NewBatchNorm2d(2), Any: nn.NewConv2d(1, 1, 3), Absent: (*torch.Tensor)(nil), count: 1}
	b.Proj.Bias = nil
	var keys []string
	for key, p := range nn.Params(b) {
		keys = append(keys, key)
		assert.True(t, p.RequiresGrad(), key)
	}
	assert.Equal(t, []string{"ln_1.weight", "ln_1.bias", "proj.weight", "many.0.weight", "many.1.weight", "weight",
		"bn.weight", "bn.bias", "any.weight"}, keys)
	keys = nil
	for key := range nn.State(b) {
		keys = append(keys, key)
	}
	assert.Equal(t, []string{"ln_1.weight", "ln_1.bias", "proj.weight", "many.0.weight", "many.1.weight", "weight",
		"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked", "any.weight"}, keys)
	tied := []*nn.LayerNorm{b.Ln, b.Ln}
	keys = nil
	for key := range nn.Params(tied) {
		keys = append(keys, key)
	}
	for key := range nn.State(tied) {
		keys = append(keys, key)
	}
	assert.Equal(t, []string{"0.weight", "0.bias", "0.weight", "0.bias", "1.weight", "1.bias"}, keys, "a parameter once, the state by all keys")
	for name, bad := range map[string]any{
		"no tag": &struct{ Forgotten *torch.Tensor }{},
		"a misspelt option": &struct {
			Mean *torch.Tensor `torch:"mean,bufer"`
		}{},
	} {
		assert.Panics(t, func() {
			for range nn.Params(bad) {
				t.Error(name)
			}
		}, name)
	}
}

// TestBatchNorm follows torch.nn.BatchNorm2d: the batch 1, 3 has mean 2, variance 1 and, of the
// population, 2.
func TestBatchNorm(t *testing.T) {
	b := nn.NewBatchNorm2d(1)
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{1, 3}, 2, 1, 1, 1)
		assert.InDeltaSlice(t, []float32{1, 3}, torch.ToSlice[float32](b.Forward(x, false).Detach()), 1e-4, "untrained statistics")
		assert.Zero(t, b.NumBatchesTracked.Item())
		y := b.Forward(x, true)
		assert.InDeltaSlice(t, []float32{-1, 1}, torch.ToSlice[float32](y.Detach()), 1e-4)
		assert.InDelta(t, 0.2, b.RunningMean.Item(), 1e-6)
		assert.InDelta(t, 0.9+0.1*2, b.RunningVar.Item(), 1e-6)
		assert.EqualValues(t, 1, b.NumBatchesTracked.Item())
		y.Sum().Backward()
		assert.Nil(t, b.RunningMean.Grad())
		b.Frozen = true
		assert.Equal(t, torch.ToSlice[float32](b.Forward(x, false).Detach()), torch.ToSlice[float32](b.Forward(x, true).Detach()))
		assert.InDelta(t, 0.2, b.RunningMean.Item(), 1e-6)
		assert.EqualValues(t, 1, b.NumBatchesTracked.Item())
	}))
}

func TestConv2d(t *testing.T) {
	keep, patches := nn.NewConv2d(1, 1, 3), nn.NewPatches(2, 2)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		s.Alias(keep.Weight).Fill(1)
		assert.Equal(t, []float32{10, 10, 10, 10}, torch.ToSlice[float32](keep.Forward(torch.FromSlice(s, []float32{1, 2, 3, 4}, 1, 1, 2, 2))))
		s.Alias(patches.Weight).Fill(1)
		s.Alias(patches.Bias).Fill(0.5)
		y := patches.Forward(torch.Ones(s, torch.CPU, torch.Float32, 1, 3, 4, 6))
		assert.Equal(t, []int{1, 2, 2, 3}, y.Shape())
		assert.InDelta(t, 12.5, y.Max().Item(), 1e-6)

		depthwise := &nn.Conv2d{Weight: torch.FromSlice(s, []float32{2, 3}, 2, 1, 1, 1), Stride: 1, Groups: 2}
		assert.Equal(t, []float32{2, 4, 9, 12}, torch.ToSlice[float32](depthwise.Forward(torch.FromSlice(s, []float32{1, 2, 3, 4}, 1, 2, 1, 2))))
	}))
	depthwise := &nn.Conv2d{Weight: nn.Parameter(2, 1, 1, 1), Stride: 1, Groups: 2}
	err := torch.NoGrad(func(s *torch.Scope) { depthwise.Forward(torch.Ones(s, torch.CPU, torch.Float32, 1, 3, 1, 1)) })
	assert.ErrorContains(t, err, "expected input[1, 3, 1, 1] to have 2 channels")
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
