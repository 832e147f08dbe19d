package clip

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// hfModels are the directories of testdata/clip/make_hf.py, and hfSaved those that are written as well as read.
var (
	hfSaved  = []string{"clip", "clip-eos", "metaclip-2", "siglip", "siglip2"}
	hfModels = append(slices.Clone(hfSaved), "chinese-clip", "altclip", "clipseg")
)

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
		images := m.EncodeImage(hfPixels(s, m, f)).Normalize(1)
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

// hfPixels are make_hf.py's pictures: of a model that takes any shape, patches behind the grid that the file names.
func hfPixels(s *torch.Scope, m *Model, f *checkpoint.File) *torch.Tensor {
	if !m.Config.Vision.IsNaFlex() {
		return golden.Pixels(s, "pixels", m.Config)
	}
	e, _ := f.Entry("siglip2/grids")
	grids := torch.ToSlice[int64](e.Tensor(s))
	size, p := m.Config.Vision.PixelSize(), m.Config.Vision.PatchSize
	columns := size.Width / p
	most := (size.Height/p - 1) * columns
	values, plane := golden.Uniform("pixels", golden.Batch*most*p*p*3), size.Height*size.Width
	data := make([]float32, golden.Batch*3*plane)
	for i := range golden.Batch {
		image := data[i*3*plane:][:3*plane]
		image[1], image[plane+1] = float32(grids[2*i]), float32(grids[2*i+1])
		for patch := range grids[2*i] * grids[2*i+1] {
			at := (1+int(patch)/columns)*p*size.Width + int(patch)%columns*p
			for j, v := range values[(i*most+int(patch))*p*p*3:][:p*p*3] {
				image[j%3*plane+at+j/3/p*size.Width+j/3%p] = float32(1.5 * v)
			}
		}
	}
	return torch.FromSlice(s, data, golden.Batch, 3, size.Height, size.Width)
}

// TestHuggingFaceGradients holds the loss and the gradient of every weight against transformers', with gradient checkpointing
// and without.
func TestHuggingFaceGradients(t *testing.T) {
	outputs, err := checkpoint.Open("../testdata/clip/hf/outputs.safetensors")
	require.NoError(t, err)
	t.Cleanup(func() { outputs.Close() })
	f, err := checkpoint.Open("../testdata/clip/hf/gradients.safetensors")
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	for _, name := range []string{"siglip2", "altclip"} {
		all := map[string]checkpoint.Entry{}
		for _, key := range f.Names() {
			if of, ok := strings.CutPrefix(key, name+"/"); ok {
				all[strings.NewReplacer("roberta.encoder.layers.", "encoder.layer.", "roberta.", "").Replace(of)], _ = f.Entry(key)
			}
		}
		for _, checkpointing := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, checkpointing %v", name, checkpointing), func(t *testing.T) {
				m, err := Open(t.Context(), hfDirectory(name), &OpenOptions{Copy: true})
				require.NoError(t, err)
				require.NoError(t, m.SetGradCheckpointing(checkpointing))
				if m.Visual.(tower.Mode).SetTraining(checkpointing); name == "siglip2" { // altclip's text tower has dropout
					m.Text.(tower.Mode).SetTraining(checkpointing)
				}
				compared := 0
				require.NoError(t, torch.Do(func(s *torch.Scope) {
					ids, _ := outputs.Entry(name + "/tokens")
					loss := m.Loss(hfPixels(s, m, outputs), ids.Tensor(s))
					assert.InDelta(t, torch.ToSlice[float32](all["loss"].Tensor(s))[0], loss.Item(), 1e-4)
					loss.Backward()
					for key, p := range m.Parameters() {
						w, problems := huggingFaceKeys(key).find(all)
						require.Empty(t, problems, key)
						want := torch.FromSlice(s, make([]float32, p.Numel()), p.Shape()...)
						require.NoError(t, w.fill(f, want, false), key)
						require.NotNil(t, p.Grad(), key)
						numbers := torch.ToSlice[float32](want)
						assert.LessOrEqual(t, worst(numbers, torch.ToSlice[float32](p.Grad()), max(largest(numbers), 1e-2)), 10*tolerance, key)
						compared++
					}
				}))
				assert.Greater(t, compared, 40)
			})
		}
	}
}

