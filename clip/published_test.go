package clip

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
)

// TestPublishedTagDecides has the GELU and the images' normalisation follow the tag.
func TestPublishedTagDecides(t *testing.T) {
	c, err := tower.LookupConfig("ViT-S-32-alt")
	require.NoError(t, err)
	for _, c2 := range []struct {
		model, tag string
		quick      bool
		mean       float32
	}{{"ViT-B-32", "openai", true, preprocess.OpenAIMean[0]}, {"ViT-B-32", "laion2b_s34b_b79k", false, preprocess.OpenAIMean[0]}, {"ViT-L-14", "laion2b_s32b_b82k", false, 0.5}} {
		d, err := describeTag(c2.model, c, c2.tag) // a small config in the place of the tag's own
		require.NoError(t, err)
		m, err := d.allocate(c2.model, OpenOptions{})
		require.NoError(t, err)
		assert.Equal(t, c2.quick, m.Config.QuickGELU, c2.tag)
		assert.Equal(t, c2.mean, m.Preprocess.Mean[0], c2.tag)
	}
	assert.False(t, c.QuickGELU, "the built-in config is not changed")
}

func TestPublishedRefusals(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("GOCLIP_CACHE", cache)
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("GOCLIP_OFFLINE", "1")
	_, err := Open(t.Context(), "ViT-S-32-alt", &OpenOptions{Pretrained: "openai"})
	require.ErrorContains(t, err, `"openai" is not a file, and`)
	_, err = Open(t.Context(), "ViT-B-32", &OpenOptions{Pretrained: "laion2b_s34b_b79"})
	require.ErrorContains(t, err, "laion2b_s34b_b79k", "the near name")
	_, err = Open(t.Context(), "ViT-B-32", &OpenOptions{Pretrained: "laion2b_s34b_b79k"})
	require.ErrorIs(t, err, pretrained.ErrOffline)

	// A file in the cache is taken, and told of by its path when it is another model's.
	dir := filepath.Join(cache, "ViT-B-32", "laion2b_s34b_b79k")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	weights, err := os.ReadFile("../models/emoji-64/" + WeightsFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, WeightsFile), weights, 0o644))
	_, err = Open(t.Context(), "ViT-B-32", &OpenOptions{Pretrained: "laion2b_s34b_b79k"})
	require.ErrorContains(t, err, filepath.Join(dir, WeightsFile)+" does not fit the model")
}
