package clip

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// cocaModel is testdata/clip/make_coca.py's.
func cocaModel(t *testing.T) *Model {
	t.Helper()
	text, err := os.ReadFile(golden.Path("coca.json"))
	require.NoError(t, err)
	c, err := tower.ParseConfig(text)
	require.NoError(t, err)
	m := goldenModel(t, c)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		p := s.Alias(m.Decoder.Projection).MulInPlace(8)
		p.Select(1, 63).MulInPlace(2)
		p.Select(1, 0).MulInPlace(1.5)
	}))
	return m
}

// cocaPixels are the images that the script shows, brighter and brighter.
func cocaPixels(s *torch.Scope, c *tower.Config) *torch.Tensor {
	contrast := make([]float32, golden.Batch)
	for i := range contrast {
		contrast[i] = float32(0.2 + 3.8*float64(i)/float64(golden.Batch-1))
	}
	return golden.Pixels(s, "pixels", c).Mul(torch.FromSlice(s, contrast, golden.Batch, 1, 1, 1))
}

// TestCoCa holds features, logits and captions against open_clip's, token by token.
func TestCoCa(t *testing.T) {
	m, g := cocaModel(t), golden.Open(t, "coca")
	text, image := m.Text.(*tower.Text), m.Visual.(*tower.ViT)
	before := settled.Count(torch.LiveTensors)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		pixels, tokens := cocaPixels(s, m.Config), golden.Tokens(s, "tokens", m.Config)
		seen := m.Decoder.See(image.Tokens(pixels))
		for name, got := range map[string]*torch.Tensor{"image_features": m.EncodeImage(pixels), "text_features": m.EncodeText(tokens),
			"logits": m.Decoder.Logits(text.Tokens(tokens), seen)} {
			want := g.Floats(name)
			assert.LessOrEqual(t, worst(want, torch.ToSlice[float32](got), largest(want)), tolerance, name)
		}
		for name, beams := range map[string]int{"greedy": 1, "beams": 2, "beams-2": 2, "beams-4": 4} {
			rows, ends := g.Ints(name), 0
			for i, want := range slices.Collect(slices.Chunk(rows, len(rows)/golden.Batch)) {
				w := &writer{CaptionOptions: CaptionOptions{Beams: beams, MaxTokens: 12, MinTokens: 5}, text: text, decoder: m.Decoder, start: 62, end: 63}
				got, err := w.write(t.Context(), image.Tokens(pixels.Narrow(0, i, 1)))
				require.NoError(t, err)
				var ids []int
				for _, id := range want {
					if id >= 0 && id < 62 {
						ids = append(ids, int(id))
					}
				}
				assert.Equal(t, ids, got, "%s of image %d", name, i)
				if len(ids) < 10 {
					ends++
				}
			}
			assert.Positive(t, ends, "%s: no caption ends by itself", name)
		}
	}))
	assert.Equal(t, before, torch.LiveTensors())
}

// TestWriting has texts that grow token by token, change their order and hold padding give the logits of whole texts.
func TestWriting(t *testing.T) {
	m := cocaModel(t)
	text, image := m.Text.(*tower.Text), m.Visual.(*tower.ViT)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		seen := m.Decoder.See(image.Tokens(cocaPixels(s, m.Config).Narrow(0, 0, 1)))
		texts := [][]int64{{62, 7, 0, 9, 0, 0, 4, 5}, {62, 0, 3, 3, 61, 2, 0, 1}, {62, 11, 12, 13, 14, 15, 16, 17}}
		w := m.Decoder.Write(text, seen, len(texts), 10)
		require.NotNil(t, w)
		for i := range 8 {
			if i == 4 { // the second and third text go on as two of the first
				w.Keep(torch.FromSlice(s, []int64{0, 0, 1}, 3))
				texts = [][]int64{texts[0], append(slices.Clone(texts[0][:4]), texts[1][4:]...), append(slices.Clone(texts[1][:4]), texts[2][4:]...)}
			}
			var last, whole []int64
			for _, ids := range texts {
				last, whole = append(last, ids[i]), append(whole, ids[:i+1]...)
			}
			want := torch.ToSlice[float32](m.Decoder.Logits(text.Tokens(torch.FromSlice(s, whole, 3, i+1)), seen))
			got := torch.ToSlice[float32](w.Next(torch.FromSlice(s, last, 3, 1)))
			assert.LessOrEqual(t, worst(want, got, largest(want)), tolerance, "token %d", i)
		}
	}))
}

