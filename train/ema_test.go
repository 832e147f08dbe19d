package train

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
)

// TestEMA follows the formula: the decay is (1 + t) / (10 + t) until that reaches --ema-decay.
func TestEMA(t *testing.T) {
	p := torch.FromSlice(nil, []float32{1, 2}, 2).SetRequiresGrad(true)
	e, err := newEMA(0.2, []optim.Param{{Name: "p", T: p}})
	require.NoError(t, err)
	want := []float64{1, 2}
	for step, d := range []float64{2.0 / 11, 0.2, 0.2} {
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) { s.Alias(p).MulInPlace(3) }))
		require.NoError(t, e.update(step+1))
		now := torch.ToSlice[float32](p.Detach())
		for i := range want {
			want[i] = d*want[i] + (1-d)*float64(now[i])
		}
		assert.InDeltaSlice(t, want, torch.ToSlice[float32](e.averages[0]), 1e-4)
	}
	average, weight := torch.ToSlice[float32](e.averages[0]), torch.ToSlice[float32](p.Detach())
	require.NoError(t, e.swap())
	assert.Equal(t, average, torch.ToSlice[float32](p.Detach()))
	require.NoError(t, e.swap())
	assert.Equal(t, weight, torch.ToSlice[float32](p.Detach()))
	assert.Equal(t, average, torch.ToSlice[float32](e.averages[0]))
	assert.False(t, e.inModel)
}

// TestDecayByLayer gives each parameter of a tiny model the power of the decay that its depth wants, in groups of one
// weight decay, the largest rate first.
func TestDecayByLayer(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":2,"width":32,"head_width":32,"patch_size":8},
		"text_cfg":{"context_length":16,"vocab_size":64,"width":16,"heads":2,"layers":2}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 0)
	require.NoError(t, err)
	groups := decayByLayer(m, parameterGroups(m, 0.2), 0.5, 1)
	scales, count, last := map[string]float64{}, 0, 1.0
	for _, g := range groups {
		assert.LessOrEqual(t, g.LRScale, last)
		last = g.LRScale
		for _, p := range g.Params {
			scales[p.Name] = g.LRScale
			count++
			if p.T.Dim() < 2 {
				assert.Zero(t, g.WeightDecay, p.Name)
			} else {
				assert.Equal(t, 0.2, g.WeightDecay, p.Name)
			}
		}
	}
	all := 0
	for range m.Parameters() {
		all++
	}
	assert.Equal(t, all, count)
	for key, want := range map[string]float64{"visual.proj": 1, "visual.ln_post.bias": 0.5, "visual.transformer.resblocks.1.mlp.c_fc.weight": 0.5,
		"visual.transformer.resblocks.0.mlp.c_fc.weight": 0.25, "visual.conv1.weight": 0.125, "token_embedding.weight": 1, "logit_scale": 1} {
		assert.Equal(t, want, scales[key], key)
	}
	assert.Len(t, decayByLayer(m, parameterGroups(m, 0.2), 1, 0), 2)
}

func TestCooldown(t *testing.T) { // values of open_clip_train/scheduler.py const_lr_cooldown: base 1e-3, warm-up 10, power 2, to 1e-5
	o := Options{LR: 1e-3, Warmup: 10, LRScheduler: "const-cooldown", EpochsCooldown: 2, LRCooldownPow: 2, LRCooldownEnd: 1e-5}
	s, err := o.schedule(100, 10)
	require.NoError(t, err)
	for step, want := range map[int]float64{0: 1e-4, 9: 1e-3, 10: 1e-3, 79: 1e-3, 80: 1e-3, 90: 0.0002575, 99: 1.2475e-05} {
		assert.InDelta(t, want, s(step), 1e-12, step)
	}
	_, err = o.schedule(25, 10)
	assert.ErrorContains(t, err, "--epochs-cooldown 2: its 20 steps do not fit behind the warm-up into a run of 25 steps")
	o.SkipScheduler = true
	s, err = o.schedule(5, 10)
	require.NoError(t, err)
	assert.Equal(t, []float64{1e-3, 1e-3}, []float64{s(0), s(4)})
}
