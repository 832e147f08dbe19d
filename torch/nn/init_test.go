package nn_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// golden is tensors by their keys, as testdata/nn/make_goldens.py wrote them.
func golden(t *testing.T) (map[string][]tensor, string) {
	text, err := os.ReadFile("../../testdata/nn/init.json")
	require.NoError(t, err)
	var file struct {
		CPU     string
		Tensors map[string][]tensor
	}
	require.NoError(t, json.Unmarshal(text, &file))
	return file.Tensors, file.CPU
}

type tensor struct {
	Key   string
	Shape []int
	Bits  string // of float32, in hexadecimal
}

func (g tensor) in(t *testing.T, s *torch.Scope) *torch.Tensor {
	bits, err := hex.DecodeString(g.Bits)
	require.NoError(t, err)
	return torch.FromBytes(s, bits, torch.Float32, g.Shape...)
}

// TestInit holds each layer's first numbers against those of torch.nn with the same seed. Uniform
// numbers are equal bit by bit; of the normal ones the last bit depends on the kernels that
// libtorch has for a CPU.
func TestInit(t *testing.T) {
	goldens, cpu := golden(t)
	for name, layer := range map[string]func() any{
		"linear":          func() any { return nn.NewLinear(7, 5) },
		"linear, no bias": func() any { return nn.NewLinearNoBias(20, 3) },
		"conv":            func() any { return nn.NewConv2d(3, 4, 3).WithBias() },
		"conv, no bias":   func() any { return nn.NewConv2d(3, 4, 2) },
		"patches":         func() any { return nn.NewPatches(4, 2) },
		"layer norm":      func() any { return nn.NewLayerNorm(6) },
		"embedding":       func() any { return nn.NewEmbedding(11, 4) },
		"batch norm":      func() any { return nn.NewBatchNorm2d(3) },
		"attention":       func() any { return nn.NewMultiheadAttention(8, 2) },
		"sequential":      func() any { return nn.Sequential{nn.NewLinear(4, 9), nn.GELU, nn.NewDropout(0.1), nn.NewLinear(9, 2)} },
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, goldens[name])
			torch.ManualSeed(1)
			got := map[string]*torch.Tensor{}
			for key, p := range nn.State(layer()) {
				if p.DType() == torch.Float32 {
					got[key] = p
				}
			}
			assert.Len(t, got, len(goldens[name]))
			for _, want := range goldens[name] {
				require.Contains(t, got, want.Key)
				assert.Equal(t, want.Shape, got[want.Key].Shape(), want.Key)
				if name == "embedding" && cpu != torch.LibraryBuild().CPUCapability {
					require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
						assert.InDeltaSlice(t, torch.ToSlice[float32](want.in(t, s)), torch.ToSlice[float32](got[want.Key]), 1e-6)
					}))
					continue
				}
				assert.Equal(t, want.Bits, hex.EncodeToString(torch.ToBytes(got[want.Key])), want.Key)
			}
		})
	}
}

func TestMultiheadAttention(t *testing.T) {
	goldens, _ := golden(t)
	torch.ManualSeed(4)
	a := nn.NewMultiheadAttention(8, 2)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		x := goldens["attention's input"][0].in(t, s)
		same := func(want tensor, got *torch.Tensor) {
			assert.InDeltaSlice(t, torch.ToSlice[float32](want.in(t, s)), torch.ToSlice[float32](got), 1e-6, want.Key)
		}
		results := goldens["attention's result"]
		all := torch.Ones(s, torch.CPU, torch.Bool, 2, 1, 1, 5)
		same(results[0], a.Forward(x))
		same(results[0], a.ForwardMasked(x, all))
		a.Causal = true
		same(results[1], a.Forward(x))
		same(results[1], a.ForwardMasked(x, all))
		// what is hidden does not matter
		a.Causal = false
		hidden := torch.FromSlice(s, []bool{true, true, true, true, false}, 1, 1, 1, 5)
		y := torch.ToSlice[float32](a.ForwardMasked(x, hidden).Narrow(1, 0, 4))
		x.Narrow(1, 4, 1).Fill(9)
		assert.Equal(t, y, torch.ToSlice[float32](a.ForwardMasked(x, hidden).Narrow(1, 0, 4)))
		assert.NotEqual(t, y, torch.ToSlice[float32](a.Forward(x).Narrow(1, 0, 4)))
	}))
}

func TestDropout(t *testing.T) {
	type tower struct {
		Head  nn.Sequential `torch:"head"`
		Other *nn.Dropout   `torch:"other"`
		None  *nn.Dropout   `torch:"none"`
	}
	m := &tower{Head: nn.Sequential{nn.NewDropout(0.5), nn.Func((*torch.Tensor).Abs)}, Other: nn.NewDropout(0.25)}
	zeros := func(y *torch.Tensor) float64 { return y.EqScalar(0).To(torch.CPU, torch.Float32).Mean().Item() }
	torch.ManualSeed(1)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		x := torch.Ones(s, torch.CPU, torch.Float32, 10000)
		assert.Zero(t, zeros(m.Head.Forward(x)))
		nn.SetTraining(m, true)
		assert.InDelta(t, 0.5, zeros(m.Head.Forward(x)), 0.03)
		assert.InDelta(t, 0.25, zeros(m.Other.Forward(x)), 0.03)
		assert.Equal(t, 2., m.Head.Forward(x).Max().Item())
		nn.SetTraining(m, false)
		assert.Zero(t, zeros(m.Head.Forward(x)))
		assert.Same(t, x, nn.Sequential{}.Forward(x))
	}))
	for range nn.Params(m) {
		t.Error("no parameters")
	}
}

func TestNew(t *testing.T) {
	before := settled.Count(torch.LiveTensors)
	err := torch.NoGrad(func(*torch.Scope) { nn.NewLinear(-1, 2) })
	assert.ErrorContains(t, err, "negative dimension")
	err = torch.NoGrad(func(*torch.Scope) { nn.NewMultiheadAttention(8, 3) })
	assert.EqualError(t, err, "torch: multihead_attention(): the width 8 is not a multiple of 3 heads")
	assert.Equal(t, before, torch.LiveTensors())
	torch.ManualSeed(1)
	state := torch.RNGState(torch.CPU)
	assert.True(t, nn.Parameter(3).RequiresGrad())
	assert.Equal(t, state, torch.RNGState(torch.CPU), "a Parameter draws nothing")
	assert.Equal(t, []float32{2, 2}, torch.ToSlice[float32](nn.Constant(2, 2)))
}
