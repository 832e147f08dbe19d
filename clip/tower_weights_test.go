package clip

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// The files of testdata/clip/make_towers.py.
const towersDir = "../testdata/clip/towers"

func towerGolden(t *testing.T, name string) []float32 {
	t.Helper()
	f, err := checkpoint.Open(filepath.Join(towersDir, "outputs.safetensors"))
	require.NoError(t, err)
	defer f.Close()
	e, ok := f.Entry(name)
	require.True(t, ok, name)
	var out []float32
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) { out = torch.ToSlice[float32](e.Tensor(s)) }))
	return out
}

func assertGolden(t *testing.T, want []float32, got *torch.Tensor, name string) {
	t.Helper()
	have := torch.ToSlice[float32](got)
	require.Len(t, have, len(want), name)
	assert.LessOrEqual(t, worst(want, have, largest(want)), tolerance, name)
}

// TestTowers reads torchvision's ViT and transformers' RoBERTa into the dual encoder: before the projections, which are
// the model's own and random, the features are those libraries'.
func TestTowers(t *testing.T) {
	config := golden.Variants(t)["dual-encoder"]
	for _, picture := range []string{"vit.pth", "vit-old.pth"} {
		m := allocate(config)
		var said []string
		o := OpenOptions{Seed: 3, ImageTower: filepath.Join(towersDir, picture), TextTower: filepath.Join(towersDir, "roberta.bin"),
			Log: func(message string) { said = append(said, message) }}
		require.NoError(t, m.load("dual", o, description{}))
		require.Len(t, said, 2)
		assert.Contains(t, said[0], "has no visual.head.proj.weight: random numbers stay there")
		assert.Contains(t, said[1], "has no text.proj.weight: random numbers stay there")
		random, err := New(config, 3)
		require.NoError(t, err)
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			visual, text := m.Visual.(*tower.TimmViT), m.Text.(*tower.Roberta)
			assert.Equal(t, torch.ToSlice[float32](random.Visual.(*tower.TimmViT).Proj.Weight.Detach()), torch.ToSlice[float32](visual.Proj.Weight.Detach()))
			features := m.EncodeImage(golden.Pixels(s, "pixels", config))
			visual.Proj, text.Head.Proj = nil, nil
			bare := visual.Forward(golden.Pixels(s, "pixels", config))
			assertGolden(t, towerGolden(t, "vit"), bare, picture)
			assertGolden(t, towerGolden(t, "roberta"), text.Forward(golden.Tokens(s, "tokens", config)), "roberta")
			assert.NotEqual(t, bare.Shape(), features.Shape())
		}))
	}
}

// TestTowersOfWholeModels takes one tower out of a checkpoint of both, and leaves the other and the temperature alone.
func TestTowersOfWholeModels(t *testing.T) {
	plain := plainConfig(t)
	m, err := New(plain, 5)
	require.NoError(t, err)
	before := snapshot(t, m)
	require.NoError(t, m.loadTower(filepath.Join(towersDir, "plain.pt"), "visual.", OpenOptions{}))
	whole := goldenModel(t, plain)
	wanted := snapshot(t, whole)
	for key, now := range snapshot(t, m) {
		if strings.HasPrefix(key, "visual.") {
			assert.Equal(t, wanted[key], now, key)
		} else {
			assert.Equal(t, before[key], now, key)
		}
	}
	require.NoError(t, m.loadTower(filepath.Join(towersDir, "plain.pt"), "text.", OpenOptions{}))
	assert.Equal(t, wanted["text_projection"], snapshot(t, m)["text_projection"])
	siglip, err := New(golden.Variants(t)["clipa"], 5)
	require.NoError(t, err)
	err = siglip.loadTower(filepath.Join(towersDir, "plain.pt"), "text.", OpenOptions{})
	assert.ErrorContains(t, err, "the model needs")
}

func TestTowerRefusals(t *testing.T) {
	m, err := New(golden.Variants(t)["dual-encoder"], 5)
	require.NoError(t, err)
	for _, c := range []struct{ file, prefix, says string }{
		{"roberta.bin", "visual.", "roberta.bin holds no weights of this image tower"},
		{"vit.pth", "text.", "vit.pth holds no weights of this text tower"},
		{"none.pth", "visual.", "none.pth: no such file"},
	} {
		assert.ErrorContains(t, m.loadTower(filepath.Join(towersDir, c.file), c.prefix, OpenOptions{}), c.says)
	}
	other := *golden.Variants(t)["dual-encoder"]
	hf := *other.Text.HFModelConfig
	hf.Layers = 2
	other.Text.HFModelConfig = &hf
	m = allocate(&other)
	err = m.loadTower(filepath.Join(towersDir, "roberta.bin"), "text.", OpenOptions{})
	assert.ErrorContains(t, err, "missing roberta.encoder.layer.1.attention.self.key.weight")
}

func plainConfig(t *testing.T) *tower.Config {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(towersDir, "plain.json"))
	require.NoError(t, err)
	c, err := tower.ParseConfig(text)
	require.NoError(t, err)
	return c
}

func snapshot(t *testing.T, m *Model) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for key, p := range m.State() {
		all[key] = torch.ToSlice[float32](p.Detach())
	}
	return all
}

// TestFixUps holds what loading mends against open_clip's own load: position embeddings of other images and texts,
// and a logit bias that the file does not have.
func TestFixUps(t *testing.T) {
	var said []string
	log := func(message string) { said = append(said, message) }
	d := description{config: plainConfig(t)}
	m, err := d.open(t.Context(), "plain", OpenOptions{Pretrained: filepath.Join(towersDir, "plain.pt"), ImageSize: 40, ContextLength: 11, Log: log})
	require.NoError(t, err)
	assert.Equal(t, [2]int{40, 40}, m.Preprocess.Size)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		assertGolden(t, towerGolden(t, "resized/image"), m.EncodeImage(golden.Pixels(s, "pixels", m.Config)), "image")
		assertGolden(t, towerGolden(t, "resized/text"), m.EncodeText(golden.Tokens(s, "tokens", m.Config)), "text")
	}))
	require.Len(t, said, 2)
	assert.Contains(t, strings.Join(said, " "), "the position embeddings of 9 patches were resampled to 25")
	assert.Contains(t, strings.Join(said, " "), "the position embeddings of 8 tokens were resampled to 11")

	said = nil
	biased, bias := plainConfig(t), -10.0
	biased.InitLogitBias = &bias
	d.config = biased
	m, err = d.open(t.Context(), "plain", OpenOptions{Pretrained: filepath.Join(towersDir, "plain.pt"), Log: log})
	require.NoError(t, err)
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "has no logit_bias: zeros take its place")
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		images := m.EncodeImage(golden.Pixels(s, "pixels", m.Config)).Normalize(1)
		texts := m.EncodeText(golden.Tokens(s, "tokens", m.Config)).Normalize(1)
		assertGolden(t, towerGolden(t, "biased/logits"), images.MatMul(texts.T()).Mul(m.LogitScale.Exp()).Add(m.LogitBias), "logits")
	}))

	_, err = d.open(t.Context(), "plain", OpenOptions{Pretrained: filepath.Join(towersDir, "plain.pt"), ImageSize: 4})
	assert.ErrorContains(t, err, "vision_cfg.patch_size 8 is larger than image_size 4")
	_, err = Open(t.Context(), "ViT-B-16-SigLIP", &OpenOptions{Pretrained: "random", ImageSize: 256})
	assert.ErrorContains(t, err, "image_size is 256, and vit_base_patch16_siglip_224 takes 224")
}
