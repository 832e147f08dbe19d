package clip

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// hfModels are the directories of testdata/clip/make_hf.py.
var hfModels = []string{"clip", "clip-eos", "metaclip-2", "siglip", "chinese-clip", "clipseg"}

func hfDirectory(name string) string { return "../testdata/clip/hf/" + name }

// checkHuggingFace holds a model's numbers against those of transformers.
func checkHuggingFace(t *testing.T, m *Model, name string) {
	t.Helper()
	f, err := checkpoint.Open("../testdata/clip/hf/outputs.safetensors")
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	floats := func(s *torch.Scope, part string) []float32 {
		e, ok := f.Entry(name + "/" + part)
		require.True(t, ok, part)
		return torch.ToSlice[float32](e.Tensor(s))
	}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		ids, _ := f.Entry(name + "/tokens")
		images := m.EncodeImage(golden.Pixels(s, "pixels", m.Config)).Normalize(1)
		texts := m.EncodeText(ids.Tensor(s)).Normalize(1)
		logits := images.MatMul(texts.T()).Mul(m.LogitScale.Exp())
		if m.LogitBias != nil {
			logits = logits.Add(m.LogitBias)
		}
		for part, got := range map[string]*torch.Tensor{"image": images, "text": texts, "logits": logits} {
			want := floats(s, part)
			assert.LessOrEqual(t, worst(want, torch.ToSlice[float32](got), largest(want)), tolerance, part)
		}
	}))
}

// TestHuggingFace opens transformers' directories, one of them in several files, and single files of theirs.
func TestHuggingFace(t *testing.T) {
	for _, name := range hfModels {
		t.Run(name, func(t *testing.T) {
			m, err := Open(t.Context(), hfDirectory(name), nil)
			require.NoError(t, err)
			before := torch.LiveTensors()
			require.NoError(t, m.load(name, OpenOptions{}, description{weights: WeightsIn(hfDirectory(name))}))
			assert.LessOrEqual(t, torch.LiveTensors(), before, "live handles; the collector may have freed an earlier model")
			checkHuggingFace(t, m, name)
			assert.Equal(t, preprocess.OrderHuggingFace, m.Preprocess.Order)
			assert.Equal(t, [2]int{24, 24}, m.Preprocess.Size)
		})
	}
	m, err := Open(t.Context(), filepath.Join(hfDirectory("clip"), "model.safetensors"), nil)
	require.NoError(t, err)
	checkHuggingFace(t, m, "clip")
}

// TestHuggingFaceToOpenCLIP has a model that was read from one layout be the same from the other.
func TestHuggingFaceToOpenCLIP(t *testing.T) {
	for _, name := range hfModels {
		m, err := Open(t.Context(), hfDirectory(name), nil)
		require.NoError(t, err)
		dir := t.TempDir()
		require.NoError(t, m.Save(dir))
		again, err := Open(t.Context(), dir, nil)
		require.NoError(t, err, name)
		assert.Equal(t, m.Preprocess, again.Preprocess, name)
		checkHuggingFace(t, again, name)
	}
}

// TestHuggingFaceConfigs reads the forms that the hub's configs have.
func TestHuggingFaceConfigs(t *testing.T) {
	for name, c := range map[string]struct {
		json string
		want func(t *testing.T, c *tower.Config)
	}{
		"defaults are ViT-B-32's": {`{"model_type": "clip"}`, func(t *testing.T, c *tower.Config) {
			want, err := tower.LookupConfig("ViT-B-32-quickgelu")
			require.NoError(t, err)
			assert.Equal(t, *want, *c)
		}},
		"the older objects win": {`{"model_type": "clip", "projection_dim": 1024, "text_config": {"hidden_act": "quick_gelu", "eos_token_id": 2},
			"text_config_dict": {"hidden_act": "gelu", "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24},
			"vision_config": {}, "vision_config_dict": {"hidden_act": "gelu", "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 16, "num_hidden_layers": 32, "patch_size": 14}}`,
			func(t *testing.T, c *tower.Config) {
				want, err := tower.LookupConfig("ViT-H-14")
				require.NoError(t, err)
				assert.Equal(t, *want, *c)
			}},
		"SigLIP's defaults, with the tanh": {`{"model_type": "siglip", "text_config": {}, "vision_config": {}}`, func(t *testing.T, c *tower.Config) {
			assert.Equal(t, "vit_base_patch16_siglip_224", c.Vision.TimmModelName)
			assert.Equal(t, &tower.ActOptions{Approximate: "tanh"}, c.Vision.ActOptions)
			assert.Equal(t, &tower.ActOptions{Approximate: "tanh"}, c.Text.ActOptions)
		}},
		"a SigLIP 2 whose name has the tanh": {`{"model_type": "siglip", "text_config": {"vocab_size": 256000, "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16},
			"vision_config": {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "patch_size": 16, "image_size": 256}}`, func(t *testing.T, c *tower.Config) {
			assert.Equal(t, "vit_so400m_patch16_siglip_256", c.Vision.TimmModelName)
			assert.Nil(t, c.Vision.ActOptions)
			assert.Equal(t, 4304, int(float64(c.Text.Width)*c.Text.MLPRatio))
		}},
		"another end token": {`{"model_type": "clip", "text_config": {"eos_token_id": 7}}`, func(t *testing.T, c *tower.Config) {
			assert.Equal(t, "eos", c.Text.PoolType)
			assert.Equal(t, 7, *c.Text.EOSID)
		}},
		"MetaCLIP 2 means its 2": {`{"model_type": "metaclip_2", "text_config": {"eos_token_id": 2}}`, func(t *testing.T, c *tower.Config) {
			assert.Equal(t, 2, *c.Text.EOSID)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tower.ParseHuggingFace([]byte(c.json))
			require.NoError(t, err)
			c.want(t, got)
		})
	}
}

