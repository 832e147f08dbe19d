package index

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

const dim = 24

var (
	ctx   = context.Background()
	model = Model{Name: "one", EmbedDim: dim, Weights: "aa", Transform: "bb"}
)

// vector is the L2-normalised vector of a number, the same each time.
func vector(n int) []float32 {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	row, norm := make([]float32, dim), 0.0
	for i := range row {
		row[i] = float32(rng.NormFloat64())
		norm += float64(row[i]) * float64(row[i])
	}
	for i := range row {
		row[i] /= float32(math.Sqrt(norm))
	}
	return row
}

func imageFile(dir string, n int) File {
	return File{Path: filepath.Join(dir, fmt.Sprintf("%d.png", n)), Size: int64(1000 + n), ModTime: time.Unix(int64(1_000_000+n), 5)}
}

// filled is an index in dir/.goclip of the images [0, n).
func filled(t testing.TB, dir string, n int) string {
	t.Helper()
	at := filepath.Join(dir, DirName)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, w.Add(imageFile(dir, i), vector(i)))
	}
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	return at
}

func opened(t testing.TB, at string) *Index {
	t.Helper()
	ix, err := Open(at)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ix.Close()) })
	return ix
}

// best are the paths of the k nearest of the images, by computing all.
func best(dir string, query []float32, k int, pictures []int) (paths []string) {
	score := func(n int) (s float64) {
		for i, x := range vector(n) {
			s += float64(x) * float64(query[i])
		}
		return s
	}
	list := slices.Clone(pictures)
	slices.SortFunc(list, func(a, b int) int {
		if score(a) > score(b) {
			return -1
		}
		return 1
	})
	for _, n := range list[:min(k, len(list))] {
		paths = append(paths, imageFile(dir, n).Path)
	}
	return paths
}

func paths(hits []Hit) (list []string) {
	for _, h := range hits {
		list = append(list, h.Path)
	}
	return list
}

func upTo(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

func TestSearch(t *testing.T) {
	dir := t.TempDir()
	const n = 33_468 // several blocks
	ix := opened(t, filled(t, dir, n))
	before := settled.Count(torch.LiveTensors)
	queries := append(vector(17), vector(n+5)...)
	hits, err := ix.Search(ctx, queries, 7, Filter{})
	require.NoError(t, err)
	require.Len(t, hits, 2)
	assert.Equal(t, best(dir, vector(17), 7, upTo(n)), paths(hits[0]))
	assert.Equal(t, best(dir, vector(n+5), 7, upTo(n)), paths(hits[1]))
	assert.InDelta(t, 1, hits[0][0].Score, 1e-6)
	assert.Equal(t, Image{imageFile(dir, 17).Path, 1017, time.Unix(1_000_017, 5), time.Unix(1_000_017, 5)}, hits[0][0].Image)

	one, err := ix.Search(ctx, vector(n+5), 7, Filter{}) // a product with a vector
	require.NoError(t, err)
	assert.Equal(t, paths(hits[1]), paths(one[0]))

	some, err := ix.Search(ctx, vector(3), 5, Filter{Since: time.Unix(1_000_010, 0), Until: time.Unix(1_000_020, 0), MinSize: 1012, MaxSize: 1015})
	require.NoError(t, err)
	assert.Equal(t, best(dir, vector(3), 5, []int{12, 13, 14, 15}), paths(some[0]), "fewer than asked for, where there are no more")
	assert.Equal(t, before, torch.LiveTensors())

	for _, c := range []struct {
		query []float32
		k     int
		says  string
	}{
		{vector(1)[:5], 1, "queries of 5 numbers; rows must have 24"}, {nil, 1, "queries of 0 numbers"}, {vector(1), 0, "must be at least 1"},
		{append(vector(1)[1:], float32(math.NaN())), 1, "not finite"},
	} {
		_, err := ix.Search(ctx, c.query, c.k, Filter{})
		assert.ErrorContains(t, err, c.says)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = ix.Search(gone, vector(1), 1, Filter{})
	assert.ErrorIs(t, err, context.Canceled)
	require.NoError(t, ix.Verify(ctx))
}

// TestChanges adds, changes, removes and compacts while a reader stays open.
func TestChanges(t *testing.T) {
	dir := t.TempDir()
	at := filled(t, dir, 30)
	before := settled.Count(torch.LiveTensors)
	ix, err := Open(at)
	require.NoError(t, err)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	require.NoError(t, w.Add(imageFile(dir, 3), vector(103)))
	require.NoError(t, w.Add(imageFile(dir, 40), vector(40)))
	require.NoError(t, w.Remove(imageFile(dir, 5).Path))
	hits, err := ix.Search(ctx, vector(5), 1, Filter{})
	require.NoError(t, err)
	assert.Equal(t, imageFile(dir, 5).Path, hits[0][0].Path, "nothing has been committed")
	require.NoError(t, w.Commit())

	check := func() {
		t.Helper()
		hits, err := ix.Search(ctx, slices.Concat(vector(5), vector(103), vector(3), vector(40)), 100, Filter{})
		require.NoError(t, err)
		for _, list := range hits {
			assert.Len(t, list, 30)
			assert.NotContains(t, paths(list), imageFile(dir, 5).Path)
			assert.Len(t, slices.Compact(slices.Sorted(slices.Values(paths(list)))), 30, "nothing twice")
		}
		assert.Equal(t, imageFile(dir, 3).Path, hits[1][0].Path)
		assert.Less(t, hits[2][0].Score, 0.9, "the former vector is gone")
		assert.Equal(t, imageFile(dir, 40).Path, hits[3][0].Path)
		info, err := ix.Info(ctx)
		require.NoError(t, err)
		assert.Equal(t, 30, info.Images)
		require.NoError(t, ix.Verify(ctx))
	}
	check()
	require.NoError(t, w.Compact(ctx, false))
	assert.FileExists(t, singles.path(at, 1), "two dead rows are not worth it")
	require.NoError(t, w.Compact(ctx, true))
	assert.NoFileExists(t, singles.path(at, 1))
	check()
	require.NoError(t, w.Add(imageFile(dir, 3), vector(103)))
	require.NoError(t, w.Commit())
	check()
	require.NoError(t, w.Close())
	require.NoError(t, ix.Close())
	_, err = ix.Search(ctx, vector(1), 1, Filter{})
	assert.ErrorContains(t, err, "closed")
	assert.Equal(t, before, torch.LiveTensors())
}

// TestManyReaders searches from many goroutines while images come and go and the file changes.
func TestManyReaders(t *testing.T) {
	dir := t.TempDir()
	at := filled(t, dir, 200)
	ix := opened(t, at)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				hits, err := ix.Search(ctx, vector(7), 3, Filter{})
				if !assert.NoError(t, err) || !assert.Equal(t, imageFile(dir, 7).Path, hits[0][0].Path) {
					return
				}
			}
		})
	}
	for i := range 30 {
		require.NoError(t, w.Add(imageFile(dir, 300+i%5), vector(300+i)))
		require.NoError(t, w.Commit())
		require.NoError(t, w.Compact(ctx, i%3 == 0))
	}
	close(stop)
	group.Wait()
	require.NoError(t, w.Close())
	require.NoError(t, ix.Verify(ctx))
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	at := filled(t, dir, 3)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	_, err = OpenWriter(at, model)
	assert.ErrorIs(t, err, ErrLocked)
	assert.ErrorIs(t, Destroy(at), ErrLocked)
	assert.ErrorContains(t, w.Add(File{Path: "x"}, vector(1)[1:]), "a vector of 23 numbers, and the index has 24")
	require.NoError(t, w.Close())
	for _, c := range []struct {
		change func(*Model)
		says   string
	}{
		{func(m *Model) { m.EmbedDim = 8 }, "its features have 24 numbers, those of one 8"},
		{func(m *Model) { m.Weights = "cc" }, "its weights are aa, those of one cc"},
		{func(m *Model) { m.Transform = "cc" }, "the config or the preprocessing of one is another"},
	} {
		other := model
		c.change(&other)
		_, err := OpenWriter(at, other)
		require.ErrorContains(t, err, c.says)
		assert.ErrorContains(t, err, "search with that model, or rebuild the index")
		assert.ErrorIs(t, err, ErrModel)
	}
	moved := model
	moved.Name = "elsewhere"
	w, err = OpenWriter(at, moved)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	info, err := opened(t, at).Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, "elsewhere", info.Model.Name, "the same model lies elsewhere now")

	_, err = Open(t.TempDir())
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "is not an index")
	require.NoError(t, Destroy(at))
	_, err = Find(dir)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// TestFind looks upwards, and paths are those of the working directory.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	filled(t, dir, 2)
	found, err := Find(deep)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, DirName), found)
	t.Chdir(deep)
	found, err = Find(".")
	require.NoError(t, err)
	assert.Equal(t, "../../"+DirName, found)
	hits, err := opened(t, found).Search(ctx, vector(1), 1, Filter{})
	require.NoError(t, err)
	assert.Equal(t, "../../1.png", hits[0][0].Path)
	row, ok, err := opened(t, found).Vector(ctx, File{Path: "../../1.png", Size: 1001, ModTime: time.Unix(1_000_001, 5)})
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, vector(1), row)
}

