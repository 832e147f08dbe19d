package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goclip/goclip/index/faiss"
)

// Engine is what finds the nearest vectors: [Exact], [FAISS], or the address of a PostgreSQL with
// pgvector, postgres://USER@HOST/DATABASE.
//
// An engine other than Exact holds a copy of the first rows of vectors-N.f32, which stays the
// truth. It finds candidates; they are compared exactly, rows beyond the copy too, and dead ones
// are hidden. A crash can therefore leave a copy behind the vectors and never wrong, and a copy
// that is lost is rebuilt.
type Engine string

// Exact compares every vector with the query. FAISS looks into the lists nearest to it, in process
// and compiled in by a build tag ([faiss]).
const (
	Exact Engine = "exact"
	FAISS Engine = "faiss"
)

// ErrEngine is inside the error for an index whose vectors the engine was not given.
var ErrEngine = errors.New("an update with this engine gives it the vectors")

// Check refuses an engine that is none, or that this program does not have.
func (e Engine) Check() error {
	switch {
	case e == Exact, e.postgres():
		return nil
	case e != FAISS:
		return fmt.Errorf("the engine %q must be exact, faiss or postgres://HOST/DATABASE", string(e))
	case !faiss.Built:
		return faiss.ErrNotBuilt
	}
	return nil
}

func (e Engine) postgres() bool {
	return strings.HasPrefix(string(e), "postgres://") || strings.HasPrefix(string(e), "postgresql://")
}

const (
	nearCandidates = 100     // times as many as were asked for are compared exactly
	maxCandidates  = 4000    // but no more, unless more are asked for
	rowsAtOnce     = 1 << 15 // are given to an engine
	nearLeast      = 1000    // rows from which on a copy is of use, and that may wait until they are added to it
)

// near is an engine's copy of the first rows of a file of vectors.
type near interface {
	Rows() int
	// Search finds k rows near to each of the queries (Q, dim), (Q, k), the nearest first; -1 stands
	// for none. permitted has a bit for each row to search, nil for all; an engine may find
	// others as well.
	Search(ctx context.Context, queries []float32, k int, permitted []byte) ([]int64, error)
	Close()
}

// UpdateEngine makes the engine's copy of the vectors, or adds to it the rows that have come
// meanwhile if they are many, and reports whether it did. What was not committed is not in it.
func (w *Writer) UpdateEngine(ctx context.Context, e Engine) (changed bool, err error) {
	if err := e.Check(); err != nil || e == Exact || w.state.rows < nearLeast {
		return false, err
	}
	m, err := mapRows(w.dir, w.state)
	if err != nil {
		return false, err
	}
	defer m.free()
	if e == FAISS {
		return w.updateFAISS(ctx, m)
	}
	return w.updatePostgres(ctx, e, m)
}

// OpenWith is Open for searching with an engine. It fails where the index has many images and the
// engine no copy of them.
func OpenWith(dir string, e Engine) (*Index, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	return open(dir, e)
}

// openNear opens the engine's copy of a state's vectors; nil for the exact search, and where there
// are too few.
func openNear(dir string, e Engine, st state) (near, error) {
	switch {
	case e == Exact || st.rows < nearLeast:
		return nil, nil
	case e == FAISS:
		return openFAISS(dir, st)
	default:
		return openPostgres(dir, e, st)
	}
}

// searchNear is search by an engine: its candidates are compared exactly, and so are the rows that
// it does not have yet.
func (m *mapping) searchNear(ctx context.Context, x near, queries []float32, k int, allowed, dead []int64) ([][]found, error) {
	rows := x.Rows()
	wanted := min(rows, max(k, min(nearCandidates*k, maxCandidates)))
	mask := permitted(rows, allowed, dead)
	candidates, err := x.Search(ctx, queries, wanted, mask)
	if err != nil {
		return nil, err
	}
	best := make([][]found, len(queries)/m.dim)
	if rows < m.n {
		if best, err = m.search(ctx, queries, k, allowed, dead, rows); err != nil {
			return nil, err
		}
	}
	for q := range best {
		list := slices.DeleteFunc(candidates[q*wanted:(q+1)*wanted], func(row int64) bool {
			return row < 0 || row >= int64(rows) || !has(mask, row)
		})
		if len(list) < k { // as with a filter that the engine does not know
			return m.search(ctx, queries, k, allowed, dead, 0)
		}
		best[q] = top(append(best[q], m.exact(queries[q*m.dim:(q+1)*m.dim], list)...), k)
	}
	return best, nil
}
