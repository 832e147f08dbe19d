package clip

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFLOPs holds the costs against what PyTorch counts of open_clip's modules (testdata/clip/make_flops.py), to the
// last operation.
func TestFLOPs(t *testing.T) {
	var want map[string]struct {
		Image, Text int64
		Short       int64 `json:"text_of_9_tokens"`
	}
	read := func(name string, into any) {
		text, err := os.ReadFile(filepath.Join("..", "testdata", "clip", name))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, into))
	}
	var variants map[string]json.RawMessage
	read("flops.json", &want)
	read("variants.json", &variants)
	require.Greater(t, len(want), 60)
	for name, w := range want {
		t.Run(name, func(t *testing.T) {
			var c *Config
			var err error
			if variant, ok := strings.CutPrefix(name, "variant:"); ok {
				c, err = ParseConfig(variants[variant])
			} else {
				c, err = LookupConfig(name)
			}
			require.NoError(t, err)
			assert.Equal(t, w.Image, int64(c.ImageFLOPs()), "image")
			assert.Equal(t, w.Text, int64(c.TextFLOPs(c.Text.ContextLength)), "text")
			assert.Equal(t, w.Short, int64(c.TextFLOPs(9)), "a text of 9 tokens")
		})
	}
	c, err := LookupConfig("ViT-B-32") // open_clip's docs/model_profile.csv: 8.82 and 5.96 GFLOP
	require.NoError(t, err)
	assert.InDelta(t, 8.82e9, c.ImageFLOPs(), 5e6)
	assert.InDelta(t, 5.96e9, c.TextFLOPs(77), 5e6)
}
