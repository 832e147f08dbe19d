package clip

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/torch"
)

// TestOnGPU holds every kind of tower on a GPU against the CPU: features and gradients in float32, features in half precision, where
// texts are packed.
func TestOnGPU(t *testing.T) {
	device := gputest.GPU(t)
	for name, text := range golden.Variants(t) {
		t.Run(name, func(t *testing.T) {
			m := goldenModel(t, text)
			size, length := m.Config.Vision.ImageSize, m.ContextLength()
			pixels := make([]float32, 3*3*size.Height*size.Width)
			for i, u := range golden.Uniform("pixels", len(pixels)) {
				pixels[i] = float32(u)
			}
			tokens := make([]int64, 3*length)
			for i := range 3 { // of several lengths, the end token the highest
				for j := range min(length-1, 2+3*i) {
					tokens[i*length+j] = int64(2 + (7*i+j)%(m.Config.Text.VocabSize-3))
				}
				tokens[i*length+min(length-1, 2+3*i)] = int64(m.Config.Text.VocabSize - 1)
			}
			run := func(d torch.Device) (features []float32, gradients map[string][]float32) {
				gradients = map[string][]float32{}
				require.NoError(t, torch.Do(func(s *torch.Scope) {
					x := torch.FromSlice(s, pixels, 3, 3, size.Height, size.Width).To(d, torch.Float32)
					images, texts := m.EncodeImage(x).Normalize(1), m.EncodeText(torch.FromSlice(s, tokens, 3, length)).Normalize(1)
					y := torch.Cat(0, images, texts)
					features = torch.ToSlice[float32](y.Detach().To(torch.CPU, torch.Float32))
					y.Pow(3).Sum().Backward()
					for key, p := range m.Parameters() {
						if g := s.Alias(p).Grad(); g != nil {
							gradients[key] = torch.ToSlice[float32](g.To(torch.CPU, torch.Float32))
						}
					}
					for _, p := range m.Parameters() {
						torch.ZeroGrad([]*torch.Tensor{p})
					}
				}))
				return features, gradients
			}
			want, wantGradients := run(torch.CPU)
			require.NoError(t, m.To(device))
			have, gradients := run(device)
			assert.InDeltaSlice(t, want, have, 1e-4)
			require.Len(t, gradients, len(wantGradients))
			for key, d := range apart(wantGradients, gradients) {
				assert.LessOrEqual(t, d, 1e-3, key)
			}
			for _, dtype := range []torch.DType{torch.BFloat16, torch.Float16} {
				require.NoError(t, m.Cast(dtype))
				images, err := m.ImageFeatures(pixels, 3)
				require.NoError(t, err)
				texts, err := m.TextFeatures(tokens, 3)
				require.NoError(t, err)
				rows, e := append(images, texts...), m.Config.EmbedDim
				for i := range 6 {
					assert.Greater(t, Cosine(want[i*e:(i+1)*e], rows[i*e:(i+1)*e]), 0.99, dtype)
				}
				require.NoError(t, m.Cast(torch.Float32))
			}
		})
	}
}

// apart is how far each gradient is from the expected one, relative to its own largest number. Some
// are exactly zero in theory, as a softmax does not see what a key's bias adds to a whole row: what
// is there is rounding, which no two devices share. So nothing below a thousandth of the model's
// largest gradient counts as a gradient's size.
func apart(want, have map[string][]float32) map[string]float64 {
	least := 0.0
	for _, g := range want {
		least = max(least, 1e-3*largest(g))
	}
	far := map[string]float64{}
	for key, g := range want {
		far[key] = worst(g, have[key], max(least, largest(g)))
	}
	return far
}

// TestApart has gradients of a key's bias that are nothing but rounding, and one that is wrong.
func TestApart(t *testing.T) {
	want := map[string][]float32{"weight": {1, -2}, "attnpool.k_proj.bias": {3e-8, -1e-8}, "small": {0.004, 0.002}}
	have := map[string][]float32{"weight": {1.001, -2}, "attnpool.k_proj.bias": {-2e-8, 4e-8}, "small": {0.004, 0.001}}
	far := apart(want, have)
	assert.LessOrEqual(t, far["attnpool.k_proj.bias"], 1e-3)
	assert.InDelta(t, 0.0005, far["weight"], 1e-6)
	assert.InDelta(t, 0.25, far["small"], 1e-6)
}
