package clip

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// TestDescribe opens files of weights alone by their shapes.
func TestDescribe(t *testing.T) {
	c, err := tower.LookupConfig("ViT-S-32-alt")
	require.NoError(t, err)
	m, err := New(c, 1)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, m.SaveAs(dir, &SaveOptions{DType: torch.Float16}))
	require.NoError(t, os.Remove(filepath.Join(dir, ConfigFile)))
	for _, name := range []string{filepath.Join(dir, WeightsFile), dir} {
		var said string
		again, err := Open(t.Context(), name, &OpenOptions{Log: func(message string) { said = message }})
		require.NoError(t, err)
		assert.Contains(t, said, "is a ViT-S-32-alt by its shapes")
		assert.Equal(t, m.Config, again.Config)
		assert.Equal(t, name, again.Name)
		_, length, err := OpenTokenizer(t.Context(), name, nil)
		require.NoError(t, err)
		assert.Equal(t, m.ContextLength(), length)
	}
}

// TestDescribePublished has every built-in config's shapes tell the sizes that the config says.
func TestDescribePublished(t *testing.T) {
	for _, name := range tower.ConfigNames() {
		c, err := tower.LookupConfig(name)
		require.NoError(t, err)
		m, err := tryAllocate(c)
		require.NoError(t, err)
		entries := map[string]checkpoint.Entry{}
		for key, p := range m.State() {
			entries[key] = checkpoint.Entry{Name: key, Shape: p.Shape(), DType: checkpoint.F32}
			p.Free() // tens of gigabytes together, though no page was touched
		}
		assert.Equal(t, sizesOf(c), shapesOf(entries).sizes(), name)
	}
}

// TestDescribeTwins refuses to choose between published models of the same shapes. The file has a hole for its numbers.
func TestDescribeTwins(t *testing.T) {
	for name, says := range map[string]string{
		"ViT-B-32":                 "fits ViT-B-32-quickgelu and ViT-B-32, and its weights do not tell which: open one of them, with Pretrained",
		"convnext_base_w":          "fits convnext_base_w and convnext_base_w_320, and",
		"ViT-SO400M-14-SigLIP-378": "fits ViT-SO400M-14-SigLIP-378 and ViT-SO400M-14-SigLIP-384, and",
	} {
		header, numbers := safetensorsHeader(t, name, checkpoint.F32)
		path := filepath.Join(t.TempDir(), "x.safetensors")
		require.NoError(t, os.WriteFile(path, header, 0o644))
		require.NoError(t, os.Truncate(path, int64(len(header)+numbers)))
		_, err := Open(t.Context(), path, nil)
		assert.ErrorContains(t, err, says)
	}
}

// safetensorsHeader is the beginning of a file with a built-in config's tensors, and how many bytes of numbers follow.
func safetensorsHeader(t *testing.T, name string, dtype checkpoint.DType) (header []byte, numbers int) {
	t.Helper()
	c, err := tower.LookupConfig(name)
	require.NoError(t, err)
	m, err := tryAllocate(c)
	require.NoError(t, err)
	entries := map[string]any{}
	for key, p := range m.State() {
		end := numbers + dtype.Size()*p.Numel()
		entries[key] = map[string]any{"dtype": dtype, "shape": append([]int{}, p.Shape()...), "data_offsets": []int{numbers, end}}
		numbers = end
		p.Free()
	}
	text, err := json.Marshal(entries)
	require.NoError(t, err)
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), numbers
}

