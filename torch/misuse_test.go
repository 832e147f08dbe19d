package torch_test

import (
	"math"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestAliasHolds has the collector run while only an alias knows of a tensor.
func TestAliasHolds(t *testing.T) {
	before := settled.Count(torch.LiveTensors)
	ones := make([]float32, 1000)
	for i := range ones {
		ones[i] = 1
	}
	collect := func() {
		for range 3 {
			runtime.GC()
		}
		for range 8 { // memory that was freed is written over
			torch.FromSlice(nil, make([]float32, 1000), 1000).Free()
		}
	}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		a := s.Alias(torch.FromSlice(nil, ones, 1000))
		collect()
		assert.Equal(t, 1000., a.Sum().Item())
		b := a.Borrow(torch.FromSlice(nil, ones, 1000))
		c := s.Alias(b)
		collect()
		assert.Equal(t, 1000., b.Sum().Item())
		assert.True(t, b.Same(c))
		kept := c.Keep()
		b.Free()
		b.Free()
		collect()
		assert.Equal(t, 1000., kept.Sum().Item())
		kept.Free()
		a.Free()
	}))
	assert.Equal(t, before, settled.Count(torch.LiveTensors))

	// An alias ends with its tensor, and follows it.
	p := torch.FromSlice(nil, []float32{1}, 1)
	err := torch.NoGrad(func(s *torch.Scope) {
		a := s.Alias(p)
		p.Set(torch.FromSlice(s, []float32{5, 6}, 2))
		assert.Equal(t, []float32{5, 6}, torch.ToSlice[float32](a))
		p.Free()
		a.Sum()
	})
	assert.ErrorContains(t, err, "torch: sum(): a tensor was used after it was freed")
	var left *torch.Tensor
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{1, 2}, 2)
		w := torch.FromSlice(nil, []float32{7}, 1)
		assert.Equal(t, 7., torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return x.Borrow(w) }, x).Item())
		left = s.Alias(w)
		w.Free()
	}))
	assert.Error(t, torch.NoGrad(func(s *torch.Scope) { left.Neg() }))
}

// TestInPlace writes on a leaf that requires a gradient, as PyTorch lets one.
func TestInPlace(t *testing.T) {
	p := torch.FromSlice(nil, []float32{1, 2}, 2).SetRequiresGrad(true)
	defer p.Free()
	do(t, func(s *torch.Scope) {
		require.NoError(t, torch.NoGrad(func(in *torch.Scope) {
			p.Fill(3).MulInPlace(2).AddInPlace(1)
			assert.Equal(t, []float32{7, 7}, torch.ToSlice[float32](p))
			p.CopyFrom(torch.FromSlice(in, []float32{4, -5}, 2)).ClampInPlace(-1, 9)
			assert.Equal(t, []float32{4, -1}, torch.ToSlice[float32](p))
			y := p.MulScalar(2)
			assert.False(t, y.RequiresGrad())
			y.Free()
			require.NoError(t, torch.Do(func(s *torch.Scope) { assert.True(t, s.Alias(p).Exp().RequiresGrad()) }))
		}))
		assert.True(t, p.RequiresGrad())
		leaf := torch.FromSlice(s, []float32{1}, 1).SetRequiresGrad(true)
		s.NoGrad(func(*torch.Scope) { // a tensor of the scope outside too
			leaf.UniformInPlace(2, 3)
			p.NormalInPlace(0, 1)
		})
		assert.GreaterOrEqual(t, leaf.Item(), 2.)
		y := s.Alias(p).Sum()
		y.Backward()
		torch.ZeroGrad([]*torch.Tensor{p})
	})
	for name, write := range map[string]func(s *torch.Scope){
		"a leaf":   func(*torch.Scope) { p.Fill(1) },
		"an alias": func(s *torch.Scope) { s.Alias(p).Fill(1) },
		"after NoGrad": func(s *torch.Scope) {
			s.NoGrad(func(*torch.Scope) {})
			_ = torch.NoGrad(func(*torch.Scope) { panic(&torch.Error{}) })
			p.Fill(1)
		},
	} {
		assert.EqualError(t, torch.Do(write),
			"torch: fill_(float32[2]): a leaf Variable that requires grad is being used in an in-place operation.", name)
	}
	assert.Panics(t, func() { p.Fill(1) })
}

