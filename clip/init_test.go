package clip

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
)

// TestInitialisation compares mean and standard deviation of every tensor of a new model with those that open_clip,
// timm and transformers draw.
func TestInitialisation(t *testing.T) {
	data, err := os.ReadFile("../testdata/clip/init.json")
	require.NoError(t, err)
	var want map[string]map[string][2]float64
	require.NoError(t, json.Unmarshal(data, &want))
	for name, c := range golden.Variants(t) {
		m, err := New(c, 1)
		require.NoError(t, err, name)
		tensors := 0
		for key, values := range state(t, m) {
			tensors++
			wanted, ok := want[name][key]
			require.True(t, ok, "%s: open_clip has no %s", name, key)
			mean, std := moments(values)
			n := math.Sqrt(float64(len(values)))
			if wanted[1] < 1e-7 { // a constant, but for rounding
				assert.InDelta(t, 0, std, 1e-6, "%s: %s", name, key)
				assert.InDelta(t, wanted[0], mean, 1e-6, "%s: %s", name, key)
				continue
			}
			// Both are samples: a normal distribution's standard deviation varies by 1/sqrt(2n) of itself, its mean by
			// std/sqrt(n).
			assert.InDelta(t, 1, std/wanted[1], 5/n, "%s: %s", name, key)
			assert.InDelta(t, wanted[0], mean, 7*wanted[1]/n, "%s: %s", name, key)
		}
		assert.Len(t, want[name], tensors, name)
	}
}

// TestEverythingIsInitialised fills what is allocated with NaN first, but for what the layers' constructors set.
func TestEverythingIsInitialised(t *testing.T) {
	for name, c := range golden.Variants(t) {
		m := allocate(c)
		shapes := map[string]int{}
		for key, p := range m.Parameters() {
			shapes[key] = p.Dim()
		}
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			for key, p := range m.Parameters() {
				module := strings.TrimSuffix(strings.TrimSuffix(key, "weight"), "bias")
				if shapes[module+"weight"] != 1 && !strings.HasSuffix(key, "gamma") {
					s.Alias(p).Fill(math.NaN())
				}
			}
			m.initialize(s)
		}))
		for key, values := range state(t, m) {
			for _, x := range values {
				require.False(t, math.IsNaN(float64(x)), "%s: %s", name, key)
			}
		}
	}
}

func TestSeedDecides(t *testing.T) {
	for name, c := range golden.Variants(t) {
		a, err := New(c, 7)
		require.NoError(t, err)
		b, err := New(c, 7)
		require.NoError(t, err)
		other, err := New(c, 8)
		require.NoError(t, err)
		assert.Equal(t, state(t, a), state(t, b), name)
		assert.NotEqual(t, state(t, a), state(t, other), name)
	}
}

// TestSaveAndOpen holds that a directory gives back every tensor, the counts and statistics of a ResNet among them.
func TestSaveAndOpen(t *testing.T) {
	for name, c := range golden.Variants(t) {
		m := goldenModel(t, c)
		if name == "resnet" {
			m.SetTraining(true)
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) { m.EncodeImage(golden.Pixels(s, "pixels", c)) }))
			assert.EqualValues(t, []float32{1}, state(t, m)["visual.bn1.num_batches_tracked"])
		}
		dir := t.TempDir()
		require.NoError(t, m.Save(dir), name)
		again, err := Open(t.Context(), dir, nil)
		require.NoError(t, err, name)
		assert.Equal(t, state(t, m), state(t, again), name)
		assert.Equal(t, m.Config, again.Config, name)
		random, err := Open(t.Context(), dir, &OpenOptions{Pretrained: "random", Seed: 3})
		require.NoError(t, err, name)
		fresh, err := New(c, 3)
		require.NoError(t, err, name)
		assert.Equal(t, state(t, fresh), state(t, random), name)
	}
}

// TestTextsNeedTheirTokenizer holds that words never become another tokenizer's ids.
func TestTextsNeedTheirTokenizer(t *testing.T) {
	_, err := goldenModel(t, golden.Variants(t)["clipa"]).EncodeTexts(t.Context(), "a dog")
	assert.ErrorContains(t, err, "reads the tokens of bert-base-uncased")
}

// TestDropout holds that training changes what it should and nothing else.
func TestDropout(t *testing.T) {
	for name, c := range golden.Variants(t) {
		if v := c.Vision; v.IsResNet() || v.IsConvNeXt() || v.IsEva() || v.IsFastViT() || v.IsSwin() || name == "relpos" {
			assert.ErrorContains(t, goldenModel(t, c).SetPatchDropout(0.5), "no patches", name)
			continue
		}
		m := goldenModel(t, c)
		require.NoError(t, m.SetPatchDropout(0.5), name)
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			pixels, tokens := golden.Pixels(s, "pixels", c), golden.Tokens(s, "tokens", c)
			still := [2][]float32{torch.ToSlice[float32](m.EncodeImage(pixels)), torch.ToSlice[float32](m.EncodeText(tokens))}
			m.SetTraining(true)
			assert.NotEqual(t, still[0], torch.ToSlice[float32](m.EncodeImage(pixels)), name)
			text := torch.ToSlice[float32](m.EncodeText(tokens))
			assert.Equal(t, c.Text.HFModelName == "", slices.Equal(still[1], text), "%s: only Hugging Face's towers have dropout", name)
			m.SetTraining(false)
			if !c.Vision.HasBatchNorm() { // whose statistics have moved
				assert.Equal(t, still[0], torch.ToSlice[float32](m.EncodeImage(pixels)), name)
			}
			assert.Equal(t, still[1], torch.ToSlice[float32](m.EncodeText(tokens)), name)
		}))
	}
}

// state copies every tensor of a model out.
func state(t *testing.T, m *Model) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.State() {
			all[key] = torch.ToSlice[float32](s.Alias(p).To(torch.CPU, torch.Float32))
		}
	}))
	return all
}

func moments(xs []float32) (mean, std float64) {
	for _, x := range xs {
		mean += float64(x) / float64(len(xs))
	}
	for _, x := range xs {
		std += (float64(x) - mean) * (float64(x) - mean) / float64(len(xs))
	}
	return mean, math.Sqrt(std)
}
