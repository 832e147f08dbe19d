package index

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/goclip/goclip/index/scan"
	"github.com/goclip/goclip/torch"
)

// blockBytes is how much of a file is compared with all queries of a search before the next part
// is: it stays in a processor's cache meanwhile.
const blockBytes = 1 << 20

// found is a vector and its score.
type found struct {
	slot  int64
	score float32
}

// search is the exact search for queries (Q, dim) in the rows from first on: for each the k best,
// the best first. Where the rows have codes, most are excluded by them.
func (m *mapping) search(ctx context.Context, queries []float32, k int, allowed, dead []int64, first int) ([][]found, error) {
	best := make([]ranking, len(queries)/m.dim)
	for q := range best {
		best[q] = ranking{k: k, query: queries[q*m.dim : (q+1)*m.dim]}
		best[q].least.Store(math.Float64bits(math.Inf(-1)))
	}
	var err error
	switch {
	case allowed != nil && len(allowed) < m.n/8: // the pages of others are not touched
		err = m.searchSome(ctx, best, between(allowed, first, m.n-first))
	case m.codes == nil || k > m.n/64:
		err = m.searchAll(ctx, best, permitted(m.n, allowed, dead), first)
	default:
		err = m.searchCodes(ctx, best, permitted(m.n, allowed, dead), first)
	}
	if err != nil {
		return nil, err
	}
	out := make([][]found, len(best))
	for q := range best {
		out[q] = top(best[q].list, k)
	}
	return out, nil
}

// searchAll compares every row.
func (m *mapping) searchAll(ctx context.Context, best []ranking, permitted []byte, first int) error {
	return m.inBlocks(ctx, first, 4*m.dim, func(from, n int) {
		scores, rows := make([]float32, n), m.span(from, n)
		for q := range best {
			b := &best[q]
			scan.Dots(scores, b.query, rows, nil)
			var list []found
			least := float32(b.bound())
			for i, score := range scores {
				if slot := int64(from + i); !(score < least) && has(permitted, slot) {
					list = append(list, found{slot, score})
				}
			}
			b.add(list)
		}
	})
}

// searchSome compares the rows of ascending slots.
func (m *mapping) searchSome(ctx context.Context, best []ranking, slots []int64) error {
	const each = 1024
	return inParallel(ctx, (len(slots)+each-1)/each, func(i int) {
		part := slots[i*each : min((i+1)*each, len(slots))]
		for q := range best {
			best[q].add(m.exact(best[q].query, part))
		}
	})
}

// searchCodes compares the rows that their codes do not exclude.
func (m *mapping) searchCodes(ctx context.Context, best []ranking, permitted []byte, first int) error {
	size := scan.Size(m.dim)
	coded := make([]*scan.Query, len(best))
	for q := range best {
		coded[q] = scan.NewQuery(best[q].query)
	}
	type room struct {
		at     []uint32
		bounds []float64
	}
	most := max(1, blockBytes/size) // of a block
	rooms := sync.Pool{New: func() any { return &room{make([]uint32, most), make([]float64, most)} }}
	return m.inBlocks(ctx, first, size, func(from, n int) {
		r := rooms.Get().(*room)
		defer rooms.Put(r)
		at, bounds := r.at[:n], r.bounds[:n]
		part := m.codes[headerSize+from*size : headerSize+(from+n)*size]
		for q := range best {
			b := &best[q]
			count := coded[q].Bounds(part, b.bound(), at, bounds)
			list := make([]candidate, 0, count)
			for i, a := range at[:count] {
				if slot := int64(from) + int64(a); has(permitted, slot) {
					list = append(list, candidate{slot, bounds[i]})
				}
			}
			if len(list) > 4*b.k { // the best of them make the bound under which most of the others are
				slices.SortFunc(list, func(x, y candidate) int { return cmp.Compare(y.bound, x.bound) })
				b.add(m.exact(b.query, slotsOf(list[:b.k])))
				list = list[b.k:]
				least := b.bound()
				rest, _ := slices.BinarySearchFunc(list, least, func(c candidate, least float64) int {
					if c.bound < least {
						return 1
					}
					return -1
				})
				list = list[:rest]
			}
			b.add(m.exact(b.query, slotsOf(list)))
		}
	})
}

