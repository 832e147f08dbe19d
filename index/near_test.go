package index

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/index/faiss"
)

// TestEngine refuses what is no engine, and what this program was built without.
func TestEngine(t *testing.T) {
	require.ErrorContains(t, Engine("qdrant").Check(), "must be exact, faiss or postgres://HOST/DATABASE")
	require.NoError(t, Exact.Check())
	if !faiss.Built {
		_, err := OpenWith(filled(t, t.TempDir(), 3), FAISS)
		require.ErrorIs(t, err, faiss.ErrNotBuilt)
	}
}

// planted is an engine that has the first rows and finds the last of those that it may.
type planted struct {
	rows     int
	heedless bool // of what is permitted
}

func (p planted) Rows() int { return p.rows }
func (p planted) Close()    {}
func (p planted) Search(_ context.Context, queries []float32, k int, permitted []byte) (found []int64, err error) {
	for range len(queries) / dim {
		n := 0
		for row := int64(p.rows); row >= 0 && n < k; row-- { // the first of which it does not have
			if p.heedless || row < int64(p.rows) && has(permitted, row) {
				found = append(found, row)
				n++
			}
		}
		for ; n < k; n++ {
			found = append(found, -1)
		}
	}
	return found, nil
}

// TestSearchNear compares what any engine finds with the exact search.
func TestSearchNear(t *testing.T) {
	at := filled(t, t.TempDir(), 300)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	m, err := mapRows(at, w.state)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	defer m.free()
	queries := slices.Concat(vector(7), vector(299), vector(1000))
	some := []int64{3, 7, 8, 15, 16, 40, 260, 299}
	for _, c := range []struct {
		x             planted
		k             int
		allowed, dead []int64
	}{
		{planted{300, false}, 5, nil, nil}, {planted{300, true}, 5, nil, nil}, {planted{250, false}, 5, nil, nil}, {planted{250, false}, 3, nil, some}, {planted{250, true}, 3, nil, some},
		{planted{300, false}, 3, some, nil}, {planted{250, true}, 3, some, nil}, {planted{250, false}, 290, nil, nil}, {planted{2, false}, 1, nil, []int64{0, 1}}, {planted{250, false}, 8, some, nil},
	} {
		want, err := m.search(ctx, queries, c.k, c.allowed, c.dead, 0)
		require.NoError(t, err)
		got, err := m.searchNear(ctx, c.x, queries, c.k, c.allowed, c.dead)
		require.NoError(t, err)
		assert.Equal(t, want, got, "%+v", c)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = m.searchNear(ended, planted{250, false}, queries, 1, nil, nil)
	assert.ErrorIs(t, err, context.Canceled)
}

// TestNear compares the engines with the exact search while an index changes: FAISS with -tags
// faiss, and the PostgreSQL at the address GOCLIP_POSTGRES (make test-engines).
func TestNear(t *testing.T) {
	t.Run("faiss", func(t *testing.T) {
		if !faiss.Built {
			t.Skip("without -tags faiss FAISS is not tested")
		}
		testNear(t, FAISS)
	})
	t.Run("postgres", func(t *testing.T) {
		if os.Getenv("GOCLIP_POSTGRES") == "" {
			t.Skip("without GOCLIP_POSTGRES pgvector is not tested")
		}
		testNear(t, Engine(os.Getenv("GOCLIP_POSTGRES")))
	})
}

func testNear(t *testing.T, engine Engine) {
	dir := t.TempDir()
	const n = 6000
	at := filled(t, dir, n)
	write := func(f func(w *Writer)) (changed bool) {
		t.Helper()
		w, err := OpenWriter(at, model)
		require.NoError(t, err)
		defer func() { require.NoError(t, w.Close()) }()
		f(w)
		require.NoError(t, w.Commit())
		changed, err = w.UpdateEngine(ctx, engine)
		require.NoError(t, err)
		return changed
	}
	paths := func(e Engine, query int, f Filter) (list []string, scores []float64) {
		t.Helper()
		ix, err := OpenWith(at, e)
		require.NoError(t, err)
		defer ix.Close()
		hits, err := ix.Search(ctx, vector(query), 10, f)
		require.NoError(t, err)
		for _, h := range hits[0] {
			list, scores = append(list, h.Path), append(scores, h.Score)
		}
		return list, scores
	}
	compare := func(f Filter) {
		t.Helper()
		hit, all := 0, 0
		for query := 100_000; query < 100_050; query++ {
			want, wantScores := paths(Exact, query, f)
			got, gotScores := paths(engine, query, f)
			require.Len(t, got, len(want))
			assert.True(t, slices.IsSortedFunc(gotScores, func(a, b float64) int { return int(1e9 * (b - a)) }))
			for i, p := range want {
				all++
				if at := slices.Index(got, p); at >= 0 {
					hit++
					assert.InDelta(t, wantScores[i], gotScores[at], 1e-6, "scores are exact")
				}
			}
		}
		assert.GreaterOrEqual(t, float64(hit)/float64(all), 0.95)
	}

	_, err := OpenWith(at, engine)
	require.ErrorIs(t, err, ErrEngine)
	assert.True(t, write(func(*Writer) {}))
	assert.False(t, write(func(*Writer) {}), "nothing is new")
	compare(Filter{})
	compare(Filter{MinSize: 1000 + n/2})
	compare(Filter{MinSize: 1000 + n - 50}) // so few that they are compared exactly

	nearest, _ := paths(engine, 7, Filter{})
	require.Equal(t, filepath.Join(dir, "7.png"), filepath.Clean(nearest[0]))
	assert.False(t, write(func(w *Writer) {
		require.NoError(t, w.Remove(imageFile(dir, 7).Path))
		require.NoError(t, w.Add(imageFile(dir, n), vector(n))) // a row that FAISS does not have
	}), "few are new")
	nearest, _ = paths(engine, 7, Filter{})
	assert.NotEqual(t, filepath.Join(dir, "7.png"), filepath.Clean(nearest[0]), "removed")
	nearest, _ = paths(engine, n, Filter{})
	assert.Equal(t, filepath.Join(dir, "6000.png"), filepath.Clean(nearest[0]), "added")
	compare(Filter{})

	assert.True(t, write(func(w *Writer) {
		for i := n + 1; i < n+1500; i++ {
			require.NoError(t, w.Add(imageFile(dir, i), vector(i)))
		}
	}), "many are new")
	ix, err := OpenWith(at, engine)
	require.NoError(t, err)
	assert.Equal(t, n+1500, ix.mapped.near.Rows())
	require.NoError(t, ix.Close())
	compare(Filter{})

	assert.True(t, write(func(w *Writer) { require.NoError(t, w.Compact(ctx, true)) }), "another file of vectors, another copy")
	compare(Filter{})
	if engine != FAISS {
		return
	}
	assert.NoFileExists(t, nearPath(at, 1))

	// A file that is damaged, or that a crash left half-written under its temporary name.
	require.NoError(t, os.Truncate(nearPath(at, 2), 1000))
	require.NoError(t, os.WriteFile(filepath.Join(at, ".near.tmp"), nil, 0o644))
	_, err = OpenWith(at, FAISS)
	require.ErrorContains(t, err, "there is no file of FAISS's that is whole")
	require.ErrorIs(t, err, ErrEngine)
	assert.True(t, write(func(*Writer) {}), "is rebuilt")
	assert.NoFileExists(t, filepath.Join(at, ".near.tmp"))
	compare(Filter{})

	// What Destroy may leave when it is stopped belongs to no later index.
	stale, err := os.ReadFile(nearPath(at, 2))
	require.NoError(t, err)
	require.NoError(t, Destroy(at))
	assert.NoFileExists(t, nearPath(at, 2))
	require.NoError(t, os.WriteFile(nearPath(at, 1), stale, 0o644))
	filled(t, dir, 3)
	assert.NoFileExists(t, nearPath(at, 1))
	nearest, _ = paths(engine, 2, Filter{})
	assert.Equal(t, filepath.Join(dir, "2.png"), filepath.Clean(nearest[0]), "too few for lists")
}
