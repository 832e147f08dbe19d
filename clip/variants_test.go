package clip

import (
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// gradientTolerance is for gradients, relative to the largest number of each tensor.
var gradientTolerance = tolerance

// TestVariants holds features, loss and gradients of every kind of tower against the Python libraries.
func TestVariants(t *testing.T) {
	g := golden.Open(t, "variants")
	if runtime.GOARCH != "amd64" { // other kernels sum in another order: 1.1e-5 in FastViT's batch statistics
		gradientTolerance = 2 * tolerance
	}
	for name, c := range golden.Variants(t) {
		t.Run(name, func(t *testing.T) { checkVariant(t, c, g, name, false) })
	}
	t.Run("resnet-training", func(t *testing.T) { checkVariant(t, golden.Variants(t)["resnet"], g, "resnet-training", true) })
	for _, name := range []string{"fastvit", "mobileclip-b"} { // batch statistics
		t.Run(name+"-training", func(t *testing.T) { checkVariant(t, golden.Variants(t)[name], g, name+"-training", true) })
	}
	for _, name := range []string{"convnext", "swin"} { // stochastic depth leaves out the same branches
		t.Run(name+"-training", func(t *testing.T) {
			if runtime.GOARCH != "amd64" {
				t.Skip("libtorch draws Bernoulli's numbers with MKL where it has it, and others elsewhere")
			}
			checkVariant(t, golden.Variants(t)[name], g, name+"-training", true)
		})
	}
}

func checkVariant(t *testing.T, c *tower.Config, g golden.File, name string, training bool) {
	checkStep(t, goldenModel(t, c), g, name, training)
}

// checkStep holds loss, gradients and buffers of a step of m against the goldens called name.
func checkStep(t *testing.T, m *Model, g golden.File, name string, training bool) {
	t.Helper()
	c := m.Config
	m.SetTraining(training)
	before := settled.Count(torch.LiveTensors)
	torch.ManualSeed(0)
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		pixels, tokens := golden.Pixels(s, "pixels", c), golden.Tokens(s, "tokens", c)
		loss := m.Loss(pixels, tokens)
		assert.InEpsilon(t, g.Floats(name + "/loss")[0], loss.Item(), tolerance)
		loss.Backward()
	}))
	want := map[string]bool{}
	for _, key := range g.Names() {
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
			golden := g.Floats(name + "/grad." + key)
			top, norm, sample := float64(golden[0]), float64(golden[1]), golden[2:]
			got := torch.ToSlice[float32](torch.Grads(s, []*torch.Tensor{p})[0])
			if strings.HasSuffix(key, "k_proj.bias") || strings.HasSuffix(key, "self.key.bias") {
				// A softmax does not see what is added to every key: the gradient is zero, and the rest is the rounding
				// of terms that cancel. Their size is that of the weight's gradient, made of the same ones: its norm.
				beside := g.Floats(name + "/grad." + strings.TrimSuffix(key, "bias") + "weight")[1]
				assert.LessOrEqual(t, math.Max(largest(got), top)/float64(beside), tolerance, key)
				continue
			}
			if top == 0 { // the last block's relative positions: the class token has none, and alone is read
				assert.Zero(t, largest(got), key)
				continue
			}
			if training && strings.HasSuffix(key, ".conv_scale.conv.weight") {
				// One number of a channel, normalised behind it: the gradient is zero, too.
				beside := g.Floats(name + "/grad." + strings.TrimSuffix(key, "conv.weight") + "bn.weight")[1]
				assert.LessOrEqual(t, math.Abs(largest(got)-top)/float64(beside), 10*tolerance, key)
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
			assert.LessOrEqual(t, d, gradientTolerance, key)
			if d > overall {
				overall, of = d, key
			}
		}
		for key, b := range m.State() {
			if name := name + "/buffer." + key; g.Has(name) {
				wanted := g.Floats(name)
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
	assert.Equal(t, before, torch.LiveTensors())
}

func checkFeatures(t *testing.T, m *Model, g golden.File, name string) {
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for part, got := range map[string]*torch.Tensor{
			"image_features": m.EncodeImage(golden.Pixels(s, "pixels", m.Config)),
			"text_features":  m.EncodeText(golden.Tokens(s, "tokens", m.Config)),
		} {
			want := g.Floats(name + "/" + part)
			assert.Equal(t, []int{golden.Batch, m.Config.EmbedDim}, got.Shape(), part)
			assert.LessOrEqual(t, worst(want, torch.ToSlice[float32](got), largest(want)), tolerance, part)
		}
	}))
}

// TestResizePositions holds both resamplings against open_clip's.
func TestResizePositions(t *testing.T) {
	g := golden.Open(t, "variants")
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		image := torch.FromSlice(s, golden.Weight("positions", []int{17, 6}), 17, 6)
		text := torch.FromSlice(s, golden.Weight("positions", []int{5, 6}), 5, 6)
		for name, got := range map[string]*torch.Tensor{
			"image-up":   tower.ResizeImagePositions(image, 1, 4, 4, 5, 6),
			"image-down": tower.ResizeImagePositions(image, 1, 4, 4, 2, 2),
			"text-up":    tower.ResizeTextPositions(text, 9),
			"text-down":  tower.ResizeTextPositions(text, 3),
		} {
			want := g.Floats("positions/" + name)
			have := torch.ToSlice[float32](got)
			require.Len(t, have, len(want), name)
			assert.LessOrEqual(t, worst(want, have, largest(want)), tolerance, name)
		}
	}))
}