func TestHuggingFaceRefusals(t *testing.T) {
	for config, want := range map[string]string{
		`[]`:                        "not transformers' JSON",
		`{"model_type": "blip"}`:    `model_type is "blip"; of transformers' models goclip has chinese_clip, clip, clipseg, metaclip_2 and siglip`,
		`{"model_type": "siglip2"}`: `model_type is "siglip2"`,
		`{"model_type": "clip", "text_config": 3}`:                                      "text_config: json",
		`{"model_type": "clip", "text_config": {"hidden_act": "relu"}}`:                 `text_config.hidden_act is "relu"`,
		`{"model_type": "clip", "text_config": {"hidden_act": "gelu"}}`:                 "QuickGELU goes for both towers or for none",
		`{"model_type": "clip", "vision_config": {"num_channels": 1}}`:                  "vision_config.num_channels is 1",
		`{"model_type": "clip", "vision_config": {"patch_size": [16, 8]}}`:              "patches must be square",
		`{"model_type": "clip", "vision_config": {"num_attention_heads": 0}}`:           "vision_config.num_attention_heads is 0",
		`{"model_type": "clip", "vision_config": {"num_attention_heads": 7}}`:           "768 is not a multiple of num_attention_heads 7",
		`{"model_type": "clip", "text_config": {"eos_token_id": [1, 2]}}`:               "eos_token_id is [1, 2]; it must be one number",
		`{"model_type": "clip", "text_config": {"hidden_size": -5}}`:                    "text_config.hidden_size is -5",
		`{"model_type": "siglip", "vision_config": {"num_hidden_layers": 11}}`:          "no published SigLIP has 11 blocks",
		`{"model_type": "siglip", "vision_config": {"vision_use_head": false}}`:         "vision_use_head is false",
		`{"model_type": "siglip", "text_config": {"projection_size": 5}}`:               "projection_size is 5",
		`{"model_type": "clip", "vision_config": {"image_size": 8, "patch_size": 100}}`: "is larger than image_size",
		`{"model_type": "clip", "projection_dim": 100000000000}`:                        "embed_dim is 100000000000, which is not a size",
	} {
		_, err := tower.ParseHuggingFace([]byte(config))
		assert.ErrorContains(t, err, want, config)
	}

	dir := t.TempDir()
	copyFiles(t, hfDirectory("clip"), dir)
	var c map[string]any
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &c))
	c["vision_config"].(map[string]any)["num_hidden_layers"] = 3
	data, err = json.Marshal(c)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644))
	_, err = Open(t.Context(), dir, nil)
	require.ErrorContains(t, err, "missing vision_model.encoder.layers.2.self_attn.v_proj.bias")
	require.ErrorContains(t, err, "missing vision_model.encoder.layers.2.layer_norm1.weight", "all at once")
	_, err = Open(t.Context(), "ViT-B-32", &OpenOptions{Pretrained: hfDirectory("clip")})
	require.ErrorContains(t, err, "was trained with quick_gelu=true and the config says false")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "preprocessor_config.json"), []byte(`{"size": 32, "crop_size": 32}`), 0o644))
	_, err = Open(t.Context(), dir, nil)
	require.ErrorContains(t, err, "preprocessing makes images of [32 32] pixels, the model takes 24")
	require.NoError(t, os.Remove(filepath.Join(dir, "preprocessor_config.json")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "processor_config.json"), []byte(`{"image_processor": {"do_resize": false}}`), 0o644))
	_, err = Open(t.Context(), dir, nil)
	require.ErrorContains(t, err, "processor_config.json: do_resize false is not supported")
}

func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
}
