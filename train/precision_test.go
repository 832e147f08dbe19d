package train_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
)

// TestPrecisions trains in each precision, also with AccumFreq, stopped and resumed: it learns,
// resuming is exact, and the losses stay within the precision's rounding of those in float32.
func TestPrecisions(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44)
	plain := options(t, model, data)
	plain.Epochs = 2
	sum, err := trained(context.Background(), plain, reporter{})
	require.NoError(t, err)
	want := losses(t, sum.Dir)
	for name, bound := range map[string]float64{"amp_bf16": 0.05, "amp": 0, "pure_bf16": 0.1} {
		t.Run(name, func(t *testing.T) {
			o := options(t, model, data)
			o.Precision, o.Epochs = name, 2
			sum, err := trained(context.Background(), o, reporter{})
			require.NoError(t, err)
			got := losses(t, sum.Dir)
			require.Len(t, got, len(want))
			for i := range want {
				if bound > 0 { // float16's scaler leaves out the first steps until it has found its factor
					assert.InEpsilon(t, want[i], got[i], bound, "step %d", i+1)
				}
			}
			assert.Less(t, got[len(got)-1], got[0])
			assert.NotEqual(t, want, got, "it computes in another precision")

			parts := o
			parts.Logs = t.TempDir()
			interrupted(t, parts, 4)
			parts.Resume = "latest"
			sum, err = trained(context.Background(), parts, reporter{})
			require.NoError(t, err)
			assert.Equal(t, got, losses(t, sum.Dir))
		})
	}
}

// TestAccumulatedRuns finds the losses of a batch of 8 in steps of 2 batches of 4 and 4 of 2, and
// resumes them exactly.
func TestAccumulatedRuns(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44)
	run := func(batch, accum int) []float64 {
		o := options(t, model, data)
		o.BatchSize, o.AccumFreq, o.PatchDropout = batch, accum, train.None
		sum, err := trained(context.Background(), o, reporter{})
		require.NoError(t, err)
		whole := losses(t, sum.Dir)
		if accum > 1 {
			o.Logs = t.TempDir()
			interrupted(t, o, 7)
			o.Resume = "latest"
			sum, err = trained(context.Background(), o, reporter{})
			require.NoError(t, err)
			assert.Equal(t, whole, losses(t, sum.Dir))
			o.AccumFreq = 3
			_, err = trained(context.Background(), o, reporter{})
			assert.ErrorContains(t, err, "the run was started with AccumFreq")
		}
		return whole
	}
	want := run(8, 1)
	for _, c := range [][2]int{{4, 2}, {2, 4}, {1, 8}} {
		got := run(c[0], c[1])
		require.Len(t, got, len(want))
		for i := range want {
			assert.InEpsilon(t, want[i], got[i], 1e-4, "batches of %d, step %d", c[0], i+1)
		}
	}
}

// TestNonFinite gives weights that overflow or are NaN: the run stops at the name of the first
// tensor, or skips.
func TestNonFinite(t *testing.T) {
	data := shard(t, 40)
	spoiled := func(key string, value float64) string {
		dir := tinyModel(t)
		m, err := clip.Open(t.Context(), dir, &clip.OpenOptions{Copy: true})
		require.NoError(t, err)
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			for k, p := range m.Parameters() {
				if k == key {
					s.Alias(p).Fill(value)
				}
			}
		}))
		out := filepath.Join(t.TempDir(), "spoiled")
		require.NoError(t, m.Save(out))
		return out
	}
	for name, c := range map[string]struct {
		key       string
		value     float64
		precision string
		want      string
	}{
		"a parameter": {"visual.proj", math.NaN(), "fp32", "step 1: the loss is NaN: the parameter visual.proj is not finite"},
		"a result":    {"visual.transformer.resblocks.1.mlp.c_fc.weight", 3e38, "fp32", "the first tensor that is not finite is the result float32[8 1 256] of linear with visual.transformer.resblocks.1.mlp.c_fc.weight"},
		"in float16":  {"transformer.resblocks.0.mlp.c_fc.weight", 1e5, "amp", "the first tensor that is not finite is the result float16["},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, spoiled(c.key, c.value), data)
			o.Precision = c.precision
			_, err := trained(context.Background(), o, reporter{})
			require.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, "lower LR")

			o.SkipNonFinite, o.Logs, o.Epochs, o.ValData = true, t.TempDir(), 1, ""
			sum, err := trained(context.Background(), o, reporter{})
			require.NoError(t, err)
			log, err := os.ReadFile(filepath.Join(sum.Dir, "out.log"))
			require.NoError(t, err)
			assert.Contains(t, string(log), "step 5 is skipped: the loss is ")
			text, err := os.ReadFile(filepath.Join(sum.Dir, "metrics.jsonl"))
			require.NoError(t, err)
			assert.Equal(t, 5, strings.Count(string(text), `"loss":null`))
			assert.Contains(t, string(text), `"skipped":5`)
		})
	}
}
