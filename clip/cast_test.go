package clip

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/torch"
)

// TestCast has towers of every kind compute in half precision: features near those in float32, and normalised in float32.
func TestCast(t *testing.T) {
	configs := golden.Variants(t)
	for _, name := range []string{"clipa", "resnet", "siglip", "roberta-mean", "convnext-mlp", "eva-swiglu", "pe"} {
		for dtype, least := range map[torch.DType]float64{torch.BFloat16: 0.995, torch.Float16: 0.9999} {
			t.Run(name+" "+dtype.String(), func(t *testing.T) {
				m := goldenModel(t, configs[name])
				size, length := m.Config.Vision.ImageSize, m.ContextLength()
				pixels := make([]float32, 2*3*size.Height*size.Width)
				for i, u := range golden.Uniform("pixels", len(pixels)) {
					pixels[i] = float32(u)
				}
				tokens := make([]int64, 2*length)
				for i := range tokens {
					tokens[i] = int64(1 + i%(m.Config.Text.VocabSize-1))
				}
				encode := func() [][]float32 {
					images, err := m.ImageFeatures(pixels, 2)
					require.NoError(t, err)
					texts, err := m.TextFeatures(tokens, 2)
					require.NoError(t, err)
					e := m.Config.EmbedDim
					return [][]float32{images[:e], images[e:], texts[:e], texts[e:]}
				}
				want := encode()
				require.NoError(t, m.Cast(dtype))
				assert.Equal(t, dtype, m.dtype())
				assert.Equal(t, torch.Float32, m.LogitScale.DType())
				for i, row := range encode() {
					assert.Greater(t, Cosine(want[i], row), least)
					assert.InDelta(t, 1, Cosine(row, row), 1e-6)
				}
			})
		}
	}
}

func TestUseGraphsWithoutGPU(t *testing.T) {
	m := goldenModel(t, golden.Config(t, "tiny"))
	assert.EqualError(t, m.UseGraphs(), "clip: CUDA graphs are for a model on a GPU, and this one is on cpu")
}

// TestGraphs replays towers on a GPU: the features of batches of one shape are those without graphs.
func TestGraphs(t *testing.T) {
	device := gputest.Capturing(t)
	open := func() *Model {
		m, _ := textModel(t)
		require.NoError(t, m.To(device))
		require.NoError(t, m.Cast(torch.BFloat16))
		return m
	}
	plain, captured := open(), open()
	require.NoError(t, captured.UseGraphs())
	for turn := range 5 {
		_, tokens := textModel(t, 1+turn, 40, 2+turn)
		want, err := plain.TextFeatures(tokens, 3)
		require.NoError(t, err)
		have, err := captured.TextFeatures(tokens, 3)
		require.NoError(t, err)
		assert.InDeltaSlice(t, want, have, 1e-2)
		pixels := make([]float32, 2*3*8*8)
		for i := range pixels {
			pixels[i] = float32((i*7+turn*13)%17)/8 - 1
		}
		want, err = plain.ImageFeatures(pixels, 2)
		require.NoError(t, err)
		have, err = captured.ImageFeatures(pixels, 2)
		require.NoError(t, err)
		assert.InDeltaSlice(t, want, have, 1e-2)
	}
	assert.Positive(t, captured.graphs.cache.Len())
}
