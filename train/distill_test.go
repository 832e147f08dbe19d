package train_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train"
)

// TestDistillation learns from a teacher: the loss begins near twice that of guessing, --accum-freq changes nothing, and a
// stopped run goes on exactly. A teacher that wants other pictures or tokens is refused.
func TestDistillation(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44)
	o := options(t, model, data)
	o.PatchDropout, o.DistillModel = 0, tinyModel(t)
	sum, err := train.Run(context.Background(), o, train.Reporter{})
	require.NoError(t, err)
	want := losses(t, sum.Dir)
	assert.InDelta(t, 2*2.079, want[0], 0.3)
	assert.Less(t, want[len(want)-1], want[0])

	micro := o
	micro.Logs, micro.BatchSize, micro.AccumFreq = t.TempDir(), 2, 4
	ctx, cancel := context.WithCancel(context.Background())
	_, err = train.Run(ctx, micro, train.Reporter{Step: func(s train.Step, _ int) {
		if s.Step == 4 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, train.ErrInterrupted)
	micro.Resume = "latest"
	sum, err = train.Run(context.Background(), micro, train.Reporter{})
	require.NoError(t, err)
	for i, loss := range losses(t, sum.Dir) {
		assert.InEpsilon(t, want[i], loss, 1e-4, "step %d", i+1)
	}

	for message, change := range map[string]func(o *train.Options){
		"--distill-pretrained wants --distill-model":             func(o *train.Options) { o.DistillModel, o.DistillPretrained = "", "openai" },
		"--distill-model is for the softmax loss; drop --siglip": func(o *train.Options) { o.SigLIP = true },
		"wants pictures of [32 32] pixels, not [40 40]":          func(o *train.Options) { o.ForceImageSize = 40 },
		"wants texts of 16 tokens, not 12":                       func(o *train.Options) { o.ForceContextLength = 12 },
		"--distill-model: clip: \"none\" is neither a model":     func(o *train.Options) { o.DistillModel = "none" },
	} {
		wrong := o
		wrong.Logs = t.TempDir()
		change(&wrong)
		_, err := train.Run(context.Background(), wrong, train.Reporter{})
		assert.ErrorContains(t, err, message)
	}
}
