package evaluate

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
