package clip

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
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

// TestStepCost counts three forwards for a tower that learns and one for a locked one. The last block costs less than
// in open_clip, and dropped patches cost nothing.
func TestStepCost(t *testing.T) {
	c, err := ParseConfig([]byte(`{"embed_dim":2,"vision_cfg":{"image_size":4,"patch_size":2,"layers":1,"width":4,"head_width":2},
		"text_cfg":{"context_length":4,"vocab_size":5,"width":4,"heads":1,"layers":2}}`))
	require.NoError(t, err)
	m, err := New(c, 1)
	require.NoError(t, err)
	// A picture: 4 patches of 12 numbers; of 5 tokens keys and values, of one a query, the output and the perceptron,
	// and attention; the projection.
	image := 2.0*4*12*4 + 2*5*4*8 + 2*(4*4+4*4+2*4*16) + 4*5*4 + 2*4*2
	text := 2.0*3*4*(4*4+2*16) + 4*3*3*4 + 2*3*4*8 + 2*(4*4+4*4+2*4*16) + 4*3*4 + 2*4*2
	assert.Equal(t, 7*3*(image+text), m.StepCost().FLOPs([]int{3, 3, 3, 3, 3, 3, 3}))
	assert.Less(t, image, c.ImageFLOPs())
	require.NoError(t, m.SetPatchDropout(0.5))
	assert.Equal(t, 3*(image-2*2*4*8-4*2*4+text), m.StepCost().FLOPs([]int{3}))
	require.NoError(t, m.SetPatchDropout(0))
	require.NoError(t, m.LockText(0, false))
	assert.Equal(t, 3*image+text, m.StepCost().FLOPs([]int{3}))
	require.NoError(t, m.LockImage(0, false))
	assert.Equal(t, image+text, m.StepCost().FLOPs([]int{3}))
	assert.Equal(t, []int{3, 3}, m.TextLengths([]int64{3, 4, 0, 0, 2, 3, 4, 0}, torch.Float32))
	assert.Equal(t, []int{4, 4}, m.TextLengths([]int64{3, 4, 0, 0, 2, 3, 3, 4}, torch.Float32))
	two := m.StepCost().FLOPs([]int{2})
	assert.Equal(t, two+m.StepCost().FLOPs([]int{4}), m.StepCost().FLOPs([]int{2, 4}))
	short, long := slices.Repeat([]int64{3, 4, 0, 0}, 9), []int64{2, 3, 3, 4}
	assert.Equal(t, append(slices.Repeat([]int{2}, 9), 4), m.TextLengths(slices.Concat(long, short), torch.Float32), "18 tokens of padding are worth a group")
}
