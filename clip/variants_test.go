package clip

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

func init() { // beside timm's own, those of testdata/clip/variants.py
	timmModels["vit_mini_siglip"] = timmModel{24, 8, 16, 2, 2, 4, "map", false} // of testdata/clip/make_hf.py
	timmModels["vit_tiny"] = timmModel{24, 8, 32, 2, 2, 4, "token", false}
	timmModels["vit_tiny_siglip"] = timmModel{24, 8, 32, 2, 2, 4, "map", false}
	timmModels["vit_tiny_siglip_tanh"] = timmModel{24, 8, 32, 2, 2, 4, "map", true}
}

// variants are the tiny configs of testdata/clip/variants.json.
func variants(t *testing.T) map[string]*Config {
	t.Helper()
	configs := map[string]*Config{}
	for name, text := range variantTexts(t) {
		c, err := ParseConfig(text)
		require.NoError(t, err, name)
		configs[name] = c
	}
	return configs
}

func variantTexts(t *testing.T) (texts map[string]json.RawMessage) {
	t.Helper()
	data, err := os.ReadFile("../testdata/clip/variants.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &texts))
	return texts
}

// TestVariants holds features, loss and gradients of every kind of tower against the Python libraries.
func TestVariants(t *testing.T) {
	g := openGoldens(t, "variants")
	for name, c := range variants(t) {
		t.Run(name, func(t *testing.T) { checkVariant(t, c, g, name, false) })
	}
	t.Run("resnet-training", func(t *testing.T) { checkVariant(t, variants(t)["resnet"], g, "resnet-training", true) })
}

func checkVariant(t *testing.T, c *Config, g goldens, name string, training bool) {
	m := goldenModel(t, c)
	m.SetTraining(training)
	before := torch.LiveTensors()
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		pixels, tokens := goldenPixels(s, "pixels", c), goldenTokens(s, "tokens", c)
		loss := m.Loss(pixels, tokens)
		assert.InEpsilon(t, g.floats(name + "/loss")[0], loss.Item(), tolerance)
		loss.Backward()
	}))
	want := map[string]bool{}
	for _, key := range g.f.Names() {
		if key, ok := strings.CutPrefix(key, name+"/grad."); ok {
			want[key] = true
		}
	}
	overall, of := 0.0, ""
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.Parameters() {
			if !p.RequiresGrad() {
				continue
			}
			require.True(t, want[key], "open_clip has no %s", key)
			delete(want, key)
			golden := g.floats(name + "/grad." + key)
			top, norm, sample := float64(golden[0]), float64(golden[1]), golden[2:]
			got := torch.ToSlice[float32](torch.Grads(s, []*torch.Tensor{p})[0])
			if strings.HasSuffix(key, "k_proj.bias") || strings.HasSuffix(key, "self.key.bias") {
				// A softmax does not see what is added to every key: the gradient is zero, and the rest is the rounding
				// of terms that cancel. Their size is that of the weight's gradient, made of the same ones: its norm.
				beside := g.floats(name + "/grad." + strings.TrimSuffix(key, "bias") + "weight")[1]
				assert.LessOrEqual(t, math.Max(largest(got), top)/float64(beside), tolerance, key)
				continue
			}
			var have []float32
			square := 0.0
			for i, x := range got {
				if i%max(1, len(got)/8) == 0 {
					have = append(have, x)
				}
				square += float64(x) * float64(x)
			}
			require.Len(t, have, len(sample), key)
			d := math.Max(worst(sample, have, top), math.Max(math.Abs(largest(got)-top)/top, math.Abs(math.Sqrt(square)-norm)/norm))
			assert.LessOrEqual(t, d, tolerance, key)
			if d > overall {
				overall, of = d, key
			}
		}
		for key, b := range m.State() {
			if golden, ok := g.f.Entry(name + "/buffer." + key); ok {
				wanted := torch.ToSlice[float32](golden.Tensor(s))
				assert.LessOrEqual(t, worst(wanted, torch.ToSlice[float32](s.Alias(b).To(torch.CPU, torch.Float32)), largest(wanted)), tolerance, key)
			} else {
				assert.False(t, training && strings.Contains(key, "running_"), "no golden for %s", key)
			}
		}
	}))
	assert.Empty(t, want, "goclip has no such parameters")
	t.Logf("the largest difference of a gradient is %.1e of the tensor's largest value, in %s", overall, of)
	if !training { // a forward in training has moved the statistics
		checkFeatures(t, m, g, name)
	}
	assert.LessOrEqual(t, torch.LiveTensors(), before, "live handles; the collector may have freed an earlier model")
}

func checkFeatures(t *testing.T, m *Model, g goldens, name string) {
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for part, got := range map[string]*torch.Tensor{
			"image_features": m.EncodeImage(goldenPixels(s, "pixels", m.Config)),
			"text_features":  m.EncodeText(goldenTokens(s, "tokens", m.Config)),
		} {
			want := g.floats(name + "/" + part)
			assert.Equal(t, []int{goldenBatch, m.Config.EmbedDim}, got.Shape(), part)
			assert.LessOrEqual(t, worst(want, torch.ToSlice[float32](got), largest(want)), tolerance, part)
		}
	}))
}

// TestResizePositions holds both resamplings against open_clip's.
func TestResizePositions(t *testing.T) {
	g := openGoldens(t, "variants")
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		image := torch.FromSlice(s, goldenWeight("positions", []int{17, 6}), 17, 6)
		text := torch.FromSlice(s, goldenWeight("positions", []int{5, 6}), 5, 6)
		for name, got := range map[string]*torch.Tensor{
			"image-up":   ResizeImagePositions(image, 1, 4, 4, 5, 6),
			"image-down": ResizeImagePositions(image, 1, 4, 4, 2, 2),
			"text-up":    ResizeTextPositions(text, 9),
			"text-down":  ResizeTextPositions(text, 3),
		} {
			want := g.floats("positions/" + name)
			have := torch.ToSlice[float32](got)
			require.Len(t, have, len(want), name)
			assert.LessOrEqual(t, worst(want, have, largest(want)), tolerance, name)
		}
	}))
}
