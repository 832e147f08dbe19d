package optim

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

func parameter(data []float32, shape ...int) *torch.Tensor {
	return torch.FromSlice(nil, data, shape...).SetRequiresGrad(true)
}

func TestFusedEqualsPlain(t *testing.T) {
	o := AdamWOptions{LR: 1e-2, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6}
	run := func(plain bool) (values []float32) {
		w, b, unused := parameter([]float32{1, -2, 3, 4}, 2, 2), parameter([]float32{0.5, -0.5}, 2), parameter([]float32{9}, 1)
		a := NewAdamW([]Group{{Params: []Param{{"w", w}, {"unused", unused}}, WeightDecay: 0.2}, {Params: []Param{{"b", b}}}}, o)
		a.plain = plain
		for step := range 20 {
			before := torch.LiveTensors()
			require.NoError(t, torch.Do(func(s *torch.Scope) {
				x := torch.FromSlice(s, []float32{float32(step) / 10, 1, 2, -1}, 2, 2)
				x.Linear(w, b).Pow(2).Mean().Backward()
			}))
			require.NoError(t, a.Step())
			a.ZeroGrad()
			assert.Equal(t, before, torch.LiveTensors())
		}
		assert.Equal(t, []float32{9}, torch.ToSlice[float32](unused), "no gradient, no step, no decay")
		return append(torch.ToSlice[float32](w), torch.ToSlice[float32](b)...)
	}
	fused := run(false)
	assert.InDeltaSlice(t, run(true), fused, 1e-6)
	assert.NotEqual(t, float32(1), fused[0])
}

func TestClipGradNorm(t *testing.T) {
	w, v := parameter([]float32{3}, 1), parameter([]float32{4}, 1)
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		s.Alias(w).Mul(w).Add(s.Alias(v).Mul(v)).MulScalar(0.5).Sum().Backward() // gradients 3 and 4
	}))
	norm, err := ClipGradNorm([]*torch.Tensor{w, v}, 1)
	require.NoError(t, err)
	assert.InDelta(t, 5, norm, 1e-6)
	assert.InDelta(t, 0.6, w.Grad().Item(), 1e-6)
	norm, err = ClipGradNorm([]*torch.Tensor{w, v}, 0)
	require.NoError(t, err)
	assert.InDelta(t, 1, norm, 1e-6)
	torch.ZeroGrad([]*torch.Tensor{w, v})
	norm, err = ClipGradNorm([]*torch.Tensor{w, v}, 1)
	require.NoError(t, err)
	assert.Zero(t, norm)
	assert.False(t, math.IsNaN(norm))
}

func TestState(t *testing.T) {
	a := NewAdamW([]Group{{Params: []Param{{"w", parameter([]float32{1}, 1)}}}}, AdamWOptions{})
	var names []string
	for name := range a.State() {
		names = append(names, name)
	}
	assert.Equal(t, []string{"exp_avg.w", "exp_avg_sq.w", "step.w"}, names)
}

// TestLRScale steps a group at half the rate as a group of the half rate would step, weight decay included.
func TestLRScale(t *testing.T) {
	step := func(lr, scale float64) []float32 {
		p := torch.FromSlice(nil, []float32{1, -2, 3}, 3).SetRequiresGrad(true)
		defer p.Free()
		a := NewAdamW([]Group{{Params: []Param{{Name: "p", T: p}}, WeightDecay: 0.1, LRScale: scale}},
			AdamWOptions{LR: 1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8})
		a.SetLR(lr)
		require.NoError(t, torch.Do(func(s *torch.Scope) { s.Alias(p).Mul(s.Alias(p)).Sum().Backward() }))
		require.NoError(t, a.Step())
		return torch.ToSlice[float32](p.Detach())
	}
	assert.Equal(t, step(0.005, 0), step(0.01, 0.5))
	assert.NotEqual(t, step(0.01, 0), step(0.01, 0.5))
}
