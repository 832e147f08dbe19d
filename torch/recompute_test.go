package torch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// parameter is a tensor of the collector's that requires a gradient.
func parameter(values []float32, shape ...int) *torch.Tensor {
	return torch.FromSlice(nil, values, shape...).SetRequiresGrad(true)
}

// TestRecompute holds value and gradients against those of the same function run once, in each mode
// and for each set of inputs that need a gradient, and counts how often the function ran.
func TestRecompute(t *testing.T) {
	weights := []float32{0.5, -1, 2, 0.25, 1, -0.5}
	for _, c := range []struct {
		name     string
		xLearns  bool
		pLearns  bool
		noise    bool
		bfloat16 bool
		view     bool
		runs     int
	}{
		{name: "input and parameter", xLearns: true, pLearns: true, runs: 2},
		{name: "parameter alone", pLearns: true, runs: 2},
		{name: "input alone", xLearns: true, runs: 2},
		{name: "nothing to learn", runs: 1},
		{name: "dropout", xLearns: true, pLearns: true, noise: true, runs: 2},
		{name: "bfloat16", xLearns: true, pLearns: true, bfloat16: true, runs: 2},
		{name: "the result is a view", xLearns: true, pLearns: true, view: true, runs: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := settled.Count(torch.LiveTensors)
			values := map[bool][]float32{}
			grads := map[bool][]*torch.Tensor{}
			for _, recompute := range []bool{false, true} {
				p := torch.FromSlice(nil, weights, 3, 2).SetRequiresGrad(c.pLearns)
				x := torch.FromSlice(nil, []float32{1, 2, 3, 4}, 2, 2).SetRequiresGrad(c.xLearns)
				runs := 0
				f := func(x, side *torch.Tensor) *torch.Tensor {
					runs++
					y := x.Linear(p, nil).Gelu().Mul(side)
					if c.noise {
						y = y.Dropout(0.5)
					}
					if c.view {
						y = y.Select(0, 1)
					}
					return y
				}
				torch.ManualSeed(7)
				require.NoError(t, torch.Do(func(s *torch.Scope) {
					if c.bfloat16 {
						s.Autocast(torch.CPU, torch.BFloat16)
					}
					side := torch.FromSlice(s, []float32{2, 3, 4}, 3)
					in := s.Alias(x)
					head := parameter([]float32{1}, 1)
					defer head.Free()
					var y *torch.Tensor
					if recompute {
						y = torch.Tidy(func(in *torch.Tensor) *torch.Tensor { return torch.Recompute(f, in, side, p) }, in)
					} else {
						y = f(in, side)
					}
					loss := y.Mul(y).Mul(head).Dropout(0.25).Sum() // noise outside too, after the block's
					values[recompute] = torch.ToSlice[float32](loss.Detach().To(torch.CPU, torch.Float32).Reshape(1))
					if c.noise {
						loss.Mul(torch.RandLike(loss)).Backward()
						values[recompute] = append(values[recompute], torch.ToSlice[float32](torch.Rand(s, torch.CPU, 3))...)
						return
					}
					loss.Backward()
				}))
				want := 1
				if recompute {
					want = c.runs
				}
				assert.Equal(t, want, runs)
				for _, q := range []*torch.Tensor{x, p} {
					if g := q.Grad(); g != nil {
						grads[recompute] = append(grads[recompute], g)
					} else {
						grads[recompute] = append(grads[recompute], nil)
					}
				}
				assert.Equal(t, c.xLearns, grads[recompute][0] != nil)
				assert.Equal(t, c.pLearns, grads[recompute][1] != nil)
				x.Free()
				p.Free()
			}
			assert.Equal(t, values[false], values[true])
			for i := range grads[true] {
				if grads[true][i] != nil {
					assert.Equal(t, torch.ToSlice[float32](grads[false][i]), torch.ToSlice[float32](grads[true][i]))
					grads[true][i].Free()
					grads[false][i].Free()
				}
			}
			assert.Equal(t, before, torch.LiveTensors())
			assert.Zero(t, torch.Recomputations())
		})
	}
}

