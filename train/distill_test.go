package train_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train"
)

// TestDistillation learns from a teacher: the loss begins near twice that of chance level, AccumFreq
// changes nothing, and a stopped run continues exactly. A teacher that needs other images or tokens
// is refused.
func TestDistillation(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44)
	o := options(t, model, data)
	o.PatchDropout, o.DistillModel = train.None, tinyModel(t)
	o.Precision = "fp32" // AccumFreq changes the rounding of bfloat16, which a GPU takes by itself
	sum, err := trained(context.Background(), o, reporter{})
	require.NoError(t, err)
	want := losses(t, sum.Dir)
	assert.InDelta(t, 2*2.079, want[0], 0.3)
	assert.Less(t, want[len(want)-1], want[0])

	micro := o
	micro.Logs, micro.BatchSize, micro.AccumFreq = t.TempDir(), 2, 4
	interrupted(t, micro, 4)
	micro.Resume = "latest"
	sum, err = trained(context.Background(), micro, reporter{})
	require.NoError(t, err)
	for i, loss := range losses(t, sum.Dir) {
		assert.InEpsilon(t, want[i], loss, 1e-4, "step %d", i+1)
	}

	for message, change := range map[string]func(o *setup){
		"Teacher is for the softmax loss, and the model has a bias of the logits": func(o *setup) { o.Opening.SigLIP = true },
		"takes images of [32 32] pixels, not [40 40]":                             func(o *setup) { o.Opening.ImageSize = 40 },
		"takes texts of 16 tokens, not 12":                                        func(o *setup) { o.Opening.ContextLength = 12 },
	} {
		wrong := o
		wrong.Logs = t.TempDir()
		change(&wrong)
		_, err := trained(context.Background(), wrong, reporter{})
		assert.ErrorContains(t, err, message)
	}
}
