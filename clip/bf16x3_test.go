package clip

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/tilemodel"
	"github.com/goclip/goclip/torch"
)

// TestBFloat16x3Towers is TestPackedTowers and TestPackedTimm with split weights.
func TestBFloat16x3Towers(t *testing.T) {
	tilemodel.On(t)
	assert.Equal(t, torch.PackBFloat16x3, FP32.Packing())
	assert.Equal(t, torch.PackFloat32, FP32Strict.Packing())
	checkPackedTowers(t, map[torch.Packing]float64{torch.PackBFloat16x3: 1 - 1e-6})
	checkPackedTimm(t, torch.PackBFloat16x3, 1-1e-6)
}

// TestBFloat16x3Outliers is the features of towers some of whose channels are 1e4 times as large, as those of real CLIPs
// are, with plain and with split weights.
func TestBFloat16x3Outliers(t *testing.T) {
	tilemodel.On(t)
	for _, name := range []string{"tiny", "tiny-quickgelu"} {
		m := goldenModel(t, golden.Config(t, name))
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			for key, p := range m.Parameters() {
				if len(key) > 11 && key[len(key)-11:] == "c_proj.bias" {
					s.Alias(p).Narrow(0, 3, 1).Fill(1e4)
				}
			}
		}))
		size := m.Config.Vision.ImageSize
		pixels := make([]float32, 4*3*size.Height*size.Width)
		for i := range pixels {
			pixels[i] = float32(math.Sin(float64(i)))
		}
		want, err := m.ImageFeatures(pixels, 4)
		require.NoError(t, err)
		require.NoError(t, m.PackImages(torch.PackBFloat16x3))
		assert.Equal(t, "bfloat16x3", m.Products())
		got, err := m.ImageFeatures(pixels, 4)
		require.NoError(t, err)
		assert.NotEqual(t, want, got, "the weights were split")
		assert.InDeltaSlice(t, want, got, 2e-6, name)
	}
}

// TestBFloat16x3Variants compares loss, features and every gradient of each kind of tower with those of plain products.
func TestBFloat16x3Variants(t *testing.T) {
	tilemodel.On(t)
	configs := golden.Variants(t)
	for _, name := range []string{"tiny", "tiny-quickgelu", "emoji-64"} {
		configs[name] = golden.Config(t, name)
	}
	split, of, worstOf := 0, "", 0.0
	for name, c := range configs {
		m := goldenModel(t, c)
		step := func(splits bool) (loss float64, gradients map[string][]float32) {
			gradients = map[string][]float32{}
			require.NoError(t, torch.Do(func(s *torch.Scope) {
				if splits {
					s.BFloat16x3()
				}
				pixels, tokens := golden.Pixels(s, "pixels", c), golden.Tokens(s, "tokens", c)
				l := m.Loss(pixels, tokens)
				loss = l.Item()
				l.Backward()
			}))
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
				for key, p := range m.Parameters() {
					if g := torch.Grads(s, []*torch.Tensor{p})[0]; g != nil {
						gradients[key] = torch.ToSlice[float32](g)
					}
					torch.ZeroGrad([]*torch.Tensor{p})
				}
			}))
			return loss, gradients
		}
		loss, gradients := step(false)
		again, have := step(true)
		assert.InEpsilon(t, loss, again, 1e-5, name)
		if loss != again {
			split++
		}
		// Where terms cancel a gradient is rounding in either way: its size is then the largest one's of the model.
		model := 0.0
		for _, g := range gradients {
			model = max(model, largest(g))
		}
		for key, g := range gradients {
			if d := worst(g, have[key], max(largest(g), 1e-3*model)); d > worstOf {
				worstOf, of = d, name+" "+key
			}
		}
	}
	assert.Greater(t, split, len(configs)/2, "models whose products were split")
	assert.Less(t, worstOf, 2e-4, of)
	t.Logf("%d of %d models were split; the largest difference of a gradient is %.1e of its tensor's largest value, in %s", split, len(configs), worstOf, of)
}

// TestBFloat16x3TrainingSteps is TestTrainingSteps with split products: 100 steps, or GOCLIP_SPLIT_STEPS, because the
// model of the tiles takes a minute or two for 300.
func TestBFloat16x3TrainingSteps(t *testing.T) {
	tilemodel.On(t)
	checkTrainingSteps(t, campaign.FromEnv(t, "GOCLIP_SPLIT_STEPS", 100), 2e-2, (*torch.Scope).BFloat16x3)
}
