package clip

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// TestSaveHuggingFace writes back what transformers wrote: the same tensors, bit for bit, and a config that says the
// same.
func TestSaveHuggingFace(t *testing.T) {
	for _, name := range hfSaved {
		t.Run(name, func(t *testing.T) {
			m, err := Open(t.Context(), hfDirectory(name), nil)
			require.NoError(t, err)
			dir := filepath.Join(t.TempDir(), "out")
			before := settled.Count(torch.LiveTensors)
			require.NoError(t, m.SaveAs(dir, &SaveOptions{HuggingFace: true}))
			assert.Equal(t, before, torch.LiveTensors())

			want, err := checkpoint.Open(WeightsIn(hfDirectory(name)))
			require.NoError(t, err)
			defer want.Close()
			got, err := checkpoint.Open(filepath.Join(dir, "model.safetensors"))
			require.NoError(t, err)
			defer got.Close()
			assert.ElementsMatch(t, want.Names(), got.Names())
			for _, key := range want.Names() {
				a, _ := want.Entry(key)
				b, _ := got.Entry(key)
				assert.Equal(t, a.Shape, b.Shape, key)
				assert.Equal(t, a.Data, b.Data, key)
			}
			again, err := Open(t.Context(), dir, nil)
			require.NoError(t, err)
			assert.Equal(t, m.Config, again.Config)
			assert.Equal(t, m.Preprocess, again.Preprocess)
			checkHuggingFace(t, again, name)
		})
	}
}

// TestSaveHuggingFaceTokenizer has the files give CLIP's ids.
func TestSaveHuggingFaceTokenizer(t *testing.T) {
	c, err := tower.LookupConfig("emoji-64")
	require.NoError(t, err)
	m, err := New(c, 0)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, m.SaveAs(dir, &SaveOptions{HuggingFace: true, DType: torch.Float16}))
	read, err := tokenizer.Open(dir, tokenizer.Options{})
	require.NoError(t, err)
	for _, text := range []string{"a photo of a cat", "naïve 🏳️‍🌈 don't", ""} {
		assert.Equal(t, tokenizer.New().Encode(text), read.Encode(text), text)
	}
	again, err := Open(t.Context(), dir, nil)
	require.NoError(t, err)
	want := m.Config.Vision
	want.PatchDropout = 0 // of training, which config.json does not speak of
	assert.Equal(t, want, again.Config.Vision)
}

// TestSaveHuggingFaceRefusals names what transformers does not have, and begins nothing.
func TestSaveHuggingFaceRefusals(t *testing.T) {
	all := golden.Variants(t)
	for name, want := range map[string]string{
		"resnet":       "a ResNet as its image tower",
		"roberta-mean": "the text tower tiny",
		"convnext":     "the image tower convnext_mini and a projection",
		"pe":           "the image tower pe_mini and a projection",
		"dual-encoder": "the image tower vit_tiny and a projection",
		"avg-first":    "no_ln_pre, attentional_pool, ls_init_value or another pool_type in its image tower",
		"pooler-avg":   "embed_cls, ls_init_value or proj_type none in its text tower",
		"clipa":        "images of 24x32 pixels",
		"siglip-tanh":  "these variations of the text tower or a logit bias beside this image tower",
	} {
		m := goldenModel(t, all[name])
		dir := filepath.Join(t.TempDir(), "out")
		assert.ErrorContains(t, m.SaveAs(dir, &SaveOptions{HuggingFace: true}), "transformers has no CLIP with "+want, name)
		assert.NoDirExists(t, dir)
	}
	m := goldenModel(t, all["siglip"])
	m.Preprocess.ResizeMode = preprocess.Longest
	assert.ErrorContains(t, m.SaveAs(t.TempDir(), &SaveOptions{HuggingFace: true}), `transformers has no resize_mode "longest"`)
}
