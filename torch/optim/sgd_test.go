package optim

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestSGD holds five steps against torch.optim.SGD, bit by bit (testdata/nn/make_goldens.py).
func TestSGD(t *testing.T) {
	text, err := os.ReadFile("../../testdata/nn/sgd.json")
	require.NoError(t, err)
	var cases []struct {
		Options struct {
			LR, Momentum, Dampening float64
			Nesterov                bool
			WeightDecay             float64 `json:"weight_decay"`
		}
		W, B string
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	require.NotEmpty(t, cases)
	for _, c := range cases {
		o := c.Options
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			w, b, unused := parameter([]float32{1, -2, 3, 4}, 2, 2), parameter([]float32{0.5, -0.5}, 2), parameter([]float32{9}, 1)
			d := NewSGD([]Group{{Params: []Param{{"w", w}, {"unused", unused}}, WeightDecay: o.WeightDecay, LRScale: 0.5},
				{Params: []Param{{"b", b}}, WeightDecay: o.WeightDecay, LRScale: 0.5}},
				SGDOptions{LR: 7, Momentum: o.Momentum, Dampening: o.Dampening, Nesterov: o.Nesterov})
			d.SetLR(2 * o.LR)
			assert.Equal(t, 2*o.LR, d.LR())
			for step := range 5 {
				d.ZeroGrad()
				require.NoError(t, torch.Do(func(s *torch.Scope) {
					x := torch.FromSlice(s, []float32{float32(step) / 10, 1, 2, -1}, 2, 2)
					x.Linear(w, b).Pow(2).Mean().Backward()
				}))
				require.NoError(t, d.Step())
			}
			assert.Equal(t, c.W, hex.EncodeToString(torch.ToBytes(w)))
			assert.Equal(t, c.B, hex.EncodeToString(torch.ToBytes(b)))
			assert.Equal(t, []float32{9}, torch.ToSlice[float32](unused), "no gradient, no step, no decay")
			var names []string
			for name := range d.State() {
				names = append(names, name)
			}
			if o.Momentum == 0 {
				assert.Empty(t, names)
			} else {
				assert.Equal(t, []string{"momentum_buffer.w", "momentum_buffer.b"}, names)
			}
			assert.Len(t, d.Parameters(), 3)
		})
	}
}

// TestRefusals has optimisers refuse what their kernels would misread.
func TestRefusals(t *testing.T) {
	refused := func(f func()) string {
		err := torch.NoGrad(func(*torch.Scope) { f() })
		require.Error(t, err)
		return err.Error()
	}
	w := parameter([]float32{1, 2, 3, 4}, 2, 2)
	group := func(p *torch.Tensor) []Group { return []Group{{Params: []Param{{"w", p}}}} }
	assert.Equal(t, "torch: sgd(): Nesterov momentum requires a momentum and zero dampening",
		refused(func() { NewSGD(group(w), SGDOptions{Nesterov: true}) }))
	wide := torch.Ones(nil, torch.CPU, torch.Float32, 1).Expand(1000).Detach().SetRequiresGrad(true)
	for _, f := range []func(){func() { NewSGD(group(wide), SGDOptions{}) }, func() { NewAdamW(group(wide), AdamWOptions{}) }} {
		assert.Contains(t, refused(f), "the parameter w float32[1000] is not contiguous in memory")
	}
	nan := math.NaN()
	for want, f := range map[string]func(){
		"adamw(): LR -1: must be 0 or a positive number":             func() { NewAdamW(group(w), AdamWDefaults(-1)) },
		"adamw(): LR NaN: must be 0 or a positive number":            func() { NewAdamW(group(w), AdamWDefaults(nan)) },
		"adamw(): Beta2 1 is outside [0, 1)":                         func() { NewAdamW(group(w), AdamWOptions{LR: 1, Beta2: 1}) },
		"adamw(): Eps -1: must be 0 or a positive number":            func() { NewAdamW(group(w), AdamWOptions{LR: 1, Eps: -1}) },
		"adamw(): WeightDecay -0.1: must be 0 or a positive number":  func() { NewAdamW(OneGroup(func(func(string, *torch.Tensor) bool) {}, -0.1), AdamWDefaults(1)) },
		"adamw(): LRScale -2: must be a positive number, or 0 for 1": func() { NewAdamW([]Group{{LRScale: -2}}, AdamWDefaults(1)) },
		"sgd(): LR +Inf: must be 0 or a positive number":             func() { NewSGD(group(w), SGDOptions{LR: math.Inf(1)}) },
		"sgd(): Momentum NaN: must be 0 or a positive number":        func() { NewSGD(group(w), SGDOptions{Momentum: nan}) },
	} {
		assert.Equal(t, "torch: "+want, refused(f))
	}
	twice := []Group{{Params: []Param{{"w", w}}}, {Params: []Param{{"also", w}}}}
	assert.Equal(t, "torch: sgd(): the parameters w and also are one tensor; name it once", refused(func() { NewSGD(twice, SGDOptions{}) }))
	assert.Equal(t, "torch: adamw(): the parameters w and also are one tensor; name it once", refused(func() { NewAdamW(twice, AdamWOptions{}) }))
	a, d := NewAdamW(group(w), AdamWDefaults(1)), NewSGD(group(w), SGDOptions{LR: 1, Momentum: 0.9})
	backward := func() {
		a.ZeroGrad()
		require.NoError(t, torch.Do(func(s *torch.Scope) { s.Alias(w).Pow(2).Sum().Backward() }))
	}
	backward()
	require.NoError(t, a.Step())
	require.NoError(t, d.Step())
	w.Set(torch.Zeros(nil, torch.CPU, torch.Float32, 5))
	backward()
	assert.ErrorContains(t, a.Step(), "the parameter w was float32[2 2] when the optimiser was made and is float32[5]")
	assert.ErrorContains(t, d.Step(), "the parameter w was float32[2 2] when the optimiser was made and is float32[5]")
	assert.Contains(t, refused(func() { w.SetGrad(torch.Zeros(nil, torch.CPU, torch.Float32, 1)) }),
		"a gradient of the shape [1] does not fit a tensor of the shape [5]")
	before := settled.Count(torch.LiveTensors)
	a.Free()
	d.Free()
	assert.Equal(t, before-4, torch.LiveTensors(), "two moments, a number of steps and a velocity")
	assert.Empty(t, a.Parameters())
}
