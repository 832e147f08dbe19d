package train

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// TestLinearProbe holds weights and accuracy against PyTorch's (testdata/probe/make_goldens.py).
func TestLinearProbe(t *testing.T) {
	data, err := os.ReadFile("../testdata/probe/goldens.json")
	require.NoError(t, err)
	var g struct {
		Features []float32
		Classes  []int
		Fits     []struct {
			WeightDecay  float64 `json:"weight_decay"`
			Weight, Bias []float32
			Top1, Recall float64
		}
	}
	require.NoError(t, json.Unmarshal(data, &g))
	set := Labelled{Features: g.Features, Classes: g.Classes}
	for _, fit := range g.Fits {
		o := ProbeOptions{LR: 0.1, Epochs: 10, BatchSize: 64, WeightDecay: fit.WeightDecay, Seed: 3}
		weight, bias, err := fitProbe(set, 3, o)
		require.NoError(t, err)
		assert.InDeltaSlice(t, fit.Weight, torch.ToSlice[float32](weight.Detach()), 1e-5)
		assert.InDeltaSlice(t, fit.Bias, torch.ToSlice[float32](bias.Detach()), 1e-5)
		r, err := LinearProbe(set, set, 3, ProbeOptions{WeightDecay: fit.WeightDecay})
		require.NoError(t, err)
		assert.InDelta(t, fit.Top1, r.Top1, 1e-6)
		assert.InDelta(t, 1, r.Top5, 1e-9, "of three classes")
		assert.InDelta(t, fit.Recall, r.MeanPerClass, 1e-6)
	}
}

// TestLinearProbeChoosesDecay separates classes that a line can part, and finds a decay that lets
// it.
func TestLinearProbeChoosesDecay(t *testing.T) {
	random := rand.New(rand.NewPCG(0, 0))
	draw := func(n int) (set Labelled) {
		for i := range n {
			class := i % 6
			for j := range 8 {
				x := 0.3 * random.NormFloat64()
				if j == class {
					x++
				}
				set.Features = append(set.Features, float32(x))
			}
			set.Classes = append(set.Classes, class)
		}
		return set
	}
	training, test := draw(120), draw(60)
	r, err := LinearProbe(training, test, 6, ProbeOptions{WeightDecay: -1, BatchSize: 32})
	require.NoError(t, err)
	assert.Greater(t, r.Top1, 0.85)
	assert.GreaterOrEqual(t, r.Top5, r.Top1)
	assert.Less(t, r.WeightDecay, 100.0)
	again, err := LinearProbe(training, test, 6, ProbeOptions{WeightDecay: -1, BatchSize: 32})
	require.NoError(t, err)
	assert.Equal(t, r, again)
	_, err = LinearProbe(Labelled{}, test, 6, ProbeOptions{})
	assert.ErrorContains(t, err, "are no features of")
	_, err = LinearProbe(draw(3), test, 6, ProbeOptions{WeightDecay: -1})
	assert.ErrorContains(t, err, "none can be held out")
}