// candidate is a row and the upper bound of its score.
type candidate struct {
	slot  int64
	bound float64
}

func slotsOf(list []candidate) []int64 {
	slots := make([]int64, len(list))
	for i, c := range list {
		slots[i] = c.slot
	}
	return slots
}

// exact scores rows.
func (m *mapping) exact(query []float32, slots []int64) []found {
	scores := make([]float32, len(slots))
	if m.half {
		rows := make([]float32, 0, len(slots)*m.dim)
		for _, slot := range slots {
			rows = append(rows, m.row(int(slot))...)
		}
		scan.Dots(scores, query, rows, nil)
	} else {
		at := make([]uint32, len(slots)) // maxRows fits
		for i, slot := range slots {
			at[i] = uint32(slot)
		}
		scan.Dots(scores, query, m.rows, at)
	}
	list := make([]found, len(slots))
	for i, slot := range slots {
		list[i] = found{slot, scores[i]}
	}
	return list
}

// inBlocks runs f for the rows from first on, by parts of blockBytes.
func (m *mapping) inBlocks(ctx context.Context, first, rowSize int, f func(from, n int)) error {
	each := max(1, blockBytes/rowSize)
	return inParallel(ctx, (m.n-first+each-1)/each, func(i int) {
		from := first + i*each
		f(from, min(each, m.n-from))
	})
}

// inParallel runs f for [0, n) in as many goroutines as libtorch's kernels have threads.
func inParallel(ctx context.Context, n int, f func(i int)) error {
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(n, torch.NumThreads()) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	group.Wait()
	return ctx.Err()
}

// ranking has the k best of the rows that were compared, from any goroutine.
type ranking struct {
	k     int
	query []float32
	least atomic.Uint64 // a score that k rows have, as float64, from which on a row may be among the best
	mu    sync.Mutex
	list  []found
}

func (r *ranking) bound() float64 { return math.Float64frombits(r.least.Load()) }

func (r *ranking) add(list []found) {
	if len(list) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, list...)
	if len(r.list) >= r.k && (len(r.list) >= 2*r.k || math.IsInf(r.bound(), -1)) || r.k < 64 && len(r.list) >= r.k {
		r.list = top(r.list, r.k)
		r.least.Store(math.Float64bits(float64(r.list[r.k-1].score)))
	}
}

// top sorts by score, NaN first so that it is found out, and keeps k.
func top(list []found, k int) []found {
	slices.SortFunc(list, func(a, b found) int {
		if an, bn := a.score != a.score, b.score != b.score; an != bn {
			if an {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.slot, b.slot))
	})
	return list[:min(k, len(list))]
}

// between is the part of an ascending list in [from, from+n).
func between(list []int64, from, n int) []int64 {
	a, _ := slices.BinarySearch(list, int64(from))
	b, _ := slices.BinarySearch(list, int64(from+n))
	return list[a:b]
}

// permitted has a bit for each of the rows that may be found; nil if all may.
func permitted(rows int, allowed, dead []int64) []byte {
	if allowed == nil && len(dead) == 0 {
		return nil
	}
	bits := make([]byte, (rows+7)/8)
	if allowed != nil {
		for _, slot := range between(allowed, 0, rows) {
			bits[slot/8] |= 1 << (slot % 8)
		}
		return bits
	}
	for i := range bits {
		bits[i] = 0xff
	}
	for _, slot := range between(dead, 0, rows) {
		bits[slot/8] &^= 1 << (slot % 8)
	}
	return bits
}

// has reports whether a row is permitted.
func has(permitted []byte, slot int64) bool {
	return permitted == nil || permitted[slot/8]>>(slot%8)&1 == 1
}
