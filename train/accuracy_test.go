package train

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/train/data"
)

func TestLeastLoss(t *testing.T) {
	tokens := []int64{1, 2, 1, 2, 1, 3, 4, 4}                                         // two captions are the same
	b := &data.Batch{N: 4, Tokens: tokens, Pixels: []float32{1, 2, 3, 4, 5, 6, 5, 6}} // the last two images too
	assert.InDelta(t, math.Log(2), minLoss(b), 1e-12)
	b.Pixels[6] = 7
	assert.InDelta(t, math.Log(2)/2, minLoss(b), 1e-12)
	assert.Equal(t, 0.25, duplicates(tokens, 2))
	assert.Zero(t, duplicates(nil, 2))
	assert.Equal(t, 2.0/3, duplicates([]int64{7, 7, 7}, 1))
}

func TestChanceLevel(t *testing.T) {
	var g chanceRun
	warned := 0
	for step := range 1000 {
		loss := 4.0
		if step == 50 {
			loss = 3.9 // begins again
		}
		if g.stays(loss, 4.02) {
			warned++
			assert.Equal(t, 50+chanceSteps, step)
		}
	}
	assert.Equal(t, 1, warned, "once")
}

// TestAccuracy counts the images whose text is nearest.
func TestAccuracy(t *testing.T) {
	alone, err := distributed.Init(t.Context(), distributed.World{Size: 1, LocalSize: 1}, distributed.Options{})
	require.NoError(t, err)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		images := torch.FromSlice(s, []float32{1, 0, 0, 1, 0.6, 0.8, 0.8, 0.6}, 4, 2)
		texts := torch.FromSlice(s, []float32{1, 0, 0.6, 0.8, 0, 1, 0.8, 0.6}, 4, 2)
		assert.Equal(t, 0.5, accuracy(images, texts, alone).Item(), "the second and the third are each other's")
	}))
}
