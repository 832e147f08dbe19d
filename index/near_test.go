package index

import (
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
