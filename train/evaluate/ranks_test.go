package evaluate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestRetrieval holds ranks against open_clip's for pairs, and against CLIP_benchmark's definition
// where images have one to five captions each (testdata/retrieval/make_goldens.py).
func TestRetrieval(t *testing.T) {
	var g struct {
		Dim                     int
		Images, Texts, Captions []float32
		Of                      []int
		Pairs, Several          map[string]float64
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "retrieval", "goldens.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &g))
	before := settled.Count(torch.LiveTensors)
	for _, c := range []struct {
		name  string
		texts []float32
		of    []int
		want  map[string]float64
	}{{"pairs", g.Texts, nil, g.Pairs}, {"several captions", g.Captions, g.Of, g.Several}} {
		f := Features{Dim: g.Dim, Images: g.Images, Texts: c.texts, Of: c.of}
		r, err := f.Ranks()
		require.NoError(t, err)
		got := r.Metrics()
		assert.InDeltaMapValues(t, c.want, got, 1e-6, c.name)
		assert.NotEqual(t, 1.0, got["image_to_text_R@1"], "a golden that tells something")
	}
	assert.Equal(t, before, torch.LiveTensors())
	for want, f := range map[string]Features{
		"text 0 belongs to image 99, and there are 23 images": {Images: g.Images, Texts: g.Captions, Of: append([]int{99}, g.Of[1:]...)},
		"23 images and 0 texts make no pair":                  {Images: g.Images},
		"Of has 2 numbers, one for each text, and there are":  {Images: g.Images, Texts: g.Captions, Of: []int{0, 1}},
	} {
		f.Dim = g.Dim
		_, err := f.Ranks()
		assert.ErrorContains(t, err, want)
	}
}

// TestRanks has small numbers whose products are exact: the same in chunks, equal similarities in
// their order, and an image without captions.
func TestRanks(t *testing.T) {
	images := []float32{1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0}
	texts := []float32{0.5, 0, 0.75, 0.75, 0.5, 0, 0, 0, 1, 0.75, 0, 0, 0.75, 0, 0}
	// Products of image 0: 0.5 0.75 0 0.75 0.75; of 1: 0 0.5 0 0 0; of 2: 0.75 0 1 0 0; of 3: 0.5
	// 1.25 0 0.75 0.75.
	matches := [][]int{{0, 4}, {}, {2}, {0, 3}}
	for _, limit := range []int{1, 5, 10, 1000} {
		got, err := ranks(images, texts, matches, 3, limit)
		require.NoError(t, err)
		assert.Equal(t, []int{2, 0, 1}, got, "of images 0, 2 and 3")
	}
	f := Features{Dim: 3, Images: images, Texts: texts, Of: []int{0, 3, 2, 3, 0}}
	r, err := f.Ranks()
	require.NoError(t, err)
	assert.InDelta(t, 1.0/3*(3+1+1), r.Metrics()["image_to_text_mean_rank"], 1e-9, "image 1 has no caption")
}

// TestEquals has three images of a caption in common, two of one ID, and an image with two captions.
func TestEquals(t *testing.T) {
	m, repeated := equals([][]string{{"a dog"}, {"a cat", "a dog"}, {"a car"}, {"a dog"}, {"red"}}, []int64{1, 2, 3, 4, 3})
	// The texts are 0 "a dog", 1 "a cat", 2 "a dog", 3 "a car", 4 "a dog", 5 "red".
	assert.Equal(t, 3, repeated, "two texts, and an image of an ID that is there")
	assert.Equal(t, [][]int{{0, 2, 4}, {0, 1, 2, 4}, {3, 5}, {0, 2, 4}, {3, 5}}, m.texts)
	assert.Equal(t, [][]int{{0, 1, 3}, {1}, {0, 1, 3}, {2, 4}, {0, 1, 3}, {2, 4}}, m.images)
	m, repeated = equals([][]string{{"a"}, {"b"}}, []int64{1, 2})
	assert.Zero(t, repeated)
	assert.Equal(t, matches{[][]int{{0}, {1}}, [][]int{{0}, {1}}}, m)
}
