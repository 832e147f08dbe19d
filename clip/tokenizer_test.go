package clip

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestTokenizerStripped has a model of CLIPA's kind: BERT's vocabulary, and 0 in the place of [SEP].
func TestTokenizerStripped(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim":8,"vision_cfg":{"image_size":32,"layers":1,"width":32,"head_width":32,"patch_size":16},
		"text_cfg":{"context_length":8,"vocab_size":2000,"width":8,"heads":1,"layers":1,"hf_tokenizer_name":"bert-base-uncased",
		"tokenizer_kwargs":{"strip_sep_token":true},"pool_type":"last","no_causal_mask":true}}`))
	require.NoError(t, err)
	m, err := New(c, 1)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, m.Save(dir))
	data, err := os.ReadFile("../testdata/tokenizer/bert/vocab.txt")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vocab.txt"), data, 0o644))
	again := filepath.Join(t.TempDir(), "again")
	for _, from := range []string{dir, again} {
		m, err = Open(t.Context(), from, nil)
		require.NoError(t, err)
		e, err := m.Tokenizer(t.Context())
		require.NoError(t, err)
		body := e.Encode("Dog!")
		require.Len(t, body, 2)
		row, _ := e.Tokenize("Dog!", 8)
		assert.Equal(t, []int64{3, int64(body[0]), int64(body[1]), 0, 0, 0, 0, 0}, row)
		_, err = m.EncodeTexts(t.Context(), "a dog")
		require.NoError(t, err)
		if from == dir {
			require.NoError(t, m.Save(again))
		}
	}
}

// TestTokenizerOfAnotherVocabulary has a model whose config names RoBERTa's tokenizer: without its files there are no
// ids at all, with them they are its own, and a saved directory has them too.
func TestTokenizerOfAnotherVocabulary(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim":8,"vision_cfg":{"image_size":32,"layers":1,"width":32,"head_width":32,"patch_size":16},
		"text_cfg":{"context_length":16,"vocab_size":50265,"width":8,"heads":1,"layers":1,"hf_tokenizer_name":"roberta-base"}}`))
	require.NoError(t, err)
	m, err := New(c, 1)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, m.Save(dir))

	m, err = Open(t.Context(), dir, nil)
	require.NoError(t, err, "features of token ids need no tokenizer")
	_, err = m.EncodeTexts(t.Context(), "a dog")
	require.ErrorContains(t, err, "reads the tokens of roberta-base: put its tokenizer.json")

	for _, name := range []string{"vocab.json", "merges.txt"} {
		data, err := os.ReadFile(filepath.Join("../testdata/tokenizer/roberta", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	want, err := tokenizer.Open(dir, tokenizer.Options{})
	require.NoError(t, err)
	again := filepath.Join(t.TempDir(), "again")
	for _, from := range []string{dir, again} {
		m, err = Open(t.Context(), from, nil)
		require.NoError(t, err)
		got, err := m.Tokenizer(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want.Encode("a dog's tail, 100%"), got.Encode("a dog's tail, 100%"))
		_, err = m.EncodeTexts(t.Context(), "a dog")
		require.NoError(t, err)
		if from == dir {
			require.NoError(t, os.RemoveAll(dir), "as a checkpoint that a run continued from and replaced")
			require.NoError(t, m.Save(again))
		}
	}
}

// TestOpenTokenizer holds the tokenizer of every kind of name against the one of the whole model, without its weights.
func TestOpenTokenizer(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim":8,"vision_cfg":{"image_size":32,"layers":1,"width":64,"head_width":32,"patch_size":16},
		"text_cfg":{"context_length":16,"vocab_size":50265,"width":64,"heads":1,"layers":1,"hf_tokenizer_name":"roberta-base"}}`))
	require.NoError(t, err)
	m, err := New(c, 1)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, m.Save(dir))
	_, _, err = OpenTokenizer(t.Context(), dir, nil)
	require.ErrorContains(t, err, "reads the tokens of roberta-base: put its tokenizer.json")
	for _, name := range []string{"vocab.json", "merges.txt"} {
		data, err := os.ReadFile(filepath.Join("../testdata/tokenizer/roberta", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	weights := filepath.Join(dir, WeightsFile)
	opened, err := Open(t.Context(), dir, nil)
	require.NoError(t, err)
	whole, err := opened.Tokenizer(t.Context())
	require.NoError(t, err)
	same := func(want tokenizer.Encoder, name string, o OpenOptions, length int) {
		t.Helper()
		before := settled.Count(torch.LiveTensors)
		got, tokens, err := OpenTokenizer(t.Context(), name, &o)
		require.NoError(t, err)
		assert.Equal(t, length, tokens)
		assert.Equal(t, want.Encode("a dog's tail, 100%"), got.Encode("a dog's tail, 100%"))
		assert.Equal(t, before, torch.LiveTensors(), "no tensor is made")
	}
	same(whole, weights, OpenOptions{}, 16)
	require.NoError(t, os.WriteFile(weights, []byte("no weights"), 0o644))
	same(whole, dir, OpenOptions{}, 16)
	same(whole, weights, OpenOptions{ContextLength: 9}, 9)
	require.NoError(t, os.Remove(weights))
	same(whole, dir, OpenOptions{}, 16)
	same(tokenizer.New(), "ViT-B/32", OpenOptions{}, 77)

	// A tag's weights are not fetched, nor is CLIP's own tokenizer.
	cleanUser(t)
	t.Setenv("GOCLIP_OFFLINE", "1")
	same(tokenizer.New(), "ViT-B-32", OpenOptions{Pretrained: "openai"}, 77)
	_, _, err = OpenTokenizer(t.Context(), "ViT-B-16-SigLIP", &OpenOptions{Pretrained: "webli"})
	require.ErrorIs(t, err, pretrained.ErrOffline)
	assert.ErrorContains(t, err, "timm/ViT-B-16-SigLIP")

	for says, try := range map[string]struct {
		name string
		o    OpenOptions
	}{
		"neither a model directory":   {"ViT-Q", OpenOptions{}},
		"no weights called":           {"ViT-B-32", OpenOptions{Pretrained: "nobody"}},
		"gone.pt: no such file":       {"ViT-B-32", OpenOptions{Pretrained: "gone.pt"}},
		"text.pt: no such file":       {dir, OpenOptions{TextTower: "text.pt"}},
		"context_length":              {"ViT-B-32", OpenOptions{ContextLength: -1}},
		"so is Pretrained random":     {"tokenizer.go", OpenOptions{Pretrained: "random"}},
		"tokenizer.go":                {"tokenizer.go", OpenOptions{}},
		"neither open_clip_config.js": {"loss", OpenOptions{}},
	} {
		_, _, err := OpenTokenizer(t.Context(), try.name, &try.o)
		assert.ErrorContains(t, err, says)
	}
}

// TestSpecialTokensByOrigin has special tokens inside a text as the library has them that the weights are from, also after
// a model was saved, and as text where that is wanted.
func TestSpecialTokensByOrigin(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim":64,"quick_gelu":true,"vision_cfg":{"image_size":32,"layers":1,"width":64,"patch_size":16},
		"text_cfg":{"context_length":8,"vocab_size":49408,"width":64,"heads":1,"layers":1}}`))
	require.NoError(t, err)
	m, err := New(c, 1)
	require.NoError(t, err)
	dir := t.TempDir()
	ours, hf, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "hf"), filepath.Join(dir, "theirs")
	require.NoError(t, m.Save(ours))
	require.NoError(t, m.SaveAs(hf, &SaveOptions{HuggingFace: true}))
	converted, err := Open(t.Context(), hf, nil)
	require.NoError(t, err)
	require.NoError(t, converted.Save(theirs))
	for _, x := range []struct {
		name   string
		o      OpenOptions
		openAI bool
	}{
		{"ViT-B-32", OpenOptions{}, false}, {"ViT-B-32", OpenOptions{Pretrained: "laion2b_s34b_b79k"}, false},
		{"ViT-B-32:openai", OpenOptions{}, true}, {"RN50", OpenOptions{Pretrained: "openai"}, true},
		{ours, OpenOptions{}, false}, {hf, OpenOptions{}, true}, {theirs, OpenOptions{}, true},
	} {
		own, other := "<end_of_text>", "<|endoftext|>"
		if x.openAI {
			own, other = other, own
		}
		e, _, err := OpenTokenizer(t.Context(), x.name, &x.o)
		require.NoError(t, err)
		assert.Equal(t, []int{tokenizer.EOT}, e.Encode(own), "%s %+v", x.name, x.o)
		assert.NotContains(t, e.Encode("a "+other), tokenizer.EOT, x.name)
		x.o.PlainText = true
		e, _, err = OpenTokenizer(t.Context(), x.name, &x.o)
		require.NoError(t, err)
		assert.NotContains(t, e.Encode(own), tokenizer.EOT, "%s as text", x.name)
	}
	opened, err := Open(t.Context(), theirs, &OpenOptions{PlainText: true})
	require.NoError(t, err)
	e, err := opened.Tokenizer(t.Context())
	require.NoError(t, err)
	assert.NotContains(t, e.Encode("<|endoftext|>"), tokenizer.EOT)
	assert.NotContains(t, e.Encode("<end_of_text>"), tokenizer.EOT)
}
