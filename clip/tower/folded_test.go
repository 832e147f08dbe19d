package tower

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// TestFoldedQuickGELU holds the form for GPUs against the plain one: values and every gradient, and
// an error in bfloat16 that is no larger.
func TestFoldedQuickGELU(t *testing.T) {
	torch.ManualSeed(3)
	m := &MLP{Fc: linear(24, 96), Proj: linear(96, 24), act: activationOf(true, nil)}
	params := []*torch.Tensor{m.Fc.Weight, m.Fc.Bias, m.Proj.Weight, m.Proj.Bias}
	for _, p := range params {
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) { s.Alias(p).NormalInPlace(0, 0.3) }))
	}
	input := torch.Randn(nil, torch.CPU, 5, 7, 24)
	run := func(forward func(x *torch.Tensor) *torch.Tensor) (out [][]float32) {
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			x := s.Alias(input).Clone().Detach().SetRequiresGrad(true)
			y := forward(x)
			out = append(out, torch.ToSlice[float32](y))
			y.Mul(y).Sum().Backward()
			for _, p := range append([]*torch.Tensor{x}, params...) {
				out = append(out, torch.ToSlice[float32](s.Alias(p).Grad()))
			}
			torch.ZeroGrad(params)
		}))
		return out
	}
	want, got := run(m.Forward), run(m.folded)
	for i := range want {
		assert.Less(t, distance(want[i], got[i]), 1e-6, i)
	}

	half := func(forward func(x *torch.Tensor) *torch.Tensor) (y []float32) {
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			y = torch.ToSlice[float32](forward(s.Alias(input).To(torch.CPU, torch.BFloat16)).To(torch.CPU, torch.Float32))
		}))
		return y
	}
	for _, p := range params {
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) { p.Set(s.Alias(p).To(torch.CPU, torch.BFloat16)) }))
	}
	assert.Less(t, distance(want[0], half(m.folded)), 1.25*distance(want[0], half(m.Forward)))
	assert.Zero(t, (&MLP{act: activationOf(false, nil)}).act.scale)
}

// distance is |a - b| / |a|.
func distance(a, b []float32) float64 {
	var d, n float64
	for i := range a {
		d += math.Pow(float64(a[i]-b[i]), 2)
		n += math.Pow(float64(a[i]), 2)
	}
	return math.Sqrt(d / n)
}
