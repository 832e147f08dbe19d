package clip

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
)

// TestInterpolate mixes weights, temperature, bias and running statistics, and refuses other models.
func TestInterpolate(t *testing.T) {
	for _, name := range []string{"resnet", "siglip", "eos"} {
		t.Run(name, func(t *testing.T) {
			c := golden.Variants(t)[name]
			start, m := goldenModel(t, c), goldenModel(t, c)
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
				for _, p := range m.State() {
					if p.DType() != torch.Int64 {
						s.Alias(p).CopyFrom(s.Alias(p).MulScalar(3).AddScalar(1))
					}
				}
			}))
			was, trained := values(t, start.State()), values(t, m.State())
			require.NoError(t, m.Interpolate(start, 0.25))
			for key, now := range values(t, m.State()) {
				for i, x := range now {
					assert.InDelta(t, 0.75*was[key][i]+0.25*trained[key][i], x, 1e-6, key)
				}
			}
			assert.Equal(t, was, values(t, start.State()))
			require.NoError(t, m.Interpolate(start, 0))
			assert.Equal(t, was, values(t, m.State()))
		})
	}
	all := golden.Variants(t)
	m, other := goldenModel(t, all["eos"]), goldenModel(t, all["clipa"])
	m.Name, other.Name = "A", "B"
	before := values(t, m.State())
	err := m.Interpolate(other, 0.5)
	require.ErrorContains(t, err, "clip: B and A are different models: ")
	require.ErrorContains(t, err, "missing visual.ln_pre.weight")
	quick := *all["eos"]
	quick.QuickGELU = !quick.QuickGELU
	require.ErrorContains(t, m.Interpolate(goldenModel(t, &quick), 0.5), "the configs differ")
	require.ErrorContains(t, m.Interpolate(m, 1.5), "alpha 1.5: must be between 0 and 1")
	assert.Equal(t, before, values(t, m.State()))
}

// TestDepths counts from the top as the locks do.
func TestDepths(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"eos": {"visual.proj": 0, "visual.ln_post.weight": 1, "visual.transformer.resblocks.0.mlp.c_fc.weight": 1, "visual.conv1.weight": 2,
			"ln_final.bias": 0, "transformer.resblocks.1.ln_1.weight": 0, "transformer.resblocks.0.ln_1.weight": 1, "token_embedding.weight": 2},
		"resnet": {"visual.attnpool.c_proj.weight": 0, "visual.layer4.0.conv1.weight": 1, "visual.layer1.0.bn1.bias": 4, "visual.bn1.weight": 5, "text_projection": 0},
		"pe":     {"visual.trunk.attn_pool.latent": 0, "visual.trunk.head.weight": 0, "visual.trunk.norm.weight": 1, "visual.trunk.blocks.0.norm1.weight": 2, "visual.trunk.norm_pre.bias": 3},
		"convnext": {"visual.trunk.head.norm.weight": 0, "visual.trunk.stages.3.blocks.0.gamma": 1, "visual.trunk.stages.3.downsample.1.weight": 1,
			"visual.trunk.stages.2.blocks.0.norm.bias": 3, "visual.trunk.stem.0.weight": 6},
		"siglip-tanh": {"visual.trunk.attn_pool.latent": 0, "visual.trunk.norm.weight": 1, "visual.trunk.blocks.1.norm1.weight": 1, "visual.trunk.blocks.0.norm1.weight": 2, "visual.trunk.pos_embed": 3},
	} {
		image, text := goldenModel(t, golden.Variants(t)[name]).Depths()
		for key, depth := range want {
			have, ok := image[key]
			if !ok {
				have, ok = text[key]
			}
			assert.True(t, ok, "%s: %s", name, key)
			assert.Equal(t, depth, have, "%s: %s", name, key)
		}
		assert.NotContains(t, image, "logit_scale")
		assert.NotContains(t, image, "visual.head.proj.weight", "above all groups")
	}
}