// TestMisuse has one sentence for each mistake, and the process continues.
func TestMisuse(t *testing.T) {
	var none *torch.Tensor
	nested := torch.NewOp("aten::_nested_tensor_from_tensor_list")
	ended := func() (s *torch.Scope) {
		require.NoError(t, torch.Do(func(in *torch.Scope) { s = in }))
		return s
	}()
	for _, c := range []struct {
		want string
		f    func(s *torch.Scope, x *torch.Tensor)
	}{
		{"torch: zeros(): -1 is not an element type", func(s *torch.Scope, _ *torch.Tensor) { torch.Zeros(s, torch.CPU, torch.DType(-1), 2) }},
		{"torch: empty(): 120 is not an element type", func(s *torch.Scope, _ *torch.Tensor) { torch.Empty(s, torch.CPU, torch.DType(120), 2) }},
		{"torch: to(float32[2 3]): -1 is not an element type", func(_ *torch.Scope, x *torch.Tensor) { x.To(torch.CPU, torch.DType(-1)) }},
		{"torch: from_slice(): -1 is not an element type", func(s *torch.Scope, _ *torch.Tensor) { torch.FromBytes(s, make([]byte, 4), torch.DType(-1), 1) }},
		{"torch: autocast(): products run in bfloat16 or float16, not in dtype(-1)", func(s *torch.Scope, _ *torch.Tensor) { s.Autocast(torch.CPU, torch.DType(-1)) }},
		{`torch: zeros(): the device type "gpu" is neither cpu nor cuda`, func(s *torch.Scope, _ *torch.Tensor) { torch.Zeros(s, torch.Device{Type: "gpu"}, torch.Float32) }},
		{"torch: zeros(): there is no device cuda:300", func(s *torch.Scope, _ *torch.Tensor) {
			torch.Zeros(s, torch.Device{Type: "cuda", Index: 300}, torch.Float32)
		}},
		{"torch: shape(): a nested tensor has no shape", func(_ *torch.Scope, x *torch.Tensor) { nested.Call([]*torch.Tensor{x}).Shape() }},
		{"torch: dim(): a nested tensor has no shape", func(_ *torch.Scope, x *torch.Tensor) { nested.Call([]*torch.Tensor{x}).Dim() }},
		{"torch: matmul(float32[2 3]): the argument other must be of type Tensor, not None", func(_ *torch.Scope, x *torch.Tensor) { x.MatMul(none) }},
		{"torch: cat(): a tensor is nil", func(_ *torch.Scope, x *torch.Tensor) { torch.Cat(0, x, none) }},
		{"torch: cumsum(float32[2 3]): the argument dim must be of type int, not a string", func(_ *torch.Scope, x *torch.Tensor) {
			torch.NewOp("aten::cumsum").Call(x, "rows")
		}},
		{"torch: sum(float32[2 3]): the argument dim must be of type Optional[List[int]], not an int", func(_ *torch.Scope, x *torch.Tensor) {
			torch.NewOp("aten::sum.dim_IntList").Call(x, 1)
		}},
		{"torch: clone(float32[2 3]): 9 is not a memory format", func(_ *torch.Scope, x *torch.Tensor) { torch.NewOp("aten::clone").Call(x, 9) }},
		{"torch: relu(): an argument of Go type int8 means nothing to libtorch", func(*torch.Scope, *torch.Tensor) { torch.NewOp("aten::relu").Call(int8(1)) }},
		{"torch: nonsense(): libtorch has no operator nonsense.", func(*torch.Scope, *torch.Tensor) { torch.NewOp("nonsense").Call() }},
		{"torch: relu(): an object is nil", func(*torch.Scope, *torch.Tensor) { torch.NewOp("aten::relu").Call((*torch.Object)(nil)) }},
		{"torch: linear_dynamic(float32[2 3], float32[2 3]): the argument W_prepack must be of type __torch__.torch.classes.quantized.LinearPackedParamsBase, not a Tensor",
			func(_ *torch.Scope, x *torch.Tensor) { torch.NewOp("quantized::linear_dynamic").Call(x, x) }},
		{"torch: dtype(): a tensor is nil", func(*torch.Scope, *torch.Tensor) { none.DType() }},
		{"torch: keep(): a tensor is nil", func(*torch.Scope, *torch.Tensor) { none.Keep() }},
		{"torch: borrow(): a tensor is nil", func(_ *torch.Scope, x *torch.Tensor) { none.Borrow(x) }},
		{"torch: alias(): a tensor is nil", func(s *torch.Scope, _ *torch.Tensor) { s.Alias(nil) }},
		{"torch: tidy(): a tensor is nil", func(_ *torch.Scope, x *torch.Tensor) {
			torch.Tidy(func(*torch.Tensor) *torch.Tensor { return nil }, x)
		}},
		{"torch: from_pointer(): the pointer is nil", func(s *torch.Scope, _ *torch.Tensor) { torch.FromPointer(s, nil) }},
		{"torch: replay(): nothing was captured", func(*torch.Scope, *torch.Tensor) { new(torch.Graph).Replay() }},
		{"torch: zeros(): the scope has ended: its Do has returned", func(*torch.Scope, *torch.Tensor) { torch.Zeros(ended, torch.CPU, torch.Float32, 1) }},
		{"torch: from_slice(): the scope has ended: its Do has returned", func(*torch.Scope, *torch.Tensor) { torch.FromSlice(ended, []float32{1}, 1) }},
		{"torch: set(): the tensor belongs to a scope; only one without, such as a parameter, can be set", func(_ *torch.Scope, x *torch.Tensor) { x.Set(x) }},
		{"torch: write(float32[2 3]): the tensor has 24 bytes, not 18446744073709551615 and 1 more", func(_ *torch.Scope, x *torch.Tensor) { x.WriteBytes(-1, []byte{1}) }},
		{"torch: share(): the tensor has 6 numbers, none of the shape [4 4611686018427387904 4] from 0 on", func(_ *torch.Scope, x *torch.Tensor) { x.ShareStorage(x, 0, 4, 1<<62, 4) }},
		{"torch: embedding(int64[1], ", func(s *torch.Scope, x *torch.Tensor) { torch.FromSlice(s, []int64{math.MaxInt64}, 1).Embedding(x) }},
	} {
		t.Run(c.want, func(t *testing.T) {
			before := settled.Count(torch.LiveTensors)
			err := torch.Do(func(s *torch.Scope) { c.f(s, torch.FromSlice(s, make([]float32, 6), 2, 3)) })
			var te *torch.Error
			require.ErrorAs(t, err, &te)
			if c.want[len(c.want)-1] == ' ' {
				assert.NotContains(t, err.Error(), "INTERNAL ASSERT")
			} else {
				assert.EqualError(t, err, c.want)
			}
			assert.Equal(t, before, torch.LiveTensors())
		})
	}
	torch.SetNumThreads(1 << 40)
	assert.NoError(t, torch.Do(func(s *torch.Scope) {}))
	torch.SetNumThreads(-1)
	assert.NoError(t, torch.Do(func(s *torch.Scope) { torch.Ones(s, torch.CPU, torch.Float32, 9).Sum() }))
	torch.SetNumThreads(0)
	none.Free()
	new(torch.Tensor).Free()
}

