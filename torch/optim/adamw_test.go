package optim

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
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
			before := settled.Count(torch.LiveTensors)
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

// TestLRScale steps a group at half the rate as a group of the half rate would step, weight decay
// included.
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

// TestStepIn has the device decide: gradients divided, a rate of its own, and a step that is left
// out.
func TestStepIn(t *testing.T) {
	o := AdamWOptions{LR: 1e-2, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6}
	gradient := func(p *torch.Tensor) {
		require.NoError(t, torch.Do(func(s *torch.Scope) { s.Alias(p).Mul(s.Alias(p)).Sum().Backward() })) // twice p
	}
	start := []float32{3, -4}
	step := func(o AdamWOptions, scale float64, f func(a *AdamW, p *torch.Tensor)) (values, moments []float32, steps float64) {
		p := parameter(start, 2)
		a := NewAdamW([]Group{{Params: []Param{{"p", p}}, WeightDecay: 0.1, LRScale: scale}}, o)
		gradient(p)
		f(a, p)
		state := map[string]*torch.Tensor{}
		for name, x := range a.State() {
			state[name] = x
		}
		return torch.ToSlice[float32](p.Detach()), torch.ToSlice[float32](state["exp_avg.p"]), state["step.p"].Item()
	}
	in := func(d func(s *torch.Scope, p *torch.Tensor) Decided) func(a *AdamW, p *torch.Tensor) {
		return func(a *AdamW, p *torch.Tensor) {
			before := settled.Count(torch.LiveTensors)
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) { a.StepIn(s, d(s, p)) }))
			assert.Equal(t, before, torch.LiveTensors())
		}
	}
	scalar := func(s *torch.Scope, v float32) *torch.Tensor { return torch.FromSlice(s, []float32{v}) }

	// the norm of the gradients (6, -8) is 10
	clipped, clippedMoments, _ := step(o, 0, func(a *AdamW, p *torch.Tensor) {
		norm, err := ClipGradNorm([]*torch.Tensor{p}, 1)
		require.NoError(t, err)
		assert.InDelta(t, 10, norm, 1e-6)
		require.NoError(t, a.Step())
	})
	divided, dividedMoments, steps := step(o, 0, in(func(s *torch.Scope, p *torch.Tensor) Decided {
		return Decided{GradScale: ClipScale(GradNorm(s, []*torch.Tensor{p}), 1)}
	}))
	assert.InDeltaSlice(t, clipped, divided, 1e-7)
	assert.InDeltaSlice(t, clippedMoments, dividedMoments, 1e-7)
	assert.InDelta(t, 0.06, dividedMoments[0], 1e-6)
	assert.Equal(t, 1., steps)

	whole, wholeMoments, _ := step(o, 0, in(func(s *torch.Scope, p *torch.Tensor) Decided {
		return Decided{GradScale: ClipScale(GradNorm(s, []*torch.Tensor{p}), 11), FoundInf: scalar(s, 0)}
	}))
	plain, plainMoments, _ := step(o, 0, in(func(*torch.Scope, *torch.Tensor) Decided { return Decided{} }))
	assert.Equal(t, plain, whole, "a norm below the largest changes nothing")
	assert.Equal(t, plainMoments, wholeMoments)

	left, leftMoments, steps := step(o, 0, in(func(s *torch.Scope, _ *torch.Tensor) Decided { return Decided{FoundInf: scalar(s, 1)} }))
	assert.Equal(t, start, left)
	assert.Equal(t, []float32{0, 0}, leftMoments)
	assert.Zero(t, steps, "a step that is left out does not count")

	half, _, _ := step(AdamWOptions{LR: 7, Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps}, 0.5, in(func(s *torch.Scope, _ *torch.Tensor) Decided {
		return Decided{LR: scalar(s, 1e-2)}
	}))
	o.LR = 5e-3
	want, _, _ := step(o, 0, in(func(*torch.Scope, *torch.Tensor) Decided { return Decided{} }))
	assert.InDeltaSlice(t, want, half, 1e-6)
	assert.Nil(t, GradNorm(nil, []*torch.Tensor{parameter(start, 2)}))
}

// TestTypes keeps tensors of two types apart, which the fused operator would read as one.
func TestTypes(t *testing.T) {
	wide := parameter([]float32{1, 2}, 2)
	narrow := torch.FromSlice(nil, []float32{3, 4}, 2).To(torch.CPU, torch.BFloat16).Keep().SetRequiresGrad(true)
	a := NewAdamW([]Group{{Params: []Param{{"wide", wide}, {"narrow", narrow}}, WeightDecay: 0.1}, {}}, AdamWOptions{})
	require.Len(t, a.groups, 2)
	assert.Equal(t, []*torch.Tensor{wide}, a.groups[0].tensors)
	assert.Equal(t, []*torch.Tensor{narrow}, a.groups[1].tensors)
	assert.Equal(t, 0.1, a.groups[1].WeightDecay)
	assert.Len(t, a.Parameters(), 2)
}