// TestDuplicates finds what was planted, across blocks too.
func TestDuplicates(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "elsewhere") // paths are absolute here
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	const n = 9000
	for i := range n {
		of := i
		if i == 8500 || i == 8999 {
			of = 40
		}
		require.NoError(t, w.Add(imageFile(dir, i), vector(of)))
	}
	require.NoError(t, w.Add(imageFile(dir, n), vector(7)))
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	groups, err := opened(t, at).Duplicates(ctx, 0.995, Filter{})
	require.NoError(t, err)
	require.Len(t, groups, 2)
	assert.Equal(t, []string{imageFile(dir, n).Path, imageFile(dir, 7).Path}, paths(groups[0]), "the larger file first")
	assert.Equal(t, []string{imageFile(dir, 8999).Path, imageFile(dir, 40).Path, imageFile(dir, 8500).Path}, paths(groups[1]))
	assert.InDelta(t, 1, groups[1][2].Score, 1e-6)
	groups, err = opened(t, at).Duplicates(ctx, 0.995, Filter{MaxSize: 8000})
	require.NoError(t, err)
	assert.Empty(t, groups)
	_, err = opened(t, at).Duplicates(ctx, 1.5, Filter{})
	assert.ErrorContains(t, err, "must be above 0 and at most 1")
}

// TestFullDisk has a commit fail: the index stays as it was, and the next writer continues.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	at := filled(t, dir, 4)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	require.NoError(t, w.out.vectors.out.Close())
	require.NoError(t, w.Add(imageFile(dir, 9), vector(9)))
	assert.ErrorContains(t, w.Commit(), "the index "+at+" was not written")
	assert.Error(t, w.Commit(), "it can only be closed")
	_ = w.Close()
	out, err := disk.Machine{}.Append(singles.path(at, 1))
	require.NoError(t, err)
	_, err = out.Write([]byte("torn"))
	require.NoError(t, err)
	require.NoError(t, out.Close())
	w, err = OpenWriter(at, model)
	require.NoError(t, err)
	require.NoError(t, w.Add(imageFile(dir, 9), vector(9)))
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	require.NoError(t, opened(t, at).Verify(ctx))
}
