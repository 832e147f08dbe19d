//go:build searcheval

package index

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/emojis"
	"github.com/goclip/goclip/models"
)

// TestHalfEval counts by how much the answers of an index in half precision differ: the names of the
// held-out emoji, searched for among their images.
func TestHalfEval(t *testing.T) {
	m, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	list, err := emojis.HeldOut("../data")
	require.NoError(t, err)
	var images []clip.ImageSource
	var names []string
	for _, e := range list {
		images, names = append(images, clip.FromBytes(e.PNG)), append(names, e.Caption)
	}
	rows, err := m.EncodeImages(ctx, images...)
	require.NoError(t, err)
	texts, err := m.EncodeTexts(ctx, names...)
	require.NoError(t, err)
	var queries []float32
	for _, text := range texts {
		queries = append(queries, text...)
	}
	id, err := Identify(m, nil)
	require.NoError(t, err)
	dir := t.TempDir()
	var hits [2][][]Hit
	for i := range hits {
		id.Half = i == 1
		at := filepath.Join(dir, DirName+names[i])
		w, err := OpenWriter(at, id)
		require.NoError(t, err)
		for j, row := range rows {
			require.NoError(t, w.Add(imageFile(dir, j), row))
		}
		require.NoError(t, w.Commit())
		require.NoError(t, w.Close())
		hits[i], err = opened(t, at).Search(ctx, queries, 10, Filter{})
		require.NoError(t, err)
	}
	same, first, worst := 0, 0, 0.0
	for q, single := range hits[0] {
		half, equal := hits[1][q], true
		for i, h := range single {
			equal = equal && h.Path == half[i].Path
			worst = max(worst, h.Score-half[i].Score, half[i].Score-h.Score)
		}
		if equal {
			same++
		}
		if single[0].Path == half[0].Path {
			first++
		}
	}
	t.Logf("%d queries: the same ten images in the same order %d, the same first %d; scores differ by %.6f at most", len(texts), same, first, worst)
	assert.Less(t, worst, 1e-3)
	assert.Greater(t, same, len(texts)*9/10)
}