// BenchmarkCaption is the time of two captions of 30 tokens side by side, as two beams are, of coca_ViT-B-32 with random
// weights: with the keys and values of the tokens kept, and with the whole texts computed again for each token.
func BenchmarkCaption(b *testing.B) {
	c, err := tower.LookupConfig("coca_ViT-B-32")
	require.NoError(b, err)
	m, err := New(c, 1)
	require.NoError(b, err)
	text, image := m.Text.(*tower.Text), m.Visual.(*tower.ViT)
	const longest, beams = 30, 2
	run := func(b *testing.B, next func(x *torch.Tensor, seen tower.Seen, ids []int64, length int) *torch.Tensor) {
		for b.Loop() {
			require.NoError(b, torch.NoGrad(func(s *torch.Scope) {
				seen := m.Decoder.See(image.Tokens(torch.FromSlice(s, make([]float32, 3*224*224), 1, 3, 224, 224)))
				var ids []int64
				for length := 1; length < longest; length++ {
					ids = append(ids, 49406, 320) // one for each beam
					_ = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return next(x, seen, ids, length) }, seen[0][0])
				}
			}))
		}
	}
	b.Run("kept", func(b *testing.B) {
		var w *tower.Writing
		run(b, func(x *torch.Tensor, seen tower.Seen, ids []int64, length int) *torch.Tensor {
			if length == 1 {
				w = m.Decoder.Write(text, seen, beams, longest)
			}
			return w.Next(torch.FromSliceLike(x, ids[len(ids)-beams:], beams, 1))
		})
	})
	b.Run("again", func(b *testing.B) {
		run(b, func(x *torch.Tensor, seen tower.Seen, ids []int64, length int) *torch.Tensor {
			return m.Decoder.Logits(text.Tokens(torch.FromSliceLike(x, ids, beams, length)), seen)
		})
	})
}

// TestCaption writes captions of files, with CLIP's words.
func TestCaption(t *testing.T) {
	text, err := os.ReadFile(golden.Path("coca.json"))
	require.NoError(t, err)
	var j map[string]any
	require.NoError(t, json.Unmarshal(text, &j))
	for _, part := range []string{"text_cfg", "multimodal_cfg"} {
		j[part].(map[string]any)["vocab_size"] = 49408
	}
	text, err = json.Marshal(j)
	require.NoError(t, err)
	c, err := tower.ParseConfig(text)
	require.NoError(t, err)
	m, err := New(c, 1)
	require.NoError(t, err)
	m.Name = "tiny"
	images := []ImageSource{FromFile(imagePath("face.png")), FromFile(imagePath("grey.gif"))}
	got, err := m.Caption(t.Context(), &CaptionOptions{Beams: 1, MaxTokens: 8}, images...)
	require.NoError(t, err)
	require.Len(t, got, 2)
	assert.NotEmpty(t, got[0])
	again, err := m.Caption(t.Context(), &CaptionOptions{Beams: 1, MaxTokens: 8}, images...)
	require.NoError(t, err)
	assert.Equal(t, got, again)

	dir := t.TempDir()
	require.NoError(t, m.Save(dir))
	opened, err := Open(t.Context(), dir, nil)
	require.NoError(t, err)
	again, err = opened.Caption(t.Context(), &CaptionOptions{Beams: 1, MaxTokens: 8}, images...)
	require.NoError(t, err)
	assert.Equal(t, got, again, "saved and opened")
	assert.ErrorContains(t, m.SaveAs(t.TempDir(), &SaveOptions{HuggingFace: true}), "a decoder")

	for want, o := range map[string]CaptionOptions{"Beams 65: must be between 1 and 64": {Beams: 65}, "MaxTokens 21: must be between 3 and the context length, 20": {MaxTokens: 21},
		"MinTokens 8: must be between 1 and MaxTokens - 1, 7": {MaxTokens: 8, MinTokens: 8}} {
		_, err := m.Caption(t.Context(), &o, images...)
		assert.ErrorContains(t, err, want)
	}
	_, err = m.Caption(t.Context(), &CaptionOptions{MaxTokens: 8}, FromFile("missing.png"))
	var bad *ImageError
	assert.ErrorAs(t, err, &bad)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = m.Caption(ctx, &CaptionOptions{MaxTokens: 8}, images...)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = shippedModel(t).Caption(t.Context(), nil, images...)
	assert.ErrorIs(t, err, ErrUnsupported)
	assert.ErrorContains(t, err, "writes no captions: a CoCa does")
}
