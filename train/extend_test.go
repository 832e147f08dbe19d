package train_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train"
)

// keptTensors are the weights and the optimiser's state of a run's latest checkpoint.
func keptTensors(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	for _, name := range []string{"open_clip_model.safetensors", "train_state/optimizer.safetensors"} {
		text, err := os.ReadFile(filepath.Join(dir, "checkpoints", "latest", name))
		require.NoError(t, err)
		all = append(all, text...)
	}
	return all
}

// TestExtended trains a run to its end and then longer: where the schedule does not go by the
// length it comes, bit for bit, to where the longer run comes. An end in the middle of an epoch
// is one, too.
func TestExtended(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44) // 5 batches an epoch
	for name, c := range map[string]struct{ short, long func(o *setup) }{
		"epochs":              {func(o *setup) { o.Epochs = 1 }, func(o *setup) { o.Epochs = 3 }},
		"steps in an epoch":   {func(o *setup) { o.MaxSteps = 7 }, func(o *setup) { o.MaxSteps = 13 }},
		"steps, then epochs":  {func(o *setup) { o.MaxSteps = 8 }, func(o *setup) { o.MaxSteps = 15 }},
		"an epoch's last one": {func(o *setup) { o.MaxSteps = 5 }, func(o *setup) { o.MaxSteps = 9 }},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, model, data)
			o.Schedule = "const"
			c.long(&o)
			want, err := trained(t.Context(), o, reporter{})
			require.NoError(t, err)

			o.Logs = t.TempDir()
			c.short(&o)
			short, err := trained(t.Context(), o, reporter{})
			require.NoError(t, err)
			require.Less(t, short.Steps, want.Steps)
			o.Resume = "latest"
			c.long(&o)
			var log bytes.Buffer
			long, err := trained(t.Context(), o, reporter{Log: &log})
			require.NoError(t, err)
			assert.Equal(t, want.Steps, long.Steps)
			assert.Contains(t, log.String(), "the run is extended from")
			assert.Contains(t, log.String(), "the learning rate is held at 0.001")
			assert.Equal(t, losses(t, want.Dir), losses(t, long.Dir))
			assert.True(t, bytes.Equal(keptTensors(t, want.Dir), keptTensors(t, long.Dir)), "weights and optimiser")
		})
	}
}

// TestStretched extends a run whose schedule goes by its length, in its middle and at its end: the
// log says so, the warm-up stays what it was, and a run that is stopped after it continues exactly.
func TestStretched(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44)
	o := options(t, model, data)
	o.Epochs, o.Warmup = 2, 0 // a tenth: 1 step
	_, err := trained(t.Context(), o, reporter{})
	require.NoError(t, err)
	o.Resume, o.Epochs = "latest", 4
	stopped := o
	stopped.Logs = t.TempDir()
	require.NoError(t, os.CopyFS(stopped.Logs, os.DirFS(o.Logs)))
	var log bytes.Buffer
	var rates []float64
	sum, err := trained(t.Context(), o, reporter{Log: &log, Step: func(s train.Step, total int) {
		assert.Equal(t, 20, total)
		rates = append(rates, s.LR)
	}})
	require.NoError(t, err)
	assert.Contains(t, log.String(), "the run is extended from 10 to 20 steps; the cosine is stretched over them, and the learning rate continues at 0.000541 (0 by the former length)")
	require.Len(t, rates, 10)
	assert.InDelta(t, 0.000541289, rates[0], 1e-9, "1e-3 (1 + cos(pi 9/19)) / 2")

	for _, stop := range []int{13, 0} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err = trained(ctx, stopped, reporter{Step: func(s train.Step, _ int) {
			if s.Step == stop {
				cancel()
			}
		}})
		cancel()
		if stop > 0 {
			require.ErrorIs(t, err, train.ErrInterrupted)
		}
	}
	require.NoError(t, err)
	assert.Equal(t, losses(t, sum.Dir), losses(t, stopped.dir()))

	o.Epochs = 1
	_, err = trained(t.Context(), o, reporter{})
	assert.ErrorIs(t, err, train.ErrConfig)
	assert.ErrorContains(t, err, "Resume: the run has done 20 steps, and Epochs 1 and MaxSteps 0 make 5")
}

// TestShortened ends a run earlier than it began to be.
func TestShortened(t *testing.T) {
	o := options(t, tinyModel(t), shard(t, 44))
	interrupted(t, o, 6)
	o.Resume, o.MaxSteps = "latest", 7
	var log bytes.Buffer
	sum, err := trained(t.Context(), o, reporter{Log: &log})
	require.NoError(t, err)
	assert.Equal(t, 7, sum.Steps)
	assert.Contains(t, log.String(), "the run is shortened from 15 to 7 steps")
	assert.NotEmpty(t, sum.Metrics, "its end is evaluated")
}

// TestElsewhere continues from another run's directory, or from one of its checkpoints, in a
// directory of its own, which then has the whole run; the other one stays as it is.
func TestElsewhere(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44)
	o := options(t, model, data)
	o.SaveEpochs, o.WiseFT = 1, 0.5
	o.Opening.Pretrained = model
	want, err := trained(t.Context(), o, reporter{})
	require.NoError(t, err)
	for _, from := range []string{want.Dir, filepath.Join(want.Dir, "checkpoints", "epoch_2")} {
		other := o
		other.Logs, other.Resume = t.TempDir(), from
		if from == want.Dir { // it has ended
			require.NoError(t, os.RemoveAll(filepath.Join(from, "checkpoints", "latest")))
			require.NoError(t, os.Rename(filepath.Join(from, "checkpoints", "epoch_3"), filepath.Join(from, "checkpoints", "latest")))
		}
		sum, err := trained(t.Context(), other, reporter{})
		require.NoError(t, err)
		assert.Equal(t, losses(t, want.Dir), losses(t, sum.Dir), "with the lines of the steps before")
		assert.True(t, bytes.Equal(keptTensors(t, want.Dir), keptTensors(t, sum.Dir)))
		assert.FileExists(t, filepath.Join(sum.Dir, "checkpoints", "wise_ft", "open_clip_model.safetensors"))
	}
	other := options(t, model, data)
	_, err = trained(t.Context(), other, reporter{})
	require.NoError(t, err)
	other.Resume = want.Dir
	_, err = trained(t.Context(), other, reporter{})
	assert.ErrorContains(t, err, "holds a run of its own; give another Dir")
	other.Resume = t.TempDir()
	_, err = trained(t.Context(), other, reporter{})
	assert.ErrorContains(t, err, "no such file")
	require.NoError(t, os.Mkdir(filepath.Join(other.Resume, "checkpoints"), 0o755))
	_, err = trained(t.Context(), other, reporter{})
	assert.ErrorContains(t, err, "it holds no checkpoint yet")
}
