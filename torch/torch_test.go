package torch_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// do runs f and requires that it succeeds and leaves no handle behind.
func do(t *testing.T, f func(s *torch.Scope)) {
	t.Helper()
	before := settled.Count(torch.LiveTensors)
	require.NoError(t, torch.Do(f))
	assert.Equal(t, before, torch.LiveTensors(), "live handles after Do")
}

func TestSlicesInAndOut(t *testing.T) {
	do(t, func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{1, 2, 3, 4, 5, 6}, 2, 3)
		assert.Equal(t, []int{2, 3}, x.Shape())
		assert.Equal(t, 3, x.Size(-1))
		assert.Equal(t, torch.Float32, x.DType())
		assert.Equal(t, torch.CPU, x.Device())
		assert.Equal(t, []float32{1, 4, 2, 5, 3, 6}, torch.ToSlice[float32](x.T()))
		assert.Equal(t, []int64{7, -1}, torch.ToSlice[int64](torch.FromSlice(s, []int64{7, -1}, 2)))
		assert.Equal(t, []bool{true, false}, torch.ToSlice[bool](torch.FromSlice(s, []bool{true, false}, 2)))
		assert.Empty(t, torch.ToSlice[float64](torch.FromSlice(s, []float64{}, 0, 3)))
		assert.Equal(t, 2.5, torch.FromSlice(s, []float64{2.5}).Item())
		half := x.To(torch.CPU, torch.Float16)
		assert.Equal(t, torch.Half(0x3c00), torch.ToSlice[torch.Half](half)[0])
		assert.Equal(t, torch.BHalf(0x3f80), torch.ToSlice[torch.BHalf](x.To(torch.CPU, torch.BFloat16))[0])
	})
}

func TestArguments(t *testing.T) {
	var lerp = torch.NewOp("aten::lerp.Scalar")
	do(t, func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{-1, 0, 2}, 3)
		assert.Equal(t, []float32{0, 0, 2}, torch.ToSlice[float32](x.Relu()))
		assert.InDeltaSlice(t, []float32{-0.5, 0.5, 2}, torch.ToSlice[float32](lerp.Call(x, torch.Ones(s, torch.CPU, torch.Float32, 3).Mul(torch.FromSlice(s, []float32{0, 1, 2}, 3)), 0.5)), 1e-6)
		assert.Equal(t, []float32{-1, 0, 2, -1, 0, 2}, torch.ToSlice[float32](torch.Cat(0, x, x)))
		values, indices := x.TopK(2, 0, true)
		assert.Equal(t, []float32{2, 0}, torch.ToSlice[float32](values))
		assert.Equal(t, []int64{2, 1}, torch.ToSlice[int64](indices))
		rows := torch.Arange(s, torch.CPU, 6).Reshape(2, 3)
		assert.Equal(t, []int64{1, 5}, torch.ToSlice[int64](rows.Index(torch.Arange(s, torch.CPU, 2), torch.FromSlice(s, []int64{1, 2}, 2))))
		assert.Equal(t, []int64{2, 5}, torch.ToSlice[int64](rows.Index(nil, torch.FromSlice(s, []int64{2}, 1)).Flatten(0, 1)))
		// A string argument and more results than a call has room for.
		assert.InDelta(t, 0.84119, torch.FromSlice(s, []float32{1}, 1).Gelu().Item(), 1e-3)
		tanh := torch.NewOp("aten::gelu").Call(torch.FromSlice(s, []float32{1}, 1), "tanh")
		assert.InDelta(t, 0.841192, tanh.Item(), 1e-6)
		parts := torch.FromSlice(s, make([]float32, 100), 100, 1).Unbind(0)
		assert.Len(t, parts, 100)
		assert.Equal(t, []int{1}, parts[99].Shape())
	})
}

