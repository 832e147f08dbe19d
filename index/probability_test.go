package index

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index/chance"
	"github.com/goclip/goclip/models"
)

// TestJudge compares an index's probabilities with those of package chance on its rows, and counts
// how often the model is asked for.
func TestJudge(t *testing.T) {
	m, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	id, err := Identify(m, nil)
	require.NoError(t, err)
	dir := t.TempDir()
	at := filepath.Join(dir, DirName)
	w, err := OpenWriter(at, id)
	require.NoError(t, err)
	query, err := m.EncodeTexts(ctx, "a dog")
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(3, 4))
	var rows [][]float32
	var files []File
	for i := range 60 {
		row := make([]float32, m.Dim())
		for j := range row {
			row[j] = float32(rng.NormFloat64()) / 12
			if i == 7 {
				row[j] = query[0][j]
			}
		}
		rows, files = append(rows, row), append(files, realFile(t, dir, i))
		require.NoError(t, w.Add(files[i], row))
	}
	require.NoError(t, w.Commit())

	asked := 0
	encoder := func(context.Context) (clip.Encoder, error) {
		asked++
		return clip.Encoder{Model: m}, nil
	}
	judge := func(ix *Index) []Hit {
		hits, err := ix.Search(ctx, query[0], 5, Filter{})
		require.NoError(t, err)
		require.NoError(t, ix.Judge(ctx, query[0], hits[0], encoder))
		return hits[0]
	}
	ix := opened(t, at)
	hits := judge(ix)
	texts, err := m.EncodeTexts(ctx, chance.Texts()...)
	require.NoError(t, err)
	b, err := chance.New(texts, rows)
	require.NoError(t, err)
	assert.Equal(t, files[7].Path, hits[0].Path)
	assert.InDelta(t, b.Evidence(query[0], rows[7:8])[0].Probability(60), hits[0].Probability, 1e-9)
	assert.Greater(t, hits[0].Probability, 0.9)
	assert.Less(t, hits[1].Probability, 0.5)

	judge(ix)
	judge(opened(t, at))
	assert.Equal(t, 1, asked, "the texts' rows are stored")

	concepts, err := openSQLite(filepath.Join(at, conceptsName), true)
	require.NoError(t, err)
	defer concepts.Close()
	_, err = concepts.Exec("DELETE FROM background; CREATE TRIGGER full BEFORE INSERT ON background BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
	require.NoError(t, err)
	assert.Equal(t, hits, judge(opened(t, at)), "what cannot be stored is made again")
	assert.Equal(t, 2, asked)
	_, err = concepts.Exec("DROP TRIGGER full")
	require.NoError(t, err)
	judge(opened(t, at))
	asked -= 2

	require.NoError(t, w.Add(realFile(t, dir, 60), rows[0]))
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	assert.InDelta(t, 60./61, odds(judge(ix)[0].Probability)/odds(hits[0].Probability), 0.2, "the background is measured anew after a commit")
	assert.Equal(t, 1, asked)
	hits[0].Size++
	require.NoError(t, ix.Judge(ctx, query[0], hits[:1], encoder))
	assert.Zero(t, hits[0].Probability, "an image that has changed since")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, ix.Judge(ended, query[0], hits[:1], encoder), context.Canceled)
	assert.NoError(t, ix.Judge(ended, query[0], nil, encoder), "of nothing")
	require.NoError(t, Destroy(at))
	assert.ErrorIs(t, ix.Judge(ctx, query[0], hits[:1], encoder), os.ErrNotExist)
}

func odds(p float64) float64 { return p / (1 - p) }

func TestOnlyWords(t *testing.T) {
	assert.NoError(t, OnlyWords([]Term{{Text: "a dog", Weight: 1}, {Text: "a cat", Weight: 2}, {Text: "a cow"}}))
	for _, terms := range [][]Term{{{Image: "a.png", Weight: 1}}, {{Concept: "rex@1", Weight: 1}}, {{Text: "a dog", Weight: 1}, {Text: "a cat", Weight: -1}}} {
		assert.ErrorIs(t, OnlyWords(terms), ErrNoWords)
	}
}
