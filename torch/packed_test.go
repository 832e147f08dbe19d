package torch

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
)

// TestPack compares products by packed weights with plain ones.
func TestPack(t *testing.T) {
	for name, c := range map[string]struct {
		how    Packing
		within float64 // of the largest value
	}{
		"float32":  {PackFloat32, 1e-6},
		"bfloat16": {PackBFloat16, 1e-2},
		"int8":     {PackInt8, 2e-2},
	} {
		t.Run(name, func(t *testing.T) {
			before := settled.Count(LiveTensors)
			func() {
				ManualSeed(0)
				weight, bias := Randn(nil, CPU, 96, 64), Randn(nil, CPU, 96)
				other := Randn(nil, CPU, 96)
				x := Randn(nil, CPU, 3, 7, 64)
				quick, copied := weight.Clone(), weight.Clone()
				kernel := copied.View(96, 4, 4, 4)
				require.NoError(t, Do(func(*Scope) {
					weight.Pack(bias, c.how)
					quick.PackQuickGelu(bias, c.how)
					kernel.Pack(nil, c.how)
				}))
				require.NoError(t, NoGrad(func(s *Scope) {
					in := s.Alias(x)
					require.True(t, weight.Packed(in, bias))
					for _, rows := range []*Tensor{in, in.Narrow(1, 2, 1), in.Transpose(0, 1)} {
						plain := opLinear.Call(rows, weight, bias)
						isClose(t, plain, rows.Linear(weight, bias), c.within)
						isClose(t, plain.Gelu(), rows.LinearGelu(weight, bias, nil).To(CPU, Float32), c.within)
						isClose(t, plain.GeluTanh(), rows.LinearGeluTanh(weight, bias, nil).To(CPU, Float32), c.within)
						isClose(t, plain.QuickGelu(), rows.LinearQuickGelu(quick, bias, nil).To(CPU, Float32), c.within)
						isClose(t, opLinear.Call(rows, weight), rows.Linear(kernel, nil), c.within)
						isClose(t, plain.Add(other), s.Alias(other).Expand(plain.Shape()...).LinearAdd(rows, weight, bias), c.within)
						// What is packed for QuickGELU serves nothing else.
						assert.Equal(t, ToSlice[float32](plain), ToSlice[float32](rows.Linear(quick, bias)))
						assert.Equal(t, ToSlice[float32](plain.Gelu()), ToSlice[float32](rows.LinearGelu(quick, bias, nil)))
					}
					// Another bias than the one that was packed, and a product that records
					// gradients, take the plain weight.
					assert.Equal(t, ToSlice[float32](opLinear.Call(in, weight, other)), ToSlice[float32](in.Linear(weight, other)))
				}))
				require.NoError(t, Do(func(s *Scope) {
					in := s.Alias(x)
					assert.False(t, weight.Packed(in, bias))
					assert.Equal(t, ToSlice[float32](opLinear.Call(in, weight, bias)), ToSlice[float32](in.Linear(weight, bias)))
				}))
				for _, p := range []*Tensor{bias, other, x, weight, quick, copied, kernel} {
					p.Free()
				}
			}()
			if c.how != PackInt8 { // of which FBGEMM's object is the collector's
				assert.Equal(t, before, LiveTensors(), "what was packed is freed with the weight")
			}
			assert.Equal(t, before, settled.Count(LiveTensors))
		})
	}
}

func isClose(t *testing.T, want, got *Tensor, within float64) {
	t.Helper()
	require.Equal(t, want.Shape(), got.Shape())
	a, b := ToSlice[float32](want), ToSlice[float32](got)
	largest, worst := 0.0, 0.0
	for i := range a {
		largest, worst = max(largest, math.Abs(float64(a[i]))), max(worst, math.Abs(float64(a[i]-b[i])))
	}
	assert.LessOrEqual(t, worst, within*largest)
	assert.False(t, within > 1e-3 && worst == 0, "nothing was rounded")
}
