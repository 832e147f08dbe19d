package torch

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"

	"github.com/goclip/goclip/internal/tilemodel"
)

// TestAMX is for a machine with AMX: there the processor itself computes what the tests below
// otherwise leave to the model of its tiles.
func TestAMX(t *testing.T) {
	if !cpu.X86.HasAMXBF16 {
		t.Skip("the processor has no AMX with bfloat16; the other BFloat16x3 tests have run with a model of its tiles")
	}
	require.NoError(t, BFloat16x3())
}

// TestBFloat16x3Refused is the sentence of a processor without AMX.
func TestBFloat16x3Refused(t *testing.T) {
	if cpu.X86.HasAMXBF16 {
		t.Skip("the processor has AMX")
	}
	require.EqualError(t, BFloat16x3(), "the processor has no AMX with bfloat16")
	err := Do(func(s *Scope) { s.BFloat16x3() })
	assert.ErrorContains(t, err, "the processor has no AMX with bfloat16")
	err = Do(func(s *Scope) { Ones(s, CPU, Float32, 2, 2).Pack(nil, PackBFloat16x3) })
	assert.ErrorContains(t, err, "the processor has no AMX with bfloat16")
}

// numbers are some of each kind: ordinary ones, outliers of 1e4 as real CLIPs have them, denormals.
func numbers(s *Scope, outliers bool, shape ...int) *Tensor {
	x := Randn(s, CPU, shape...)
	if !outliers {
		return x
	}
	draws := Rand(s, CPU, shape...)
	limit := func(v float64) *Tensor { return draws.Clone().Fill(v) }
	x = x.MulScalar(1e4).Where(draws.Lt(limit(0.01)), x)
	return x.MulScalar(1e-39).Where(draws.Gt(limit(0.99)), x)
}

// isWithin compares with float64's want, whose terms have these sizes: three products leave out at
// most 3 2^-16 of them, and float32 rounds.
func isWithin(t *testing.T, want, sizes, got *Tensor, what string) {
	t.Helper()
	require.Equal(t, want.Shape(), got.Shape(), what)
	a, b, size := ToSlice[float64](want), ToSlice[float32](got), ToSlice[float64](sizes)
	for i := range a {
		if d := math.Abs(a[i] - float64(b[i])); !(d <= 0x1p-14*size[i]+1e-6) {
			require.Fail(t, "too far from float64", "%s: %g, not %g, of terms of %g", what, b[i], a[i], size[i])
		}
	}
}

// TestBFloat16x3Packed compares products by split weights with float64's at all edges of tiles, and
// the epilogue's activations.
func TestBFloat16x3Packed(t *testing.T) {
	tilemodel.On(t)
	require.NoError(t, BFloat16x3())
	for _, c := range []struct{ rows, in, out int }{{1, 1, 1}, {16, 32, 32}, {17, 33, 15}, {31, 64, 49}, {50, 100, 96}, {300, 40, 33}, {5, 4200, 20}} {
		for _, outliers := range []bool{false, true} {
			require.NoError(t, NoGrad(func(s *Scope) {
				ManualSeed(1)
				what := fmt.Sprintf("%+v, outliers %v", c, outliers)
				weight, bias, x := numbers(nil, outliers, c.out, c.in), numbers(nil, outliers, c.out), numbers(s, outliers, c.rows, c.in)
				quick := weight.Clone()
				weight.Pack(bias, PackBFloat16x3)
				quick.PackQuickGelu(bias, PackBFloat16x3)
				require.True(t, weight.Packed(x, bias))
				require.NotNil(t, weight.packed.plain, "it was split")
				wide := func(x *Tensor) *Tensor { return s.Alias(x).To(CPU, Float64) }
				want := opLinear.Call(wide(x), wide(weight), wide(bias))
				sizes := opLinear.Call(wide(x).Abs(), wide(weight).Abs(), wide(bias).Abs())
				isWithin(t, want, sizes, x.Linear(weight, bias), what)
				isWithin(t, want, sizes, x.T().Contiguous().T().Linear(weight, bias), what+", columns")
				isWithin(t, want.Gelu(), sizes, x.LinearGelu(weight, bias, nil), what+", GELU")
				isWithin(t, want.GeluTanh(), sizes, x.LinearGeluTanh(weight, bias, nil), what+", GELU by tanh")
				isWithin(t, want.QuickGelu(), sizes, x.LinearQuickGelu(quick, bias, nil), what+", QuickGELU")
				residual := numbers(s, outliers, c.rows, c.out)
				got := opTiles.Call(x, weight, weight.packed.weight, bias, 1, residual, false)
				isWithin(t, want.Gelu().Add(wide(residual)), sizes.Add(wide(residual).Abs()), got, what+", residual")
				for _, p := range []*Tensor{weight, bias, quick} {
					p.Free()
				}
			}))
		}
	}
}

