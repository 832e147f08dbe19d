package evaluate

import (
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

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
	r, err := LinearProbe(training, test, ProbeOptions{WeightDecay: -1, BatchSize: 32})
	require.NoError(t, err)
	assert.Greater(t, r.Top1, 0.85)
	assert.GreaterOrEqual(t, r.Top5, r.Top1)
	assert.Less(t, r.WeightDecay, 100.0)
	again, err := LinearProbe(training, test, ProbeOptions{WeightDecay: -1, BatchSize: 32})
	require.NoError(t, err)
	assert.Equal(t, r, again)
	_, err = LinearProbe(Labelled{}, test, ProbeOptions{})
	assert.ErrorContains(t, err, "are no features of")
	_, err = LinearProbe(draw(4), draw(3), ProbeOptions{WeightDecay: -1})
	assert.ErrorContains(t, err, "none can be held out")
}

// TestLinearProbeLeavesNothing: of the many layers that choosing the weight decay fits, none waits for
// the collector.
func TestLinearProbeLeavesNothing(t *testing.T) {
	set := Labelled{Features: []float32{1, 0, 0, 1, 1, 1, 0, 0, 2, 0, 0, 2, 2, 2, 3, 0, 0, 3, 3, 1}, Classes: []int{0, 1, 0, 1, 0, 1, 0, 1, 0, 1}}
	before := settled.Count(torch.LiveTensors)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	_, err := LinearProbe(set, set, ProbeOptions{Epochs: 1, WeightDecay: -1})
	require.NoError(t, err)
	assert.Equal(t, before, torch.LiveTensors())
}