// TestShareStorage: a tensor whose new shape has no room stays as it is. With that shape, writing into it would write
// beyond its memory.
func TestShareStorage(t *testing.T) {
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		source, x := torch.FromSlice(s, []float32{1, 2, 3, 4, 5, 6}, 2, 3), torch.Zeros(s, torch.CPU, torch.Float32, 1)
		for _, bad := range []struct {
			offset int
			shape  []int
		}{{0, []int{4, 1 << 62, 4}}, {0, []int{1 << 40, 1 << 40}}, {0, []int{7}}, {-1, []int{1}}, {5, []int{2}}, {0, []int{-1}}, {1 << 62, []int{1}}, {0, []int{2, -3}}} {
			var te *torch.Error
			func() {
				defer func() { te, _ = recover().(*torch.Error) }()
				x.ShareStorage(source, bad.offset, bad.shape...)
			}()
			require.NotNil(t, te, bad)
			assert.Equal(t, []int{1}, x.Shape())
			assert.Equal(t, []float32{0}, torch.ToSlice[float32](x))
		}
		x.ShareStorage(source, 2, 2, 2)
		assert.Equal(t, []int{2, 2}, x.Shape())
		assert.Equal(t, []float32{3, 4, 5, 6}, torch.ToSlice[float32](x))
		source.Narrow(1, 1, 2).Fill(9)
		assert.Equal(t, []float32{9, 4, 9, 9}, torch.ToSlice[float32](x), "the memory is shared")
		rows := source.Narrow(0, 1, 1)
		x.ShareStorage(rows, 1, 2)
		assert.Equal(t, []float32{9, 9}, torch.ToSlice[float32](x), "from the second row on")
		x.ShareStorage(source, 6, 0, 5)
		assert.Equal(t, []int{0, 5}, x.Shape())
	}))
}