// TestBFloat16x3Rows is a row's result whatever stands beside it, to the bit.
func TestBFloat16x3Rows(t *testing.T) {
	tilemodel.On(t)
	require.NoError(t, NoGrad(func(s *Scope) {
		weight := Randn(nil, CPU, 40, 70)
		defer weight.Free()
		weight.Pack(nil, PackBFloat16x3)
		x := Randn(s, CPU, 100, 70)
		all := x.Linear(weight, nil)
		assert.Equal(t, ToSlice[float32](all.Narrow(0, 37, 3)), ToSlice[float32](x.Narrow(0, 37, 3).Linear(weight, nil)))
	}))
}

// TestBFloat16x3NotFinite is float32's result of infinities, NaN and numbers above bfloat16's
// largest, in the input and in the weight.
func TestBFloat16x3NotFinite(t *testing.T) {
	tilemodel.On(t)
	inf, nan := math.Inf(1), math.NaN()
	for _, odd := range []float64{inf, -inf, nan, math.MaxFloat32} {
		require.NoError(t, NoGrad(func(s *Scope) {
			ManualSeed(2)
			weight, bias := Randn(nil, CPU, 33, 50), Randn(nil, CPU, 33)
			x := Randn(s, CPU, 20, 50)
			x.Narrow(0, 7, 1).Narrow(1, 30, 1).Fill(odd)
			weight.Pack(bias, PackBFloat16x3)
			same := func(want, got *Tensor) {
				t.Helper()
				a, b := ToSlice[float32](want), ToSlice[float32](got)
				for i := range a {
					if a[i] != b[i] && !(a[i] != a[i] && b[i] != b[i]) {
						assert.InEpsilon(t, a[i], b[i], 1e-5, "odd %g, place %d", odd, i)
					}
				}
			}
			same(opLinear.Call(x, weight, bias), x.Linear(weight, bias))
			same(opLinear.Call(x, weight, bias).Gelu(), x.LinearGelu(weight, bias, nil))
			same(opLinear.Call(x, weight, bias).GeluTanh(), x.LinearGeluTanh(weight, bias, nil))
			broken := weight.Clone()
			broken.Narrow(0, 3, 1).Fill(odd)
			finite := Randn(s, CPU, 20, 50)
			want := opLinear.Call(finite, broken, bias)
			broken.Pack(bias, PackBFloat16x3)
			assert.Nil(t, broken.packed.plain, "it was not split")
			same(want, finite.Linear(broken, bias))
			for _, p := range []*Tensor{weight, bias, broken} {
				p.Free()
			}
		}))
	}
}