// TestArgumentsOfTheCallBefore has a false where the call before had a true.
func TestArgumentsOfTheCallBefore(t *testing.T) {
	do(t, func(s *torch.Scope) {
		q := torch.FromSlice(s, []float32{1, 0, 0, 1}, 1, 1, 2, 2)
		causal := torch.ToSlice[float32](torch.ScaledDotProductAttention(q, q, q, true))
		plain := torch.ToSlice[float32](torch.ScaledDotProductAttention(q, q, q, false))
		assert.Equal(t, []float32{1, 0}, causal[:2])
		assert.InDeltaSlice(t, []float32{0.66976, 0.33024}, plain[:2], 1e-5) // softmax(1/sqrt 2, 0)
	})
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, want string
		f          func(s *torch.Scope, x *torch.Tensor)
	}{
		{"shapes", "torch: matmul(float32[2 3], float32[2 3]): mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)",
			func(s *torch.Scope, x *torch.Tensor) { x.MatMul(x) }},
		{"no operator", "torch: aten::nothing(): libtorch has no operator aten::nothing.",
			func(s *torch.Scope, x *torch.Tensor) { torch.NewOp("aten::nothing").Call(x) }},
		{"missing argument", "torch: softmax(float32[2 3]): the argument dim is missing",
			func(s *torch.Scope, x *torch.Tensor) { torch.NewOp("aten::softmax.int").Call(x) }},
		{"too many", "torch: relu(float32[2 3]): takes 1 arguments, not 2",
			func(s *torch.Scope, x *torch.Tensor) { torch.NewOp("aten::relu").Call(x, 1) }},
		{"slice", "torch: from_slice(): the shape [2, 2] takes 16 bytes, not 12",
			func(s *torch.Scope, x *torch.Tensor) { torch.FromSlice(s, []float32{1, 2, 3}, 2, 2) }},
		{"type", "torch: to_slice(): the tensor is float32[2 3], not int64",
			func(s *torch.Scope, x *torch.Tensor) { torch.ToSlice[int64](x) }},
		{"freed", "a tensor was used after it was freed",
			func(s *torch.Scope, x *torch.Tensor) { x.Free(); x.Free(); x.Exp() }},
		{"nil", "torch: exp(): the argument self must be of type Tensor, not None", func(s *torch.Scope, x *torch.Tensor) { var n *torch.Tensor; n.Exp() }},
		{"backward", "element 0 of tensors does not require grad",
			func(s *torch.Scope, x *torch.Tensor) { x.Sum().Backward() }},
		{"item", "torch: item(float32[2 3])", func(s *torch.Scope, x *torch.Tensor) { x.Item() }},
		{"size", "float32[2 3] has no dimension 2", func(s *torch.Scope, x *torch.Tensor) { x.Size(2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := settled.Count(torch.LiveTensors)
			err := torch.Do(func(s *torch.Scope) {
				x := torch.FromSlice(s, make([]float32, 6), 2, 3)
				x.Add(x).Exp() // more to free
				c.f(s, x)
			})
			var te *torch.Error
			require.ErrorAs(t, err, &te)
			assert.Contains(t, err.Error(), c.want)
			assert.NotContains(t, err.Error(), "\n")
			assert.Equal(t, before, torch.LiveTensors(), "live handles after a failed Do")
		})
	}
}

func TestKeepAndTidy(t *testing.T) {
	before := settled.Count(torch.LiveTensors)
	var kept *torch.Tensor
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{1, 2}, 2)
		kept = x.AddScalar(1).Keep()
		inside := torch.LiveTensors()
		y := torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return x.Exp().Log().AddScalar(1) }, x)
		assert.Equal(t, inside+1, torch.LiveTensors(), "Tidy leaves its result alone")
		assert.InDeltaSlice(t, []float32{2, 3}, torch.ToSlice[float32](y), 1e-6)
		assert.Same(t, x, torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return x }, x))
		s.NoGrad(func(n *torch.Scope) { n.Alias(x).Exp() })
		assert.Equal(t, inside+1, torch.LiveTensors())
	}))
	assert.Equal(t, before+1, torch.LiveTensors())
	assert.Equal(t, []float32{2, 3}, torch.ToSlice[float32](kept))
	kept.Free()
	assert.Equal(t, before, torch.LiveTensors())
}

func TestGarbageCollectorIsTheNet(t *testing.T) {
	before := settled.Count(torch.LiveTensors)
	for range 100 {
		torch.FromSlice[float32](nil, make([]float32, 1000), 1000)
	}
	assert.Equal(t, before, settled.Count(torch.LiveTensors))
}

