package tower

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestGroups holds the groups against the best of all ways to cut a few lengths.
func TestGroups(t *testing.T) {
	cost := func(r lengthGroups) (cost int) {
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
			var r lengthGroups
			for i, n := range lengths {
				if i == 0 || cuts>>(i-1)&1 == 1 {
					r = append(r, alike{})
				}
				r[len(r)-1] = alike{r[len(r)-1].texts + 1, n}
			}
			best = min(best, cost(r))
		}
		assert.Equal(t, best, cost(groupLengths(lengths)), lengths)
	}
	assert.Equal(t, lengthGroups{{1, 5}}, groupLengths([]int{5}))
	assert.Equal(t, lengthGroups{{8, 9}, {1, 77}}, groupLengths([]int{6, 7, 7, 8, 8, 9, 9, 9, 77}))
}
