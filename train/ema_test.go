package train

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
)

// TestEMA follows the formula: the decay is (1 + t) / (10 + t) until that reaches EMADecay.
func TestEMA(t *testing.T) {
	p := torch.FromSlice(nil, []float32{1, 2}, 2).SetRequiresGrad(true)
	e, err := newEMA(0.2, []optim.Param{{Name: "p", T: p}})
	require.NoError(t, err)
	want := []float64{1, 2}
	for step, d := range []float64{2.0 / 11, 0.2, 0.2} {
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) { s.Alias(p).MulInPlace(3) }))
		require.NoError(t, e.update(step+1))
		now := torch.ToSlice[float32](p.Detach())
		for i := range want {
			want[i] = d*want[i] + (1-d)*float64(now[i])
		}
		assert.InDeltaSlice(t, want, torch.ToSlice[float32](e.averages[0]), 1e-4)
	}
	average, weight := torch.ToSlice[float32](e.averages[0]), torch.ToSlice[float32](p.Detach())
	require.NoError(t, e.show())
	assert.Equal(t, average, torch.ToSlice[float32](p.Detach()))
	require.NoError(t, e.show(), "again, after an interruption")
	require.NoError(t, e.hide())
	assert.Equal(t, weight, torch.ToSlice[float32](p.Detach()))
	assert.Equal(t, average, torch.ToSlice[float32](e.averages[0]))
	require.NoError(t, e.hide())
	assert.Equal(t, weight, torch.ToSlice[float32](p.Detach()))
}

// TestEMAOfBFloat16: the average of bfloat16 weights follows them where each step is below bfloat16's
// resolution.
func TestEMAOfBFloat16(t *testing.T) {
	p := torch.Ones(nil, torch.CPU, torch.BFloat16, 1).SetRequiresGrad(true)
	defer p.Free()
	e, err := newEMA(0.999, []optim.Param{{Name: "p", T: p}})
	require.NoError(t, err)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) { s.Alias(p).Fill(1.5) }))
	want := 1.0
	for step := 10_000; step < 11_000; step++ {
		require.NoError(t, e.update(step))
		want += 0.001 * (1.5 - want)
	}
	assert.InDelta(t, want, e.averages[0].Item(), 1e-3) // 1.316
	for range 2 {
		require.NoError(t, e.show())
		assert.InDelta(t, want, p.Detach().To(torch.CPU, torch.Float32).Item(), 1.0/128)
		require.NoError(t, e.hide())
		assert.Equal(t, 1.5, p.Detach().To(torch.CPU, torch.Float32).Item())
	}
	assert.InDelta(t, want, e.averages[0].Item(), 1e-3)
}
