package torch

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/tilemodel"
)

// TestAddLayerNorm compares the fused pass with float64's operators.
func TestAddLayerNorm(t *testing.T) {
	require.NoError(t, NoGrad(func(s *Scope) {
		ManualSeed(0)
		for _, width := range []int{768, 100, 16, 7} {
			gain, shift := Randn(s, CPU, width), Randn(s, CPU, width)
			half, single := Randn(s, CPU, 8, width), Randn(s, CPU, 8, width)
			half.Pack(nil, PackBFloat16)
			single.Pack(nil, PackFloat32)
			x := Randn(s, CPU, 3, 5, width).MulScalar(4).Add(Ones(s, CPU, Float32, 1))
			for _, branch := range []*Tensor{nil, Randn(s, CPU, 3, 5, width), Randn(s, CPU, 3, 5, width).To(CPU, BFloat16)} {
				for _, next := range []*Tensor{nil, single, half} {
					sum, norm := x.AddLayerNorm(branch, gain, shift, 1e-5, next)
					plain := x
					if branch != nil {
						plain = x.Add(branch)
					}
					assert.Equal(t, ToSlice[float32](plain), ToSlice[float32](sum))
					want := plain.To(CPU, Float64).LayerNorm(gain.To(CPU, Float64), shift.To(CPU, Float64), 1e-5).To(CPU, Float32)
					if next == half {
						assert.Equal(t, BFloat16, norm.DType())
						assertRounded(t, want, norm)
					} else {
						assert.Equal(t, Float32, norm.DType())
						assert.InDeltaSlice(t, ToSlice[float32](want), ToSlice[float32](norm), 4e-6)
					}
				}
			}
		}
	}))
}

// assertRounded wants bfloat16 numbers that are at most one rounding from what float32 gives.
func assertRounded(t *testing.T, want, got *Tensor) {
	t.Helper()
	a, b := ToSlice[float32](want), ToSlice[float32](got.To(CPU, Float32))
	require.Len(t, b, len(a))
	for i := range a {
		require.LessOrEqual(t, math.Abs(float64(a[i]-b[i])), math.Abs(float64(a[i]))/256+2e-5, "number %d", i)
	}
}

// TestAddLayerNormRecords has gradients flow where they are recorded.
func TestAddLayerNormRecords(t *testing.T) {
	require.NoError(t, Do(func(s *Scope) {
		x, gain, shift := Randn(s, CPU, 2, 8), Ones(s, CPU, Float32, 8), Zeros(s, CPU, Float32, 8)
		x.SetRequiresGrad(true)
		next := Ones(s, CPU, Float32, 4, 8)
		next.Pack(nil, PackFloat32)
		sum, norm := x.AddLayerNorm(x, gain, shift, 1e-5, next)
		sum.Add(norm).Mul(sum).Sum().Backward()
		require.NotNil(t, x.Grad())
	}))
}

// TestSelfAttention compares the fused pass with float64's operators: lengths and depths beside the kernels' multiples, and one
// that they leave to libtorch.
func TestSelfAttention(t *testing.T) { checkSelfAttention(t, nil, 2e-6) }

// TestBFloat16x3SelfAttention is the same by AMX's products of split numbers.
func TestBFloat16x3SelfAttention(t *testing.T) {
	tilemodel.On(t)
	next := Ones(nil, CPU, Float32, 1, 1)
	defer next.Free()
	next.Pack(nil, PackBFloat16x3)
	checkSelfAttention(t, next, 5e-5)
}

