package main

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/torch/optim"
)

// TestDualEncoder trains a few steps: the loss falls, every parameter learns, no handle is left, and
// the same seed gives the same network.
func TestDualEncoder(t *testing.T) {
	torch.ManualSeed(1)
	d := &dualEncoder{Image: newViT(16, 8, 32, 2, 4), Text: newTextEncoder(50, 8, 32, 2, 4),
		Temperature: nn.Constant(math.Log(1 / 0.07))}
	o := optim.NewAdamW(optim.OneGroup(nn.Params(d), 0.1), optim.AdamWDefaults(1e-3))
	nn.SetTraining(d, true)
	noise := rand.New(rand.NewPCG(1, 1))
	pixels, ids := make([]float32, batch*3*16*16), make([]int64, batch*8)
	for i := range pixels {
		pixels[i] = float32(noise.NormFloat64())
	}
	for i := range ids {
		ids[i] = padding
		if i%8 < 3+i/8%5 {
			ids[i] = 2 + noise.Int64N(48)
		}
	}
	var losses []float64
	for range 12 {
		before := settled.Count(torch.LiveTensors)
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			loss, image, text := d.Loss(torch.FromSlice(s, pixels, batch, 3, 16, 16), torch.FromSlice(s, ids, batch, 8))
			loss.Backward()
			losses = append(losses, loss.Item())
			assert.Equal(t, []int{batch, 512}, image.Shape())
			assert.InDelta(t, 1, text.Select(0, 0).Detach().Norm(0).Item(), 1e-5)
		}))
		if len(losses) == 1 {
			for key, p := range nn.Params(d) {
				g := p.Grad()
				require.NotNil(t, g, key)
				g.Free()
			}
		}
		require.NoError(t, o.Step())
		o.ZeroGrad()
		assert.Equal(t, before, torch.LiveTensors())
	}
	t.Log(losses)
	assert.Less(t, losses[11], 0.5*losses[0])
	assert.InDelta(t, math.Log(batch), losses[0], 1)
	// the same seed gives the same network
	torch.ManualSeed(1)
	again := &dualEncoder{Image: newViT(16, 8, 32, 2, 4), Text: newTextEncoder(50, 8, 32, 2, 4), Temperature: nn.Constant(math.Log(1 / 0.07))}
	nn.SetTraining(again, true)
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		loss, _, _ := again.Loss(torch.FromSlice(s, pixels, batch, 3, 16, 16), torch.FromSlice(s, ids, batch, 8))
		assert.Equal(t, losses[0], loss.Item())
	}))
}
