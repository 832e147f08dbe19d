package index

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/goclip/goclip/torch"
)

var (
	opGe      = torch.NewOp("aten::ge.Scalar")
	opNonzero = torch.NewOp("aten::nonzero")
)

// maxPairs bounds what Duplicates remembers. An index with more is mostly one image.
const maxPairs = 1 << 24

// Duplicates finds groups of images that are alike: each has a cosine of at least least, in (0,
// 1], with another of its group. The largest file is a group's first, and Score is the cosine with
// it, which may be less than least at the end of a chain. Groups are in the order of indexing. The
// time grows with the square of the images.
func (ix *Index) Duplicates(ctx context.Context, least float64, f Filter) (groups [][]Hit, err error) {
	if !(least > 0 && least <= 1) {
		return nil, fmt.Errorf("duplicates with a cosine of %g: must be above 0 and at most 1", least)
	}
	err = ix.read(ctx, func(tx *sql.Tx, st state, m *mapping) error {
		groups = nil
		live, err := f.slots(ctx, tx, ix.dir, ix.root, st)
		if live == nil && err == nil {
			live, err = slots(ctx, tx, ix.dir, st.rows, "SELECT slot FROM pictures ORDER BY slot")
		}
		if err != nil {
			return err
		}
		u := union{}
		if err := ix.inTurn(ctx, func() error { return m.alike(ctx, live, least, u) }); err != nil {
			return err
		}
		for _, members := range u.groups() {
			list := make([]found, len(members))
			for i, slot := range members {
				list[i].slot = slot
			}
			hits, err := ix.hits(ctx, tx, st, m, list)
			if err != nil {
				return err
			}
			groups = append(groups, m.ordered(hits, members))
		}
		return nil
	})
	return groups, err
}

// alike joins in u the vectors whose cosine is at least least: blocks of the upper triangle.
func (m *mapping) alike(ctx context.Context, live []int64, least float64, u union) error {
	const height, width = 1 << 10, 1 << 13
	pairs := 0
	for from := 0; from < len(live); from += height {
		rows := live[from:min(from+height, len(live))]
		for right := from; right < len(live); right += width {
			if err := ctx.Err(); err != nil {
				return err
			}
			columns := live[right:min(right+width, len(live))]
			err := torch.NoGrad(func(s *torch.Scope) {
				x, y := m.tensor(s, rows), m.tensor(s, columns)
				near := torch.ToSlice[int64](opNonzero.Call(opGe.Call(x.MatMul(y.T()), least)))
				for i := 0; i < len(near) && pairs <= maxPairs; i += 2 {
					if a, b := rows[near[i]], columns[near[i+1]]; a < b {
						u.join(a, b)
						pairs++
					}
				}
			})
			if err != nil {
				return err
			}
			if pairs > maxPairs {
				return fmt.Errorf("more than %d pairs of images have a cosine of %g: raise the threshold", maxPairs, least)
			}
		}
	}
	return nil
}

// ordered puts the largest file first and scores the others by it.
func (m *mapping) ordered(hits []Hit, slots []int64) []Hit {
	first := 0
	for i, h := range hits {
		if h.Size > hits[first].Size {
			first = i
		}
	}
	a := m.row(int(slots[first]))
	for i := range hits {
		b := m.row(int(slots[i]))
		hits[i].Score = 0
		for j := range a {
			hits[i].Score += float64(a[j]) * float64(b[j])
		}
	}
	front := hits[first]
	return append([]Hit{front}, slices.Delete(hits, first, first+1)...)
}

// union is a forest: what it maps to is nearer to the root, and a root maps to itself.
type union map[int64]int64

func (u union) root(x int64) int64 {
	at, ok := u[x]
	if !ok {
		u[x] = x
		return x
	}
	if at != x {
		at = u.root(at)
		u[x] = at
	}
	return at
}

// join makes the smaller root that of both, so that the first of a group is its root.
func (u union) join(a, b int64) {
	a, b = u.root(a), u.root(b)
	u[max(a, b)] = min(a, b)
}

// groups are the trees, each ascending, by their first.
func (u union) groups() [][]int64 {
	members := map[int64][]int64{}
	for x := range u {
		root := u.root(x)
		members[root] = append(members[root], x)
	}
	var list [][]int64
	for _, g := range members {
		slices.Sort(g)
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b []int64) int { return int(a[0] - b[0]) })
	return list
}
