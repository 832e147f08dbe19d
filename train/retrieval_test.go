package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train/data"
)

// TestRetrieval holds ranks against open_clip's for pairs, and against CLIP_benchmark's definition
// where pictures have one to five captions each (testdata/retrieval/make_goldens.py).
func TestRetrieval(t *testing.T) {
	var g struct {
		Dim                     int
		Images, Texts, Captions []float32
		Of                      []int
		Pairs, Several          map[string]float64
	}
	text, err := os.ReadFile(filepath.Join("..", "testdata", "retrieval", "goldens.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &g))
	before := torch.LiveTensors()
	for _, c := range []struct {
		name  string
		texts []float32
		of    []int
		want  map[string]float64
	}{{"pairs", g.Texts, nil, g.Pairs}, {"several captions", g.Captions, g.Of, g.Several}} {
		got, err := Retrieval(g.Images, c.texts, c.of, g.Dim)
		require.NoError(t, err)
		assert.InDeltaMapValues(t, c.want, got, 1e-6, c.name)
		assert.NotEqual(t, 1.0, got["image_to_text_R@1"], "a golden that tells something")
	}
	assert.Equal(t, before, torch.LiveTensors())
	_, err = Retrieval(g.Images, g.Captions, append([]int{99}, g.Of[1:]...), g.Dim)
	assert.ErrorContains(t, err, "caption 0 belongs to picture 99, and there are 23")
	_, err = Retrieval(g.Images, nil, nil, g.Dim)
	assert.ErrorContains(t, err, "23 pictures and 0 texts make no pair")
}

// TestRanks has small numbers whose products are exact: the same in chunks, equal similarities in
// their order, and a picture without captions.
func TestRanks(t *testing.T) {
	images := []float32{1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0}
	texts := []float32{0.5, 0, 0.75, 0.75, 0.5, 0, 0, 0, 1, 0.75, 0, 0, 0.75, 0, 0}
	// Products of picture 0: 0.5 0.75 0 0.75 0.75; of 1: 0 0.5 0 0 0; of 2: 0.75 0 1 0 0; of 3: 0.5
	// 1.25 0 0.75 0.75.
	matches := [][]int{{0, 4}, {}, {2}, {3, 0}}
	for _, limit := range []int{1, 5, 10, 1000} {
		got, err := ranks(images, texts, matches, 3, limit)
		require.NoError(t, err)
		assert.Equal(t, []int{2, 0, 1}, got, "of pictures 0, 2 and 3")
	}
	m, err := Retrieval(images, texts, []int{0, 3, 2, 3, 0}, 3)
	require.NoError(t, err)
	assert.InDelta(t, 1.0/3*(3+1+1), m["image_to_text_mean_rank"], 1e-9, "picture 1 has no caption")
}

func TestLeastLoss(t *testing.T) {
	tokens := []int64{1, 2, 1, 2, 1, 3, 4, 4}                                         // two captions are the same
	b := &data.Batch{N: 4, Tokens: tokens, Pixels: []float32{1, 2, 3, 4, 5, 6, 5, 6}} // the last two pictures too
	assert.InDelta(t, math.Log(2), leastLoss(b), 1e-12)
	b.Pixels[6] = 7
	assert.InDelta(t, math.Log(2)/2, leastLoss(b), 1e-12)
	assert.Equal(t, 0.25, duplicates(tokens, 2))
	assert.Zero(t, duplicates(nil, 2))
	assert.Equal(t, 2.0/3, duplicates([]int64{7, 7, 7}, 1))
}

func TestGuessing(t *testing.T) {
	var g guessing
	warned := 0
	for step := range 1000 {
		loss := 4.0
		if step == 50 {
			loss = 3.9 // begins anew
		}
		if g.stays(loss, 4.02) {
			warned++
			assert.Equal(t, 50+guessingSteps, step)
		}
	}
	assert.Equal(t, 1, warned, "once")
}

// TestAccuracy counts the pictures whose text is nearest.
func TestAccuracy(t *testing.T) {
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		images := torch.FromSlice(s, []float32{1, 0, 0, 1, 0.6, 0.8, 0.8, 0.6}, 4, 2)
		texts := torch.FromSlice(s, []float32{1, 0, 0.6, 0.8, 0, 1, 0.8, 0.6}, 4, 2)
		assert.Equal(t, 0.5, accuracy(images, texts).Item(), "the second and the third are each other's")
	}))
}