func TestGradients(t *testing.T) {
	w := torch.FromSlice(nil, []float32{2, 3}, 2).SetRequiresGrad(true)
	defer w.Free()
	do(t, func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{5, 7}, 2)
		loss := x.Mul(w).Pow(2).Sum() // d/dw = 2 x^2 w
		grads := torch.Gradients(loss, w)
		assert.Equal(t, []float32{100, 294}, torch.ToSlice[float32](grads[0]))
		assert.Nil(t, w.Grad())
		x.Mul(w).Sum().Backward()
		x.Mul(w).Sum().Backward()
		g := torch.Grads(s, []*torch.Tensor{w})[0]
		assert.Equal(t, []float32{10, 14}, torch.ToSlice[float32](g))
		torch.ZeroGrad([]*torch.Tensor{w})
		assert.Nil(t, w.Grad())
	})
	before := settled.Count(torch.LiveTensors)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		assert.False(t, torch.FromSlice(s, []float32{5, 7}, 2).Mul(w).RequiresGrad())
		s.Alias(w).MulInPlace(2)
	}))
	assert.Equal(t, []float32{4, 6}, torch.ToSlice[float32](w))
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		assert.True(t, torch.FromSlice(s, []float32{5, 7}, 2).Mul(w).RequiresGrad(), "no mode stays behind")
	}))
	assert.Equal(t, before, torch.LiveTensors())
}

// TestAutocastAgain has the last call of Autocast hold.
func TestAutocastAgain(t *testing.T) {
	do(t, func(s *torch.Scope) {
		s.Autocast(torch.CPU, torch.BFloat16)
		s.Autocast(torch.CPU, torch.Float16)
		x := torch.Ones(s, torch.CPU, torch.Float32, 2, 2)
		assert.Equal(t, torch.Float16, x.MatMul(x).DType())
		assert.Equal(t, torch.Float16, x.ProductType())
	})
}

func TestAutocast(t *testing.T) {
	w := torch.FromSlice(nil, make([]float32, 64*64), 64, 64).SetRequiresGrad(true)
	defer w.Free()
	do(t, func(s *torch.Scope) {
		s.Autocast(torch.CPU, torch.BFloat16)
		x := torch.Randn(s, torch.CPU, 8, 64)
		y := torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return x.Linear(w, nil).Linear(w, nil) }, x)
		assert.Equal(t, torch.BFloat16, y.DType())
		y.Sum().Backward()
		assert.Equal(t, torch.Float32, torch.Grads(s, []*torch.Tensor{w})[0].DType())
	})
	torch.ZeroGrad([]*torch.Tensor{w})
	do(t, func(s *torch.Scope) {
		assert.Equal(t, torch.Float32, torch.Randn(s, torch.CPU, 8, 64).Linear(w, nil).DType())
	})
}

func TestSeeds(t *testing.T) {
	do(t, func(s *torch.Scope) {
		torch.ManualSeed(7)
		state := torch.RNGState(torch.CPU)
		a := torch.ToSlice[float32](torch.Randn(s, torch.CPU, 5))
		require.NoError(t, torch.SetRNGState(torch.CPU, state))
		assert.Equal(t, a, torch.ToSlice[float32](torch.Randn(s, torch.CPU, 5)))
		assert.NotEqual(t, a, torch.ToSlice[float32](torch.Randn(s, torch.CPU, 5)))
		assert.Error(t, torch.SetRNGState(torch.CPU, []byte{1, 2, 3}))
	})
}

func TestDevices(t *testing.T) {
	for _, c := range []struct {
		name string
		want torch.Device
		err  string
	}{
		{"cpu", torch.CPU, ""},
		{"gpu", torch.CPU, `device "gpu": must be one of auto, cpu, cuda, cuda:N`},
		{"cuda:x", torch.CPU, `device "cuda:x": must be one of`},
		{"cuda:99", torch.CPU, "device cuda:99: "},
	} {
		d, err := torch.ParseDevice(c.name)
		assert.Equal(t, c.want, d)
		if c.err == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, c.err)
		}
	}
}

func TestManyGoroutines(t *testing.T) {
	before := settled.Count(torch.LiveTensors)
	w := torch.FromSlice(nil, []float32{1, 2, 3, 4}, 2, 2)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				assert.NoError(t, torch.NoGrad(func(s *torch.Scope) {
					x := torch.FromSlice(s, []float32{float32(i), 1}, 1, 2)
					assert.Equal(t, []float32{float32(i) + 3, 2*float32(i) + 4}, torch.ToSlice[float32](x.MatMul(w)))
				}))
			}
		})
	}
	wg.Wait()
	w.Free()
	assert.Equal(t, before, torch.LiveTensors())
}

func TestPointer(t *testing.T) {
	do(t, func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{1, 2}, 2)
		p := x.Pointer()
		y := torch.FromPointer(s, p)
		torch.FreePointer(p)
		y.MulInPlace(10)
		assert.Equal(t, []float32{10, 20}, torch.ToSlice[float32](x), "memory is shared")
	})
}
