package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch/checkpoint"
)

// TestDamagedModels gives score a model with one fault each.
func TestDamagedModels(t *testing.T) {
	tiny := tinyModel(t)
	weights, config := readFile(t, filepath.Join(tiny, clip.WeightsFile)), readFile(t, filepath.Join(tiny, clip.ConfigFile))
	f, err := checkpoint.Parse("tiny", weights)
	require.NoError(t, err)
	whole := map[string]checkpoint.Entry{}
	for _, name := range f.Names() {
		whole[name], _ = f.Entry(name)
	}
	change := func(edit func(entries map[string]checkpoint.Entry)) []byte {
		entries := maps.Clone(whole)
		edit(entries)
		path := filepath.Join(t.TempDir(), "changed")
		require.NoError(t, checkpoint.Write(path, slices.Collect(maps.Values(entries)), f.Metadata()))
		return readFile(t, path)
	}
	header := func(text string) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	}
	edit := func(from, to string) []byte {
		require.Contains(t, string(config), from)
		return []byte(strings.Replace(string(config), from, to, 1))
	}
	for _, c := range []struct {
		name            string
		weights, config []byte
		says            []string
	}{
		{"empty weights", []byte{}, nil, []string{"0 bytes are too few"}},
		{"cut weights", weights[:len(weights)/2], nil, []string{"cut off"}},
		{"not safetensors", []byte("PK\x03\x04 a zip archive, not this"), nil, []string{clip.WeightsFile}},
		{"endless header", []byte("\xff\xff\xff\xff\xff\xff\xff\x7f{}"), nil, []string{"over the limit"}},
		{"header of no JSON", header("{\"a\": [}"), nil, []string{"not the JSON of a safetensors file"}},
		{"hostile shape", header(`{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,0]}}`), nil, []string{`tensor "a"`, "too large"}},
		{"hostile offsets", header(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`), nil, []string{`tensor "a"`, "outside"}},
		{"three faults", change(func(e map[string]checkpoint.Entry) {
			delete(e, "visual.proj")
			x := e["logit_scale"]
			x.Name = "another"
			e["another"] = x
			y := e["visual.ln_post.bias"]
			y.Shape = []int{32, 2}
			e["visual.ln_post.bias"] = y
		}), nil, []string{"missing visual.proj", "unexpected another", "visual.ln_post.bias has the shape [32 2], the model needs [64]"}},
		{"config of no JSON", nil, []byte("{"), []string{clip.ConfigFile}},
		{"empty config", nil, []byte("{}"), []string{"has no model_cfg"}},
		{"unknown field", nil, edit(`"embed_dim"`, `"multimodal_cfg": {}, "embed_dim"`), []string{"multimodal_cfg"}},
		{"negative size", nil, edit(`"embed_dim": 16`, `"embed_dim": -16`), []string{"embed_dim is -16"}},
		{"heads that do not divide", nil, edit(`"heads": 2`, `"heads": 3`), []string{"not a multiple of heads 3"}},
		{"another width", nil, edit(`"embed_dim": 16`, `"embed_dim": 32`), []string{"visual.proj has the shape [64 16], the model needs [64 32]"}},
		{"more than memory", nil, edit(`"embed_dim": 16`, `"embed_dim": 16777216, "quick_gelu": false`), []string{clip.WeightsFile}},
		{"far more than memory", nil, []byte(`{"model_cfg":{"embed_dim":8,"vision_cfg":{"width":16777216},"text_cfg":{}}}`), []string{"width 16777216 with 12 layers", "do not fit into memory"}},
		{"endless layers", nil, []byte(`{"model_cfg":{"embed_dim":8,"vision_cfg":{"width":64,"layers":9999999},"text_cfg":{}}}`), []string{"9999999"}},
		{"other preprocessing", nil, edit(`"size": 32`, `"size": 64`), []string{"preprocessing makes images of [64 64]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.weights == nil {
				c.weights = weights
			}
			if c.config == nil {
				c.config = config
			}
			writeFile(t, dir, clip.WeightsFile, c.weights)
			writeFile(t, dir, clip.ConfigFile, c.config)
			code, out, errs := infer(t, "", "score", "--model", dir, "--image", testImage("face.png"), "--text", "a")
			assert.Equal(t, 1, code)
			assert.Empty(t, out)
			line := oneLine(t, errs)
			assert.Contains(t, line, dir)
			for _, says := range c.says {
				assert.Contains(t, line, says)
			}
		})
	}
}

func TestInspect(t *testing.T) {
	tiny := tinyModel(t)
	weights := filepath.Join(tiny, clip.WeightsFile)
	m, err := clip.Open(t.Context(), tiny, nil)
	require.NoError(t, err)
	sum := fmt.Sprintf("%x", sha256.Sum256(readFile(t, weights)))
	for _, model := range []string{tiny, weights} {
		code, out, errs := infer(t, "", "inspect", "--format", "json", model)
		require.Equal(t, 0, code, errs)
		assert.Empty(t, errs)
		var got inspection
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		assert.Equal(t, model, got.Model)
		assert.Equal(t, m.Config, got.Config)
		assert.Equal(t, m.NumParameters(), got.Parameters["total"])
		assert.Equal(t, got.Parameters["total"], got.Parameters["visual"]+got.Parameters["text"]+1)
		assert.Equal(t, "float32", got.DType)
		assert.Equal(t, sum, got.SHA256)
	}
	code, out, _ := infer(t, "", "inspect", tiny)
	assert.Equal(t, 0, code)
	for _, says := range []string{tiny, "2 layers of width 64, 8-pixel patches of 32 pixels", "16 tokens of 49408", sum} {
		assert.Contains(t, out, says)
	}
	code, out, errs := infer(t, "", "inspect", "ViT-S-32-alt") // a config alone has no weights to tell of
	require.Equal(t, 0, code, errs)
	assert.NotContains(t, out, "sha256")

	require.NoError(t, os.Remove(weights))
	code, out, errs = infer(t, "", "inspect", tiny)
	assert.Equal(t, 1, code)
	assert.Empty(t, out)
	assert.Contains(t, oneLine(t, errs), clip.WeightsFile+": no such file")
}
