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
	require.NoError(t, e.swap())
	assert.Equal(t, average, torch.ToSlice[float32](p.Detach()))
	require.NoError(t, e.swap())
	assert.Equal(t, weight, torch.ToSlice[float32](p.Detach()))
	assert.Equal(t, average, torch.ToSlice[float32](e.averages[0]))
	assert.False(t, e.inModel)
}