// TestDescribeUnpublished has sizes that no config has: OpenAI's rule gives the heads, and the file must tell the GELU.
func TestDescribeUnpublished(t *testing.T) {
	c := &tower.Config{EmbedDim: 32, QuickGELU: true, Vision: tower.VisionConfig{ImageSize: tower.Square(64), Layers: tower.Layers{2}, Width: 128, PatchSize: 16, MLPRatio: 2.5},
		Text: tower.TextConfig{ContextLength: 20, VocabSize: 49408, Width: 64, Heads: 1, Layers: 3}}
	m, err := New(c, 1)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, m.Save(dir))
	require.NoError(t, os.Remove(filepath.Join(dir, ConfigFile)))
	again, err := Open(t.Context(), filepath.Join(dir, WeightsFile), nil)
	require.NoError(t, err)
	assert.Equal(t, m.Config.Vision, again.Config.Vision)
	assert.Equal(t, m.Config.Text, again.Config.Text)
	assert.True(t, again.Config.QuickGELU)
	assert.Equal(t, snapshot(t, m), snapshot(t, again))

	// Transformers' file of one keeps no word of the GELU, nor of anything else.
	hf := filepath.Join(t.TempDir(), "hf")
	require.NoError(t, m.SaveAs(hf, &SaveOptions{HuggingFace: true}))
	require.NoError(t, os.Remove(filepath.Join(hf, "config.json")))
	_, err = Open(t.Context(), hf, nil)
	require.ErrorContains(t, err, "fits no built-in config, and does not say with which GELU it was trained")
	again, err = Open(t.Context(), hf, &OpenOptions{QuickGELU: true})
	require.NoError(t, err)
	assert.Equal(t, snapshot(t, m), snapshot(t, again))
}

// TestDescribeGELU refuses to guess between a config and its -quickgelu.
func TestDescribeGELU(t *testing.T) {
	c, err := tower.LookupConfig("ViT-S-32-alt")
	require.NoError(t, err)
	m, err := New(c, 1)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "weights.safetensors")
	var entries []checkpoint.Entry
	for key, p := range m.State() {
		e, err := checkpoint.FromTensor(key, p, torch.Float32)
		require.NoError(t, err)
		entries = append(entries, e)
	}
	require.NoError(t, checkpoint.Write(path, entries, nil))
	again, err := Open(t.Context(), path, nil) // published with one GELU alone
	require.NoError(t, err)
	assert.False(t, again.Config.QuickGELU)
	_, err = Open(t.Context(), path, &OpenOptions{QuickGELU: true})
	require.NoError(t, err, "a model of the same shapes with QuickGELU")
	_, err = Open(t.Context(), path, &OpenOptions{Pretrained: path})
	assert.ErrorContains(t, err, "drop one")
}

func TestDescribeRefusals(t *testing.T) {
	write := func(shapes map[string][]int) string {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		var entries []checkpoint.Entry
		for key, shape := range shapes {
			n := 4
			for _, d := range shape {
				n *= d
			}
			entries = append(entries, checkpoint.Entry{Name: key, DType: checkpoint.F32, Shape: shape, Data: make([]byte, n)})
		}
		require.NoError(t, checkpoint.Write(path, entries, map[string]string{"quick_gelu": "true"}))
		return path
	}
	for _, shapes := range []map[string][]int{
		{"a": {2}},
		{"visual.conv1.weight": {64}, "visual.positional_embedding": {}, "token_embedding.weight": {3}},
		{"visual.conv1.weight": {64, 3, 8, 8}, "visual.positional_embedding": {11, 64}, "token_embedding.weight": {9, 64}, "visual.proj": {0, 0}},
		{"vision_model.embeddings.patch_embedding.weight": {4, 4}, "visual_projection.weight": {3}},
		{"visual.conv1.weight": {96, 3, 8, 8}, "visual.positional_embedding": {5, 96}, "visual.proj": {96, 8}, "visual.transformer.resblocks.0.ln_1.weight": {96},
			"visual.transformer.resblocks.0.mlp.c_fc.weight": {384, 96}, "transformer.resblocks.0.ln_1.weight": {64}, "transformer.resblocks.0.mlp.c_fc.weight": {256, 64},
			"token_embedding.weight": {9, 64}, "positional_embedding": {7, 64}},
	} {
		_, err := Open(t.Context(), write(shapes), nil)
		require.Error(t, err)
		text, _ := json.Marshal(shapes)
		assert.Contains(t, err.Error(), "open a directory with open_clip_config.json", string(text))
		assert.ErrorIs(t, err, ErrAmbiguous)
	}
}