// TestRecomputeWithoutBackward frees a graph that no backward has run through, in and behind its
// Do.
func TestRecomputeWithoutBackward(t *testing.T) {
	p := parameter([]float32{1, 2}, 2)
	defer p.Free()
	before := settled.Count(torch.LiveTensors)
	double := func(x, _ *torch.Tensor) *torch.Tensor { return x.Mul(p) }
	var kept *torch.Tensor
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		x := torch.Ones(s, torch.CPU, torch.Float32, 2)
		for range 100 {
			torch.Recompute(double, x, nil, p)
		}
		kept = torch.Recompute(double, x, nil, p).Keep()
	}))
	assert.EqualValues(t, 1, torch.Recomputations())
	require.NoError(t, torch.Do(func(s *torch.Scope) { s.Alias(kept).Sum().Backward() })) // behind its scope
	g := p.Grad()
	assert.Equal(t, []float32{1, 1}, torch.ToSlice[float32](g))
	g.Free()
	kept.Free()
	torch.ZeroGrad([]*torch.Tensor{p})
	require.NoError(t, torch.Do(func(*torch.Scope) {}))
	assert.Zero(t, torch.Recomputations())
	assert.Equal(t, before, torch.LiveTensors())
}

// TestRecomputeGradients leaves the parameters' own gradients alone, as torch.autograd.grad does.
func TestRecomputeGradients(t *testing.T) {
	p := parameter([]float32{3}, 1)
	defer p.Free()
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		x := torch.Ones(s, torch.CPU, torch.Float32, 1).SetRequiresGrad(true)
		y := torch.Recompute(func(x, _ *torch.Tensor) *torch.Tensor { return x.Mul(p).Mul(x) }, x, nil, p)
		g := torch.Gradients(y.Sum(), x, p)
		assert.Equal(t, 6.0, g[0].Item())
		assert.Equal(t, 1.0, g[1].Item())
		assert.Nil(t, p.Grad())
	}))
}

// TestRecomputeErrors brings what fails in the second run out of Backward, and the process lives
// on.
func TestRecomputeErrors(t *testing.T) {
	p, three := parameter([]float32{1, 2}, 2), parameter([]float32{1, 2, 3}, 3)
	defer p.Free()
	defer three.Free()
	for _, c := range []struct {
		name, says string
		again      func(x *torch.Tensor) *torch.Tensor
		between    func()
	}{
		{name: "an operator", says: "mul(float32[2], float32[3]): The size of tensor a (2) must match",
			again: func(x *torch.Tensor) *torch.Tensor { return x.Mul(three) }},
		{name: "another panic", says: "panic: out of ideas", again: func(*torch.Tensor) *torch.Tensor { panic("out of ideas") }},
		{name: "nothing returned", says: "a tensor is nil", again: func(*torch.Tensor) *torch.Tensor { return nil }},
		{name: "a parameter written in between", says: "modified by an inplace operation",
			again: func(x *torch.Tensor) *torch.Tensor { return x.Mul(p) },
			between: func() {
				require.NoError(t, torch.NoGrad(func(s *torch.Scope) { s.Alias(p).Fill(1) }))
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := settled.Count(torch.LiveTensors)
			runs := 0
			err := torch.Do(func(s *torch.Scope) {
				x := torch.Ones(s, torch.CPU, torch.Float32, 2)
				loss := torch.Recompute(func(x, _ *torch.Tensor) *torch.Tensor {
					if runs++; runs == 1 {
						return x.Mul(p)
					}
					return c.again(x)
				}, x, nil, p).Sum()
				if c.between != nil {
					c.between()
				}
				loss.Backward()
			})
			require.ErrorContains(t, err, c.says)
			assert.IsType(t, &torch.Error{}, err)
			assert.Zero(t, torch.Recomputations())
			assert.Equal(t, before, torch.LiveTensors())
		})
	}
	err := torch.Do(func(s *torch.Scope) {
		torch.Recompute(func(x, _ *torch.Tensor) *torch.Tensor { return x.Reshape(3) }, torch.Ones(s, torch.CPU, torch.Float32, 2), nil, p)
	})
	require.ErrorContains(t, err, "torch: reshape(float32[2])")
}
