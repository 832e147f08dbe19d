package train_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/train"
)

// TestCapturedRun compares a run whose steps are captured, line by line of metrics.jsonl, with the same run kernel by
// kernel. Both are bfloat16's, whose sums a GPU may add in another order.
func TestCapturedRun(t *testing.T) {
	device := gputest.Capturing(t)
	model, data := tinyModel(t), shard(t, 44)
	run := func(captured bool) (steps []train.Step) {
		o := options(t, model, data)
		o.Opening.Device, o.Precision, o.PatchDropout, o.CUDAGraphs = device, "amp_bf16", train.None, captured
		_, err := trained(context.Background(), o, reporter{Step: func(s train.Step, _ int) { steps = append(steps, s) }})
		require.NoError(t, err)
		return steps
	}
	want, have := run(false), run(true)
	require.Len(t, have, len(want))
	for i, s := range have {
		assert.Equal(t, want[i].LR, s.LR)
		assert.Equal(t, want[i].Samples, s.Samples)
		assert.InEpsilon(t, want[i].Loss, s.Loss, 0.02, "loss of step %d", s.Step)
		assert.InEpsilon(t, want[i].GradNorm, s.GradNorm, 0.1, "gradient of step %d", s.Step)
		assert.InDelta(t, want[i].LogitScale, s.LogitScale, 1e-3*s.LogitScale, "scale of step %d", s.Step)
	}
}
