package index

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

const (
	clusterRounds = 50      // at most; most end sooner
	clusterSeeds  = 1 << 13 // rows that the first centres are drawn from
	clusterBlock  = 1 << 13 // rows that are compared with the centres at a time
)

// Clusters parts the images that pass the filter into at most k groups of images that are alike, by
// spherical k-means (Dhillon and Modha, 2001) from centres that k-means++ draws by seed (Arthur and
// Vassilvitskii, 2007). The largest group is the first; in a group the image nearest to its centre
// is, and Score is the cosine with the centre. Groups without an image are left out.
func (ix *Index) Clusters(ctx context.Context, k int, seed uint64, f Filter) (groups [][]Hit, err error) {
	if k < 1 || k > maxPairs {
		return nil, fmt.Errorf("%d clusters: must be between 1 and %d", k, maxPairs)
	}
	err = ix.read(ctx, func(tx *sql.Tx, st state, m *mapping) error {
		groups = nil
		live, err := f.slots(ctx, tx, ix.dir, ix.root, st)
		if live == nil && err == nil {
			live, err = slots(ctx, tx, ix.dir, st.rows, "SELECT slot FROM pictures ORDER BY slot")
		}
		if err != nil || len(live) == 0 {
			return err
		}
		var members [][]found
		err = ix.inTurn(ctx, func() (err error) {
			members, err = m.clusters(ctx, live, min(k, len(live)), rand.New(rand.NewPCG(seed, 0)))
			return err
		})
		if err != nil {
			return err
		}
		for _, list := range members {
			hits, err := ix.hits(ctx, tx, st, m, list)
			if err != nil {
				return err
			}
			groups = append(groups, hits)
		}
		return nil
	})
	return groups, err
}

// clusters are the members of each group with their cosines, in the order that Clusters gives.
func (m *mapping) clusters(ctx context.Context, live []int64, k int, rng *rand.Rand) ([][]found, error) {
	centres := m.firstCentres(live, k, rng)
	of := make([]int64, len(live)) // which centre
	cosines := make([]float32, len(live))
	for range clusterRounds {
		moved, err := m.assign(ctx, live, centres, of, cosines)
		if err != nil {
			return nil, err
		}
		if moved == 0 {
			break
		}
		sums := make([][]float64, k)
		for i, slot := range live {
			c := of[i]
			if sums[c] == nil {
				sums[c] = make([]float64, m.dim)
			}
			for j, x := range m.row(int(slot)) {
				sums[c][j] += float64(x)
			}
		}
		for c, sum := range sums {
			if sum != nil {
				centres[c] = clip.Normalized(sum)
			}
		}
	}
	groups := make([][]found, k)
	for i, slot := range live {
		groups[of[i]] = append(groups[of[i]], found{slot, cosines[i]})
	}
	groups = slices.DeleteFunc(groups, func(g []found) bool { return len(g) == 0 })
	for i, g := range groups {
		groups[i] = top(g, len(g))
	}
	slices.SortStableFunc(groups, func(a, b []found) int { return cmp.Compare(len(b), len(a)) })
	return groups, nil
}

// firstCentres are rows, each drawn in proportion to its squared distance from those drawn before.
func (m *mapping) firstCentres(live []int64, k int, rng *rand.Rand) [][]float32 {
	seeds := live
	if n := max(clusterSeeds, k); len(seeds) > n {
		seeds = make([]int64, n)
		for i := range seeds {
			seeds[i] = live[i*len(live)/n]
		}
	}
	away := make([]float64, len(seeds)) // squared distance from the nearest centre
	for i := range away {
		away[i] = 1
	}
	var centres [][]float32
	for len(centres) < k {
		sum := 0.0
		for _, d := range away {
			sum += d
		}
		at, rest := 0, rng.Float64()*sum
		for at < len(away)-1 && rest >= away[at] {
			rest -= away[at]
			at++
		}
		centre := slices.Clone(m.row(int(seeds[at])))
		centres = append(centres, centre)
		for i, slot := range seeds {
			d := max(0, 2-2*clip.Cosine(centre, m.row(int(slot))))
			if len(centres) == 1 || d < away[i] {
				away[i] = d
			}
		}
	}
	return centres
}

// assign finds the nearest centre of each row and tells how many rows have another than before.
func (m *mapping) assign(ctx context.Context, live []int64, centres [][]float32, of []int64, cosines []float32) (moved int, err error) {
	for from := 0; from < len(live); from += clusterBlock {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		part := live[from:min(from+clusterBlock, len(live))]
		err := torch.NoGrad(func(s *torch.Scope) {
			c := torch.FromSlice(s, slices.Concat(centres...), len(centres), m.dim)
			values, at := m.tensor(s, part).MatMul(c.T()).TopK(1, 1, true) // (rows, 1) each
			for i, nearest := range torch.ToSlice[int64](at) {
				if of[from+i] != nearest || cosines[from+i] == 0 {
					of[from+i] = nearest
					moved++
				}
			}
			copy(cosines[from:], torch.ToSlice[float32](values))
		})
		if err != nil {
			return 0, err
		}
	}
	return moved, nil
}
