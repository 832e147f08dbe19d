package estimate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
)

// TestFLOPs holds the costs against what PyTorch counts of open_clip's modules (testdata/clip/make_flops.py), to the
// last operation.
func TestFLOPs(t *testing.T) {
	golden.UseVariants()
	var want map[string]struct {
		Image, Text int64
		Short       int64 `json:"text_of_9_tokens"`
	}
	read := func(name string, into any) {
		text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "clip", name))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, into))
	}
	var variants map[string]json.RawMessage
	read("flops.json", &want)
	read("variants.json", &variants)
	require.Greater(t, len(want), 60)
	for name, w := range want {
		t.Run(name, func(t *testing.T) {
			var c *tower.Config
			var err error
			if variant, ok := strings.CutPrefix(name, "variant:"); ok {
				c, err = tower.ParseConfig(variants[variant])
			} else {
				c, err = tower.LookupConfig(name)
			}
			require.NoError(t, err)
			assert.Equal(t, w.Image, int64(ImageFLOPs(c)), "image")
			assert.Equal(t, w.Text, int64(TextFLOPs(c, c.Text.ContextLength)), "text")
			assert.Equal(t, w.Short, int64(TextFLOPs(c, 9)), "a text of 9 tokens")
		})
	}
	c, err := tower.LookupConfig("ViT-B-32") // open_clip's docs/model_profile.csv: 8.82 and 5.96 GFLOP
	require.NoError(t, err)
	assert.InDelta(t, 8.82e9, ImageFLOPs(c), 5e6)
	assert.InDelta(t, 5.96e9, TextFLOPs(c, 77), 5e6)
}

// TestStepCost counts three forwards for a tower that learns and one for a locked one. The last block costs less than
// in open_clip, and dropped patches cost nothing.
func TestStepCost(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim":2,"vision_cfg":{"image_size":4,"patch_size":2,"layers":1,"width":4,"head_width":2},
		"text_cfg":{"context_length":4,"vocab_size":5,"width":4,"heads":1,"layers":2}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	// An image: 4 patches of 12 numbers; of 5 tokens keys and values, of one a query, the output and the perceptron,
	// and attention; the projection.
	image := 2.0*4*12*4 + 2*5*4*8 + 2*(4*4+4*4+2*4*16) + 4*5*4 + 2*4*2
	text := 2.0*3*4*(4*4+2*16) + 4*3*3*4 + 2*3*4*8 + 2*(4*4+4*4+2*4*16) + 4*3*4 + 2*4*2
	assert.Equal(t, 7*3*(image+text), StepCostOf(m).FLOPs([]int{3, 3, 3, 3, 3, 3, 3}))
	assert.Less(t, image, ImageFLOPs(c))
	require.NoError(t, m.SetPatchDropout(0.5))
	assert.Equal(t, 3*(image-2*2*4*8-4*2*4+text), StepCostOf(m).FLOPs([]int{3}))
	require.NoError(t, m.SetPatchDropout(0))
	require.NoError(t, m.LockText(0, false))
	assert.Equal(t, 3*image+text, StepCostOf(m).FLOPs([]int{3}))
	require.NoError(t, m.LockImage(0, false))
	assert.Equal(t, image+text, StepCostOf(m).FLOPs([]int{3}))
	lengths := m.Text.(tower.Measurer).Lengths
	assert.Equal(t, []int{3, 3}, lengths([]int64{3, 4, 0, 0, 2, 3, 4, 0}, 4, torch.Float32))
	assert.Equal(t, []int{4, 4}, lengths([]int64{3, 4, 0, 0, 2, 3, 3, 4}, 4, torch.Float32))
	two := StepCostOf(m).FLOPs([]int{2})
	assert.Equal(t, two+StepCostOf(m).FLOPs([]int{4}), StepCostOf(m).FLOPs([]int{2, 4}))
	short, long := slices.Repeat([]int64{3, 4, 0, 0}, 9), []int64{2, 3, 3, 4}
	assert.Equal(t, append(slices.Repeat([]int{2}, 9), 4), lengths(slices.Concat(long, short), 4, torch.Float32), "18 tokens of padding are worth a group")
}

// TestConvNeXtStepCost costs a ConvNeXt's activations no backward below the first block that
// learns.
func TestConvNeXtStepCost(t *testing.T) {
	m, err := clip.New(golden.Variants(t)["convnext"], 1)
	require.NoError(t, err)
	assert.Equal(t, 3.0, StepCostOf(m).imagePasses)
	assert.Equal(t, ImageFLOPs(m.Config), StepCostOf(m).image)
	require.NoError(t, m.LockImage(2, false)) // the first block of the last stage learns
	passes := StepCostOf(m).imagePasses
	assert.Greater(t, passes, 1.0)
	assert.Less(t, passes, 3.0)
}

// TestRobertaCost counts a step of a RoBERTa whose texts are computed at these lengths.
func TestRobertaCost(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":8,"patch_size":4,"layers":1,"width":32,"head_width":16},
		"text_cfg":{"context_length":48,"hf_model_name":"tiny","hf_pooler_type":"mean_pooler","hf_proj_type":"linear","hf_model_config":
		{"vocab_size":100,"hidden_size":32,"num_hidden_layers":3,"num_attention_heads":2,"intermediate_size":48,"max_position_embeddings":50}}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 3)
	require.NoError(t, err)
	lengths := []int{5, 5, 5, 5, 5, 21, 21, 48}
	forward := 0.0
	for _, n := range lengths { // three layers and the projection
		tokens := float64(n)
		forward += 3*(2*tokens*(4*32*32+2*32*48)+4*tokens*tokens*32) + 2*32*16
	}
	cost := StepCostOf(m)
	cost.image = 0
	assert.InEpsilon(t, 3*forward, cost.FLOPs(lengths), 1e-12)
}