// TestBFloat16x3Between has a norm, a product with an activation and an attention split their results for the next product:
// that is then the same to the bit as of float32's results, of which numbers that cannot be split stay.
func TestBFloat16x3Between(t *testing.T) {
	tilemodel.On(t)
	for _, c := range []struct{ batch, tokens, width, hidden int }{{1, 1, 32, 64}, {2, 17, 64, 96}, {3, 50, 96, 32}} {
		require.NoError(t, NoGrad(func(s *Scope) {
			ManualSeed(4)
			what := fmt.Sprintf("%+v", c)
			same := func(next, want, got *Tensor) {
				t.Helper()
				require.Equal(t, Float32, want.DType(), what)
				require.Equal(t, split, got.DType(), what)
				require.Equal(t, want.Shape(), got.Shape(), what)
				assert.Equal(t, ToSlice[float32](want.Linear(next, nil)), ToSlice[float32](got.Linear(next, nil)), what)
				assert.Equal(t, ToSlice[float32](want.LinearAdd(want, next, nil)), ToSlice[float32](want.LinearAdd(got, next, nil)), what)
			}
			packed := func(quick bool, out, in int) *Tensor {
				w := numbers(s, true, out, in)
				w.pack(nil, PackBFloat16x3, quick)
				return w
			}
			square, up, quick, down := packed(false, c.width, c.width), packed(false, c.hidden, c.width), packed(true, c.hidden, c.width), packed(false, c.hidden, c.hidden)
			x, branch := Randn(s, CPU, c.batch, c.tokens, c.width), Randn(s, CPU, c.batch, c.tokens, c.width)
			gain, shift := Randn(s, CPU, c.width), Randn(s, CPU, c.width)
			sum, norm := x.AddLayerNorm(branch, gain, shift, 1e-5, square)
			assert.Equal(t, ToSlice[float32](x.Add(branch)), ToSlice[float32](sum), what)
			plain := Ones(s, CPU, Float32, c.width, c.width)
			plain.Pack(nil, PackFloat32)
			_, want := x.AddLayerNorm(branch, gain, shift, 1e-5, plain)
			same(square, want, norm)
			same(down, x.LinearGelu(up, nil, nil), x.LinearGelu(up, nil, down))
			same(down, x.LinearGeluTanh(up, nil, nil), x.LinearGeluTanh(up, nil, down))
			same(down, x.LinearQuickGelu(quick, nil, nil), x.LinearQuickGelu(quick, nil, down))
			qkv := Randn(s, CPU, c.batch, c.tokens, 3*c.width)
			for _, causal := range []bool{false, true} {
				same(square, qkv.SelfAttention(2, causal, square, true), qkv.SelfAttention(2, causal, square, false))
			}
			for _, odd := range []float64{math.Inf(1), math.NaN(), math.MaxFloat32} {
				zero, odds := gain.Clone(), shift.Clone()
				zero.Narrow(0, 3, 1).Fill(0)
				odds.Narrow(0, 3, 1).Fill(odd)
				_, norm := x.AddLayerNorm(branch, zero, odds, 1e-5, square)
				_, want := x.AddLayerNorm(branch, zero, odds, 1e-5, plain)
				assert.Equal(t, fmt.Sprint(ToSlice[float32](want)), fmt.Sprint(ToSlice[float32](norm)), "%s, %g", what, odd)
				qkv := qkv.Clone()
				qkv.Narrow(2, 2*c.width+1, 1).Fill(odd)
				got := qkv.SelfAttention(2, false, square, false)
				assert.Equal(t, fmt.Sprint(ToSlice[float32](qkv.SelfAttention(2, false, nil, false))), fmt.Sprint(ToSlice[float32](got)), "%s, %g", what, odd)
			}
		}))
	}
	// Numbers that are not split in this way are refused and not misread.
	assert.Error(t, NoGrad(func(s *Scope) {
		w := Ones(s, CPU, Float32, 32, 32)
		w.Pack(nil, PackBFloat16x3)
		Zeros(s, CPU, Int32, 16, 32).Linear(w, nil)
	}))
}

// TestBFloat16x3Gradients compares the product that records gradients and all three of them with
// float64's.
func TestBFloat16x3Gradients(t *testing.T) {
	tilemodel.On(t)
	for _, outliers := range []bool{false, true} {
		for _, c := range []struct{ batch, rows, in, out int }{{2, 40, 70, 33}, {1, 64, 32, 16}, {3, 50, 48, 100}} {
			require.NoError(t, Do(func(s *Scope) {
				ManualSeed(3)
				learns := func(x *Tensor) *Tensor { x.SetRequiresGrad(true); return x }
				x, weight, bias := learns(numbers(s, outliers, c.batch, c.rows, c.in)), learns(numbers(s, outliers, c.out, c.in)), learns(numbers(s, outliers, c.out))
				wide := func(x *Tensor) *Tensor { return x.Detach().To(CPU, Float64) }
				dy := numbers(s, outliers, c.batch, c.rows, c.out)
				s.BFloat16x3()
				y := x.Linear(weight, bias)
				require.NotEqual(t, ToSlice[float32](opLinear.Call(x, weight, bias)), ToSlice[float32](y), "the numbers were split")
				want := opLinear.Call(wide(x), wide(weight), wide(bias))
				isWithin(t, want, opLinear.Call(wide(x).Abs(), wide(weight).Abs(), wide(bias).Abs()), y.Detach(), "forward")
				got := Gradients(y.Mul(dy).Sum(), x, weight, bias)
				flatX, flat := wide(x).Flatten(0, 1), wide(dy).Flatten(0, 1)
				isWithin(t, wide(dy).MatMul(wide(weight)), wide(dy).Abs().MatMul(wide(weight).Abs()), got[0], "dX")
				isWithin(t, flat.T().MatMul(flatX), flat.Abs().T().MatMul(flatX.Abs()), got[1], "dW")
				bare := Gradients(x.Linear(weight, nil).Mul(dy).Sum(), x, weight)
				assert.Equal(t, ToSlice[float32](got[0]), ToSlice[float32](bare[0]), "dX without a bias")
				assert.Equal(t, ToSlice[float32](got[1]), ToSlice[float32](bare[1]), "dW without a bias")
				isWithin(t, flat.SumDim(0), flat.Abs().SumDim(0), got[2], "db")
			}))
		}
	}
}
