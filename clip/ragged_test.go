package clip

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// TestGroups holds the groups against the best of all ways to cut a few lengths.
func TestGroups(t *testing.T) {
	cost := func(r ragged) (cost int) {
		for _, g := range r {
			cost += g.texts*g.tokens + groupCost
		}
		return cost
	}
	draw := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		lengths := make([]int, 1+draw.IntN(9))
		for i := range lengths {
			lengths[i] = 1 + draw.IntN(77)
		}
		slices.Sort(lengths)
		best := 1 << 30
		for cuts := range 1 << (len(lengths) - 1) { // bit i: a group ends behind text i
			var r ragged
			for i, n := range lengths {
				if i == 0 || cuts>>(i-1)&1 == 1 {
					r = append(r, alike{})
				}
				r[len(r)-1] = alike{r[len(r)-1].texts + 1, n}
			}
			best = min(best, cost(r))
		}
		assert.Equal(t, best, cost(groups(lengths)), lengths)
	}
	assert.Equal(t, ragged{{1, 5}}, groups([]int{5}))
	assert.Equal(t, ragged{{8, 9}, {1, 77}}, groups([]int{6, 7, 7, 8, 8, 9, 9, 9, 77}))
}

// TestTextsDoNotMix encodes texts of several lengths together and one by one. That the features and gradients are
// open_clip's is TestParity.
func TestTextsDoNotMix(t *testing.T) {
	m, tokens := textModel(t, 1, 40, 2, 41, 2, 47, 20)
	const n, length = 7, 48
	require.Len(t, slices.Compact(m.TextLengths(tokens, torch.Float32)), 3, "groups")
	together, err := m.TextFeatures(tokens, n)
	require.NoError(t, err)
	for i := range n {
		alone, err := m.TextFeatures(tokens[i*length:(i+1)*length], 1)
		require.NoError(t, err)
		assert.InDeltaSlice(t, alone, together[i*16:(i+1)*16], 1e-6, i)
	}
}