func checkSelfAttention(t *testing.T, next *Tensor, within float64) {
	require.NoError(t, NoGrad(func(s *Scope) {
		ManualSeed(0)
		worst := 0.0
		for _, c := range [][4]int{{2, 50, 3, 64}, {1, 1, 2, 16}, {3, 9, 2, 32}, {1, 77, 2, 80}, {1, 197, 1, 64}, {1, 129, 2, 80}, {2, 145, 2, 16}, {2, 33, 2, 20}} {
			batch, tokens, heads, depth := c[0], c[1], c[2], c[3]
			for _, causal := range []bool{false, true} {
				exact := Randn(s, CPU, batch, tokens, 3*heads*depth)
				for _, qkv := range []*Tensor{exact, exact.To(CPU, BFloat16)} {
					parts := qkv.To(CPU, Float64).View(batch, tokens, 3, heads, depth).Permute(2, 0, 3, 1, 4).Unbind(0)
					want := ScaledDotProductAttention(parts[0], parts[1], parts[2], causal).Transpose(1, 2).Reshape(batch, tokens, heads*depth).To(CPU, Float32)
					got := qkv.SelfAttention(heads, causal, next, true)
					require.Equal(t, want.Shape(), got.Shape())
					require.Equal(t, qkv.DType(), got.DType())
					if qkv.DType() == BFloat16 {
						assertRounded(t, want, got)
						continue
					}
					assert.InDeltaSlice(t, ToSlice[float32](want), ToSlice[float32](got), within, fmt.Sprint(c, causal))
					worst = max(worst, want.Sub(got).Abs().Max().Item())
				}
			}
		}
		t.Logf("the largest difference is %.1e", worst)
	}))
}

// TestFusedNaN has a NaN spoil its own sequence, or its own row of a norm, and no other.
func TestFusedNaN(t *testing.T) {
	require.NoError(t, NoGrad(func(s *Scope) {
		qkv := make([]float32, 2*5*3*16)
		for i := range qkv {
			qkv[i] = float32(i%7) - 3
		}
		qkv[2*3*16+16+3] = float32(math.NaN()) // a key of the first sequence
		for i, v := range ToSlice[float32](FromSlice(s, qkv, 2, 5, 48).SelfAttention(1, false, nil, false)) {
			assert.Equal(t, i < 5*16, math.IsNaN(float64(v)), "%d", i)
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1)} {
			x, next := make([]float32, 2*48), Ones(s, CPU, Float32, 8, 48)
			next.Pack(nil, PackFloat32)
			x[5] = float32(bad)
			_, norm := FromSlice(s, x, 2, 48).AddLayerNorm(nil, Ones(s, CPU, Float32, 48), Zeros(s, CPU, Float32, 48), 1e-5, next)
			for i, v := range ToSlice[float32](norm) {
				assert.Equal(t, i < 48, math.IsNaN(float64(v)), "%v: %d", bad, i)
			}
		}
	}))
}

// TestInt8Rows has each row quantised by itself: neither its neighbours' outliers nor their NaN change a row.
func TestInt8Rows(t *testing.T) { checkInt8Rows(t) }

// TestInt8Tiles is the same by AMX's products, whose sums are exact: the results are those of AVX512-VNNI, to the bit.
func TestInt8Tiles(t *testing.T) {
	results := checkInt8Rows(t)
	tilemodel.On(t)
	assert.Equal(t, results, checkInt8Rows(t))
}

func checkInt8Rows(t *testing.T) (results [][]float32) {
	require.NoError(t, NoGrad(func(s *Scope) {
		ManualSeed(0)
		for _, c := range [][3]int{{1, 64, 32}, {13, 75, 45}, {30, 768, 96}, {100, 30, 33}} {
			rows, depth, out := c[0], c[1], c[2]
			weight, bias := Randn(s, CPU, out, depth), Randn(s, CPU, out)
			weight.Pack(bias, PackInt8)
			if weight.packed.bytes == nil {
				t.Skip("this processor has no AVX512-VNNI")
			}
			x := Randn(s, CPU, rows, depth)
			y := x.Linear(weight, bias)
			results = append(results, ToSlice[float32](y))
			isClose(t, opLinear.Call(x, weight, bias), y, 2e-2)
			half := x.To(CPU, BFloat16)
			require.Equal(t, BFloat16, half.Linear(weight, bias).DType())
			isClose(t, opLinear.Call(x, weight, bias), half.Linear(weight, bias).To(CPU, Float32), 3e-2)
			isClose(t, y.Add(y), y.LinearAdd(x, weight, bias), 1e-6)
			numbers := ToSlice[float32](x)
			numbers[0], numbers[depth-1] = float32(math.NaN()), 1e30
			spoilt := ToSlice[float32](FromSlice(s, numbers, rows, depth).Linear(weight, bias))
			for i, want := range ToSlice[float32](y) {
				if i < out {
					assert.True(t, math.IsNaN(float64(spoilt[i])), "%v: %d", c, i)
				} else {
					assert.Equal(t, want, spoilt[i], "%v: %d", c, i)
				}
			}
		}
	}))
	return results
}
