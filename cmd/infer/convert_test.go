package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

func TestConvert(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	rows := func(model string) []float32 {
		m, err := clip.Open(t.Context(), model, nil)
		require.NoError(t, err)
		out, err := m.EncodeImages(t.Context(), clip.FromFile(testImage("face.png")))
		require.NoError(t, err)
		return out[0]
	}
	for dtype, within := range map[string]float64{"float32": 0, "float16": 2e-3} {
		out := filepath.Join(dir, "made", dtype)
		code, stdout, errs := infer(t, "", "convert", "--to", "open_clip", "--dtype", dtype, tiny, out)
		require.Equal(t, 0, code, errs)
		assert.Empty(t, stdout)
		assert.Regexp(t, `^infer: wrote `+out+`: open_clip's layout, \d+ parameters in `+dtype+`, \d+\.\d [Mk]B\ninfer: its files are open_clip_config\.json, open_clip_model\.safetensors\n$`, errs)
		assert.InDeltaSlice(t, rows(tiny), rows(out), within)
		code, _, errs = infer(t, "", "convert", tiny, out)
		assert.Equal(t, 2, code)
		assert.Contains(t, oneLine(t, errs), "is there already; name another directory")
	}
	code, _, errs := infer(t, "", "convert", filepath.Join(dir, "none"), filepath.Join(dir, "made", "none"))
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "is neither a model directory, nor a file of weights, nor a built-in config")
	left, err := os.ReadDir(filepath.Join(dir, "made"))
	require.NoError(t, err)
	assert.Len(t, left, 2, "nothing half-written")
}

// TestConvertHF writes Hugging Face's layout, which opens as the same model, and back.
func TestConvertHF(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	hf, back := filepath.Join(dir, "hf"), filepath.Join(dir, "back")
	code, _, errs := infer(t, "", "convert", "--to", "hf", tiny, hf)
	require.Equal(t, 0, code, errs)
	for _, name := range []string{"config.json", "model.safetensors", "preprocessor_config.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"} {
		assert.FileExists(t, filepath.Join(hf, name))
	}
	code, _, errs = infer(t, "", "convert", "--to", "open_clip", hf, back)
	require.Equal(t, 0, code, errs)
	score := func(model string) []float64 {
		code, out, errs := infer(t, "", "score", "--format", "json", "--model", model, "--image", testImage("rgb_64x64.png"), "--text", "a", "--text", "b c")
		require.Equal(t, 0, code, errs)
		var got scores
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		return append(got.Images[0].Cosine, got.Images[0].Prob...)
	}
	// The weights are equal; where they lie in the mapped file may change a kernel's last bit.
	want := score(tiny)
	assert.InDeltaSlice(t, want, score(hf), 1e-6)
	assert.InDeltaSlice(t, want, score(back), 1e-6)
	weights := func(model string) map[string][]float32 {
		m, err := clip.Open(t.Context(), model, nil)
		require.NoError(t, err)
		all := map[string][]float32{}
		for key, p := range m.State() {
			all[key] = torch.ToSlice[float32](p.Detach())
		}
		return all
	}
	assert.Equal(t, weights(tiny), weights(hf))
	assert.Equal(t, weights(tiny), weights(back))

	code, out, errs := infer(t, "", "inspect", "--format", "json", hf)
	require.Equal(t, 0, code, errs)
	var got inspection
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Equal(t, "safetensors", got.Layout)
	require.Len(t, got.Files, 1)
	assert.Equal(t, filepath.Join(hf, "model.safetensors"), got.Files[0].Path)

	code, _, errs = infer(t, "", "convert", "--to", "hf", "--pretrained", "random", "RN50", filepath.Join(dir, "rn50"))
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "transformers has no CLIP with a ResNet as its image tower")
	assert.NoDirExists(t, filepath.Join(dir, "rn50"))
}

// TestForce resamples on the way in, says so, and refuses what no image has.
func TestForce(t *testing.T) {
	tiny := tinyModel(t)
	args := []string{"score", "--model", tiny, "--image", testImage("face.png"), "--text", "a", "--force-image-size"}
	code, _, errs := infer(t, "", append(args, "48", "--force-context-length", "9")...)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "the position embeddings of 16 patches were resampled to 36")
	assert.Contains(t, errs, "the position embeddings of 16 tokens were resampled to 9")
	code, _, errs = infer(t, "", append(args, "-1")...)
	assert.Equal(t, 2, code)
	assert.Contains(t, oneLine(t, errs), "--force-image-size -1")
	code, _, errs = infer(t, "", append(args, "7")...)
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "vision_cfg.patch_size 8 is larger than image_size 7")
}
