package clip

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// meanColour and bagOfWords are the towers of a program: they have Forward and nothing else.
type meanColour struct {
	Proj *nn.Linear `torch:"proj"`
}

func (c *meanColour) Forward(x *torch.Tensor) *torch.Tensor { // (B, 3, H, W) -> (B, E)
	return c.Proj.Forward(x.Flatten(2, 3).MeanDim(2))
}

type bagOfWords struct {
	Words *nn.Weight `torch:"words"`
}

func (b *bagOfWords) Forward(tokens *torch.Tensor) *torch.Tensor { // (B, T) -> (B, E)
	return tokens.Embedding(b.Words.Weight).MeanDim(1)
}

// ownModel has towers of its own with weights that the seed decides.
func ownModel(t *testing.T, seed uint64) *Model {
	t.Helper()
	image := &meanColour{Proj: &nn.Linear{Weight: nn.Parameter(8, 3), Bias: nn.Parameter(8)}}
	text := &bagOfWords{Words: &nn.Weight{Weight: nn.Parameter(49408, 8)}}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		torch.ManualSeed(seed)
		for _, p := range []*torch.Tensor{image.Proj.Weight, image.Proj.Bias, text.Words.Weight} {
			s.Alias(p).NormalInPlace(0, 1)
		}
	}))
	m, err := NewModel(image, text, ModelConfig{Name: "colours", EmbedDim: 8, ImageSize: 16, ContextLength: 12})
	require.NoError(t, err)
	return m
}

// TestOwnTowers encodes, scores, classifies, learns, locks, saves and loads a model of which goclip knows Forward alone.
func TestOwnTowers(t *testing.T) {
	ctx, m := t.Context(), ownModel(t, 1)
	images := []ImageSource{FromFile(imagePath("face.png")), FromFile(imagePath("grey.gif"))}
	rows, err := m.EncodeImages(ctx, images...)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	assert.Len(t, rows[0], 8)
	assert.InDelta(t, 1, Cosine(rows[0], rows[0]), 1e-6)
	scores, err := m.Score(ctx, images, []string{"a face", "grey"})
	require.NoError(t, err)
	assert.InDelta(t, 1/0.07, scores.LogitScale, 1e-4)
	c, err := m.Classifier(ctx, []string{"a face", "grey"})
	require.NoError(t, err)
	_, err = m.Classify(ctx, c, 1, images...)
	require.NoError(t, err)

	var keys []string
	for key := range m.Parameters() {
		keys = append(keys, key)
	}
	assert.Equal(t, []string{"text.words.weight", "logit_scale", "visual.proj.weight", "visual.proj.bias"}, keys)
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		pixels := torch.Randn(s, torch.CPU, 4, 3, 16, 16)
		tokens := torch.FromSlice(s, []int64{1, 2, 3, 4, 5, 6, 7, 8}, 4, 2)
		m.Loss(pixels, tokens).Backward()
		for key, p := range m.Parameters() {
			assert.NotNil(t, s.Alias(p).Grad(), key)
		}
	}))
	for _, p := range m.Parameters() {
		torch.ZeroGrad([]*torch.Tensor{p})
	}

	require.NoError(t, m.LockImage(0, false))
	assert.Empty(t, learning(m, true))
	assert.ErrorContains(t, m.LockImage(1, false), "a *clip.meanColour has no groups (tower.Grouper)")
	assert.ErrorContains(t, m.AddLoRA(LoRAOptions{Rank: 1, Alpha: 1, Text: true}), "colours has a bagOfWords for a tower, which LoRA is not made for")
	assert.ErrorContains(t, m.SetGradCheckpointing(true), "which gradient checkpointing is not made for")
	assert.ErrorContains(t, m.SetPatchDropout(0.5), "which has no patches to leave out")
	require.NoError(t, m.SetPatchDropout(0))
	m.SetTraining(true)
	m.SetTraining(false)

	dir := filepath.Join(t.TempDir(), "own")
	require.NoError(t, m.Save(dir))
	_, err = Open(ctx, dir, nil)
	assert.ErrorIs(t, err, ErrUnsupported)
	assert.ErrorContains(t, err, "its towers are a program's own")
	assert.ErrorIs(t, m.SaveAs(dir, &SaveOptions{HuggingFace: true}), ErrUnsupported)
	other := ownModel(t, 2)
	assert.False(t, other.Trained())
	before, err := other.EncodeImages(ctx, images...)
	require.NoError(t, err)
	assert.NotEqual(t, rows, before)
	require.NoError(t, other.Load(dir))
	assert.True(t, other.Trained())
	assert.True(t, shippedModel(t).Trained())
	after, err := other.EncodeImages(ctx, images...)
	require.NoError(t, err)
	assert.Equal(t, rows, after)
	assert.ErrorContains(t, other.Load("../models/emoji-64"), "does not fit the model")
}

func TestOwnTowersRefusals(t *testing.T) {
	image := &meanColour{Proj: &nn.Linear{Weight: nn.Parameter(8, 3), Bias: nn.Parameter(8)}}
	text := &bagOfWords{Words: &nn.Weight{Weight: nn.Parameter(49408, 8)}}
	wrong := preprocess.DefaultConfig(24)
	for want, c := range map[string]struct {
		image, text Tower
		config      ModelConfig
	}{
		"needs an image tower":            {nil, text, ModelConfig{EmbedDim: 8, ImageSize: 16}},
		"EmbedDim 0":                      {image, text, ModelConfig{ImageSize: 16}},
		"ImageSize 0":                     {image, text, ModelConfig{EmbedDim: 8}},
		"ContextLength 1":                 {image, text, ModelConfig{EmbedDim: 8, ImageSize: 16, ContextLength: 1}},
		"the towers have no parameters":   {&meanColour{}, &bagOfWords{}, ModelConfig{EmbedDim: 8, ImageSize: 16}},
		"Preprocess makes images of [24 ": {image, text, ModelConfig{EmbedDim: 8, ImageSize: 16, Preprocess: &wrong}},
	} {
		_, err := NewModel(c.image, c.text, c.config)
		assert.ErrorContains(t, err, want)
	}
}
