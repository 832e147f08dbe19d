package clip

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// loraModel is a golden model with low-rank products that the formula gives, as testdata/clip/make_lora.py has them.
func loraModel(t *testing.T, c *tower.Config) *Model {
	t.Helper()
	m := goldenModel(t, c)
	require.NoError(t, m.AddLoRA(LoRAOptions{Rank: 2, Alpha: 3, Image: true, Text: true}))
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.Parameters() {
			if IsLoRA(key) {
				s.Alias(p).CopyFrom(torch.FromSlice(s, golden.Weight(key, p.Shape()), p.Shape()...))
			}
		}
	}))
	return m
}

// TestLoRA holds loss and gradients against those of open_clip's models whose weights PyTorch adds the products to: with
// and without gradient checkpointing.
func TestLoRA(t *testing.T) {
	g := golden.Open(t, "lora")
	for _, name := range []string{"eos", "clipa", "siglip-tanh", "roberta-mean"} {
		t.Run(name, func(t *testing.T) {
			m := loraModel(t, golden.Variants(t)[name])
			for key, p := range m.Parameters() {
				assert.Equal(t, IsLoRA(key) || strings.HasPrefix(key, "logit_"), p.RequiresGrad(), key)
			}
			checkStep(t, m, g, name, false)
			for _, p := range m.Parameters() {
				torch.ZeroGrad([]*torch.Tensor{p})
			}
			require.NoError(t, m.SetGradCheckpointing(true))
			if !strings.HasPrefix(name, "roberta") { // whose dropout is on in training
				checkStep(t, m, g, name, true)
			}
		})
	}
}

// TestLoRAStart changes nothing at first: B is zero. The same seed draws the same A, whatever is drawn besides.
func TestLoRAStart(t *testing.T) {
	c := golden.Variants(t)["eos"]
	features := func(m *Model) (out []float32) {
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			out = torch.ToSlice[float32](m.EncodeText(golden.Tokens(s, "tokens", c)))
			out = append(out, torch.ToSlice[float32](m.EncodeImage(golden.Pixels(s, "pixels", c)))...)
		}))
		return out
	}
	m := goldenModel(t, c)
	want := features(m)
	require.NoError(t, m.AddLoRA(LoRAOptions{Rank: 3, Alpha: 3, Seed: 5, Image: true, Text: true}))
	assert.LessOrEqual(t, worst(want, features(m), largest(want)), 1e-6, "but for what memory's alignment does to products")
	again := goldenModel(t, c)
	torch.ManualSeed(99)
	require.NoError(t, again.AddLoRA(LoRAOptions{Rank: 3, Alpha: 3, Seed: 5, Image: true, Text: true}))
	assert.Equal(t, values(t, m.State()), values(t, again.State()))
	a := values(t, m.State())["visual.transformer.resblocks.0.attn.in_proj.lora_A"]
	assert.Len(t, a, 3*3*32)
	assert.InDelta(t, 1/5.6568542, largest(a), 0.01, "U(+-1/sqrt(32))")
}

// TestLoRAMerged saves the weights with the products in them, in both layouts: what is opened computes the same and is a
// plain model, and the model that was saved continues as it was.
func TestLoRAMerged(t *testing.T) {
	for _, name := range []string{"eos", "siglip-tanh", "roberta-mean"} {
		t.Run(name, func(t *testing.T) {
			c := golden.Variants(t)[name]
			m := loraModel(t, c)
			before := values(t, m.State())
			dir := filepath.Join(t.TempDir(), "m")
			require.NoError(t, m.Save(dir))
			assert.Equal(t, before, values(t, m.State()))
			plain := allocate(c)
			require.NoError(t, plain.loadFile(dir, OpenOptions{Pretrained: dir, Copy: true}, ""))
			var changed int
			for key, now := range values(t, plain.State()) {
				require.NotContains(t, key, "lora")
				if !assert.ObjectsAreEqual(before[key], now) {
					changed++
				}
			}
			assert.Len(t, m.lora, changed)
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
				pixels, tokens := golden.Pixels(s, "pixels", c), golden.Tokens(s, "tokens", c)
				for _, pair := range [][2]*torch.Tensor{
					{m.EncodeImage(pixels), plain.EncodeImage(pixels)}, {m.EncodeText(tokens), plain.EncodeText(tokens)}} {
					want, have := torch.ToSlice[float32](pair[0]), torch.ToSlice[float32](pair[1])
					assert.LessOrEqual(t, worst(want, have, largest(want)), 1e-5)
				}
			}))
		})
	}
	w := nn.Parameter(6, 4) // each part by itself
	l := nn.NewLoRA(w, 1, 3, 2)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		s.Alias(w).Fill(1)
		s.Alias(l.A).CopyFrom(torch.FromSlice(s, []float32{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0}, 3, 4))
		s.Alias(l.B).CopyFrom(torch.FromSlice(s, []float32{1, 2, 3, 4, 5, 6}, 6, 1))
		assert.Equal(t, []float32{3, 1, 1, 1, 5, 1, 1, 1, 1, 7, 1, 1, 1, 9, 1, 1, 1, 1, 11, 1, 1, 1, 13, 1}, torch.ToSlice[float32](l.Merged(s, w)))
	}))
}

func TestLoRARefusals(t *testing.T) {
	m := goldenModel(t, golden.Variants(t)["resnet"])
	m.Name = "RN50"
	both := LoRAOptions{Rank: 1, Alpha: 1, Image: true, Text: true}
	require.ErrorContains(t, m.AddLoRA(both), "RN50 has a ResNet for a tower")
	require.ErrorContains(t, m.AddLoRA(LoRAOptions{Alpha: 1, Text: true}), "LoRA rank 0: must be at least 1")
	require.ErrorContains(t, m.AddLoRA(LoRAOptions{Rank: 1, Text: true}), "LoRA alpha 0: must be positive")
	require.ErrorContains(t, m.AddLoRA(LoRAOptions{Rank: 1, Alpha: 1}), "LoRA needs a tower")
	require.NoError(t, m.AddLoRA(LoRAOptions{Rank: 1, Alpha: 1, Text: true}))
	require.ErrorContains(t, m.AddLoRA(LoRAOptions{Rank: 1, Alpha: 1, Text: true}), "has LoRA already")
}
