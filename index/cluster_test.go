package index

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
)

// TestClustersSettle has every image nearest to the mean of its own cluster, of images without any
// order: that takes several rounds.
func TestClustersSettle(t *testing.T) {
	groups, err := opened(t, filled(t, t.TempDir(), 200)).Clusters(ctx, 5, 1, Filter{})
	require.NoError(t, err)
	require.Len(t, groups, 5)
	var means [][]float32
	for _, g := range groups {
		sum := make([]float64, dim)
		for _, h := range g {
			for i, x := range vector(number(t, filepath.Base(h.Path))) {
				sum[i] += float64(x)
			}
		}
		means = append(means, clip.Normalized(sum))
	}
	for i, g := range groups {
		for _, h := range g {
			row := vector(number(t, filepath.Base(h.Path)))
			assert.InDelta(t, clip.Cosine(means[i], row), h.Score, 1e-5)
			for _, other := range means {
				assert.LessOrEqual(t, clip.Cosine(other, row), h.Score+1e-5)
			}
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = opened(t, filled(t, t.TempDir(), 3)).Clusters(ended, 2, 1, Filter{})
	assert.ErrorIs(t, err, context.Canceled)
}

// TestClusters finds three subjects of unequal size again.
func TestClusters(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, DirName)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	subject := map[string]int{}
	for i := range 60 {
		of := min(i%6/2, 2) // 20 of each; the last 10 of the third are left out
		if of == 2 && i >= 30 {
			continue
		}
		f := imageFile(dir, i)
		sum := make([]float64, dim)
		for j, x := range vector(1000 + of) {
			sum[j] = 3*float64(x) + float64(vector(i)[j])
		}
		subject[f.Path] = of
		require.NoError(t, w.Add(f, clip.Normalized(sum)))
	}
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	ix := opened(t, at)
	groups, err := ix.Clusters(ctx, 3, 1, Filter{})
	require.NoError(t, err)
	require.Len(t, groups, 3)
	assert.Equal(t, []int{20, 20, 10}, []int{len(groups[0]), len(groups[1]), len(groups[2])})
	for _, g := range groups {
		for i, h := range g {
			assert.Equal(t, subject[g[0].Path], subject[h.Path])
			assert.True(t, i == 0 || g[i-1].Score >= h.Score, "the nearest to the centre first")
		}
	}
	again, err := ix.Clusters(ctx, 3, 1, Filter{})
	require.NoError(t, err)
	assert.Equal(t, groups, again)
	many, err := ix.Clusters(ctx, 1000, 1, Filter{})
	require.NoError(t, err)
	assert.Len(t, many, 50, "no more groups than images")
	none, err := ix.Clusters(ctx, 3, 1, Filter{Folder: "/nowhere"})
	require.NoError(t, err)
	assert.Empty(t, none)
	_, err = ix.Clusters(ctx, 0, 1, Filter{})
	assert.EqualError(t, err, "0 clusters: must be between 1 and 16777216")
}
