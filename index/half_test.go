package index

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
)

// halfModel is an index's model that keeps its vectors in half precision.
func halfModel() Model {
	m := model
	m.Half = true
	return m
}

// TestHalf compares every score of an index in half precision with that of the rounded vector, with
// codes and without, before and after the index is compacted.
func TestHalf(t *testing.T) {
	const n = 1500
	dir := t.TempDir()
	at := filepath.Join(dir, DirName)
	image := func(i int) File { return imageFile(dir, i) }
	w, err := OpenWriter(at, halfModel())
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, w.Add(image(i), vector(i)))
	}
	require.NoError(t, w.Commit())
	require.ErrorContains(t, w.Add(image(n), append([]float32{1e6}, vector(n)[1:]...)), "half precision cannot hold")
	assert.FileExists(t, filepath.Join(at, "vectors-1.f16"))
	assert.NoFileExists(t, filepath.Join(at, "vectors-1.f32"))
	info, err := os.Stat(filepath.Join(at, "vectors-1.f16"))
	require.NoError(t, err)
	assert.EqualValues(t, headerSize+2*dim*n, info.Size())

	ix := opened(t, at)
	rng, gone := rand.New(rand.NewPCG(5, 6)), 0
	check := func() {
		t.Helper()
		require.NoError(t, ix.Verify(ctx))
		for _, k := range []int{5, 200} { // by the codes, and by every vector
			query := vector(rng.IntN(1 << 20))
			hits, err := ix.Search(ctx, query, k, Filter{})
			require.NoError(t, err)
			require.Len(t, hits[0], k)
			byPath := map[string]int{}
			for i := range n {
				byPath[image(i).Path] = i
			}
			scores := map[int]float64{}
			for i := range n {
				for j, x := range vector(i) {
					scores[i] += float64(float16.Fromfloat32(x).Float32()) * float64(query[j])
				}
			}
			found := map[int]bool{}
			for _, h := range hits[0] {
				i := byPath[h.Path]
				found[i] = true
				assert.InDelta(t, scores[i], h.Score, 1e-6)
			}
			for i := gone; i < n; i++ {
				if !found[i] {
					assert.LessOrEqual(t, scores[i], hits[0][k-1].Score+1e-6)
				}
			}
		}
	}
	check()
	row, ok, err := ix.Vector(ctx, image(3))
	require.NoError(t, err)
	require.True(t, ok)
	worst := 0.0
	for j, x := range vector(3) {
		worst = max(worst, math.Abs(float64(x-row[j])))
	}
	assert.Greater(t, worst, 0.0, "it is rounded")
	assert.Less(t, worst, 1.0/2048, "by half of the last of 11 bits of a number below 1")

	gone = 1200
	for i := range gone {
		require.NoError(t, w.Remove(image(i).Path))
	}
	require.NoError(t, w.Compact(ctx, true))
	assert.FileExists(t, filepath.Join(at, "vectors-2.f16"))
	assert.NoFileExists(t, filepath.Join(at, "vectors-1.f16"))
	check()
	require.NoError(t, w.Close())

	// Whoever opens the index for writing need not know how it keeps its vectors.
	plain := model
	w, err = OpenWriter(at, plain)
	require.NoError(t, err)
	require.NoError(t, w.Add(image(gone), vector(gone)))
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	check()
	require.NoError(t, Destroy(at))
	assert.NoFileExists(t, filepath.Join(at, "vectors-2.f16"))
}

// TestHalfSwitch changes how an index keeps its vectors by a switch, and back: a reader goes on.
func TestHalfSwitch(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, DirName)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	fill := func() {
		for i := range 50 {
			require.NoError(t, w.Add(imageFile(dir, i), vector(i)))
		}
	}
	fill()
	require.NoError(t, w.Commit())
	ix := opened(t, at)
	version := func() (v int) {
		require.NoError(t, w.db.QueryRow("PRAGMA user_version").Scan(&v))
		return v
	}
	assert.Equal(t, 3, version())
	for _, c := range []struct {
		to      Model
		version int
		file    string
	}{{halfModel(), 4, "vectors-2.f16"}, {model, 3, "vectors-3.f32"}} {
		require.NoError(t, w.BeginSwitch(c.to, true))
		fill()
		require.NoError(t, w.Switch(ctx, false))
		assert.Equal(t, c.version, version())
		assert.FileExists(t, filepath.Join(at, c.file))
		hits, err := ix.Search(ctx, vector(7), 1, Filter{})
		require.NoError(t, err)
		assert.Equal(t, imageFile(dir, 7).Path, hits[0][0].Path)
		assert.InDelta(t, 1, hits[0][0].Score, 1e-3)
	}
	require.NoError(t, w.Close())
}

// The images of an index stay turned upright, whatever a writer's model says of that.
func TestWriterKeepsOrient(t *testing.T) {
	at := filepath.Join(t.TempDir(), DirName)
	upright := model
	upright.Orient = true
	for _, m := range []Model{upright, model} {
		w, err := OpenWriter(at, m)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		info, err := opened(t, at).Info(ctx)
		require.NoError(t, err)
		assert.True(t, info.Model.Orient)
	}
}