// TestScopeOfAnotherGoroutine has eight goroutines use one scope: every use is an error, and no
// handle is lost.
func TestScopeOfAnotherGoroutine(t *testing.T) {
	before := settled.Count(torch.LiveTensors)
	uses := map[string]func(s *torch.Scope, x *torch.Tensor){
		"operator": func(_ *torch.Scope, x *torch.Tensor) { x.Exp() },
		"factory":  func(s *torch.Scope, _ *torch.Tensor) { torch.Zeros(s, torch.CPU, torch.Float32, 3) },
		"slice":    func(s *torch.Scope, _ *torch.Tensor) { torch.FromSlice(s, []float32{1}, 1) },
		"alias":    func(s *torch.Scope, x *torch.Tensor) { s.Alias(x).Neg() },
		"shape":    func(_ *torch.Scope, x *torch.Tensor) { x.Shape() },
		"item":     func(_ *torch.Scope, x *torch.Tensor) { x.Item() },
		"read":     func(_ *torch.Scope, x *torch.Tensor) { torch.ToSlice[float32](x) },
		"free":     func(_ *torch.Scope, x *torch.Tensor) { x.Free() },
		"keep":     func(_ *torch.Scope, x *torch.Tensor) { x.Keep() },
		"no grad":  func(s *torch.Scope, _ *torch.Tensor) { s.NoGrad(func(*torch.Scope) {}) },
		"autocast": func(s *torch.Scope, _ *torch.Tensor) { s.Autocast(torch.CPU, torch.BFloat16) },
		"backward": func(_ *torch.Scope, x *torch.Tensor) { x.Backward() },
		"its tidy": func(_ *torch.Scope, x *torch.Tensor) { torch.Tidy((*torch.Tensor).Exp, x) },
		"two scopes": func(_ *torch.Scope, x *torch.Tensor) {
			if err := torch.Do(func(mine *torch.Scope) { torch.Ones(mine, torch.CPU, torch.Float32, 1).Add(x) }); err != nil {
				panic(err)
			}
		},
	}
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{1}, 1)
		inside := torch.LiveTensors()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for name, use := range uses {
					for range 20 {
						func() {
							defer func() {
								_, ok := recover().(*torch.Error)
								assert.True(t, ok, name)
							}()
							use(s, x)
						}()
					}
				}
			})
		}
		wg.Wait()
		assert.Equal(t, inside, torch.LiveTensors())
		assert.Equal(t, 1., x.Item())
		assert.Equal(t, "the scope belongs to another goroutine: only the function that Do runs may use it and its tensors", func() (text string) {
			wg.Go(func() { text = x.String() })
			wg.Wait()
			return text
		}())
	}))
	assert.Equal(t, before, torch.LiveTensors())
}