// TestHuggingFace opens transformers' directories, one of them in several files, and single files of theirs.
func TestHuggingFace(t *testing.T) {
	for _, name := range hfModels {
		t.Run(name, func(t *testing.T) {
			m, err := Open(t.Context(), hfDirectory(name), nil)
			require.NoError(t, err)
			before := settled.Count(torch.LiveTensors)
			require.NoError(t, m.load(name, OpenOptions{}, description{weights: WeightsIn(hfDirectory(name))}))
			assert.Equal(t, before, torch.LiveTensors())
			checkHuggingFace(t, m, name)
			assert.Equal(t, preprocess.OrderHuggingFace, m.Preprocess.Order)
			if size := m.Config.Vision.PixelSize(); m.Config.Vision.IsNaFlex() {
				assert.Equal(t, tower.Size{Height: 32, Width: 40}, size, "15 patches behind a row")
			} else {
				assert.Equal(t, tower.Square(24), size)
			}
			assert.Equal(t, m.Config.Vision.PixelSize(), tower.Size{Height: m.Preprocess.Size[0], Width: m.Preprocess.Size[1]})
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
		"SigLIP 2 for images of any shape": {`{"model_type": "siglip2", "text_config": {"vocab_size": 256000}, "vision_config": {}}`, func(t *testing.T, c *tower.Config) {
			assert.Equal(t, "naflexvit_base_patch16_siglip", c.Vision.TimmModelName)
			assert.Equal(t, tower.Square(256), c.Vision.ImageSize)
			assert.Equal(t, tower.Size{Height: 272, Width: 256}, c.Vision.PixelSize())
			assert.Equal(t, "lowercase", c.Text.TokenizerOptions.Clean)
		}},
		"AltCLIP's defaults": {`{"model_type": "altclip"}`, func(t *testing.T, c *tower.Config) {
			h, ok := c.Text.Encoder()
			require.True(t, ok)
			assert.Equal(t, []int{250002, 1024, 24, 768}, []int{h.VocabSize, h.HiddenSize, h.Layers, h.ProjectDim})
			assert.Equal(t, []int{768, 77}, []int{c.EmbedDim, c.Text.ContextLength})
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
		`[]`:                     "not transformers' JSON",
		`{"model_type": "blip"}`: `model_type is "blip"; of transformers' models goclip has altclip, chinese_clip, clip, clipseg, metaclip_2, siglip and siglip2`,
		`{"model_type": "siglip2", "vision_config": {"num_patches": 250}}`:              "num_patches is 250; it must be a square number",
		`{"model_type": "siglip2", "vision_config": {"num_patches": 196}}`:              "no published SigLIP has 12 blocks",
		`{"model_type": "altclip", "text_config": {"hidden_size": 1000}}`:               "hidden_size 1000 is not a multiple of num_attention_heads 16",
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

// TestAnyShape encodes images of several shapes in one batch as each alone, takes more patches on request, and lays out an
// explanation as the image is shaped.
func TestAnyShape(t *testing.T) {
	images := []ImageSource{FromFile(imagePath("rgb_129x200.png")), FromFile(imagePath("rgb_500x333.png")), FromFile(imagePath("face.png"))}
	var small [][]float32
	for _, side := range []int{0, 40} {
		m, err := Open(t.Context(), hfDirectory("siglip2"), &OpenOptions{ImageSize: side})
		require.NoError(t, err)
		rows, err := m.EncodeImages(t.Context(), images...)
		require.NoError(t, err)
		for i, source := range images {
			alone, err := m.EncodeImages(t.Context(), source)
			require.NoError(t, err)
			assert.InDelta(t, 1, Cosine(alone[0], rows[i]), 1e-6)
		}
		if side > 0 {
			assert.Equal(t, [2]int{48, 40}, m.Preprocess.Size)
			assert.NotEqual(t, small, rows, "more patches")
		}
		small = rows
		transform, err := m.Transform()
		require.NoError(t, err)
		pixels := make([]float32, transform.Len())
		require.NoError(t, transform.File(t.Context(), pixels, imagePath("rgb_500x333.png")))
		grid := map[int][]int{0: {3, 5}, 40: {4, 6}}[side]
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			x := torch.FromSlice(s, pixels, 1, 3, m.Preprocess.Size[0], m.Preprocess.Size[1])
			tower := m.Visual.(tower.Localizer)
			assert.Equal(t, append(grid, 16), tower.Places(x).Shape())
			assert.Equal(t, grid, tower.Relevance(x, func(feature *torch.Tensor) *torch.Tensor { return feature.Sum() }).Shape())
		}))
	}
}
