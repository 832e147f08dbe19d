package train_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
)

// TestSaveWithinAnEpoch has a run write its latest checkpoint in the middle of an epoch, by steps
// and by minutes: what it can be resumed from at that step, as by a kill, is exact.
func TestSaveWithinAnEpoch(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44) // 5 batches an epoch
	whole := options(t, model, data)
	whole.Epochs = 1
	sum, err := trained(t.Context(), whole, reporter{})
	require.NoError(t, err)
	want := losses(t, sum.Dir)
	for name, c := range map[string]struct {
		set func(o *setup)
		has int // the step of the checkpoint that step 4 finds
	}{
		"steps":   {func(o *setup) { o.SaveSteps = 2 }, 2},
		"minutes": {func(o *setup) { o.SaveEvery = time.Nanosecond }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, model, data)
			o.Epochs = 1
			c.set(&o)
			copied := o
			copied.Logs = t.TempDir() // the directory as a kill during step 4 leaves it
			_, err := trained(t.Context(), o, reporter{Step: func(s train.Step, _ int) {
				if s.Step == 4 {
					require.NoError(t, os.CopyFS(copied.Logs, os.DirFS(o.Logs)))
				}
			}})
			require.NoError(t, err)
			assert.Equal(t, want, losses(t, filepath.Join(o.Logs, "run")), "saving changes nothing")
			copied.Resume = "latest"
			first := 0
			_, err = trained(t.Context(), copied, reporter{Step: func(s train.Step, _ int) {
				if first == 0 {
					first = s.Step
				}
			}})
			require.NoError(t, err)
			assert.Equal(t, c.has+1, first)
			assert.Equal(t, want, losses(t, filepath.Join(copied.Logs, "run")))

			copied.Threads = torch.NumThreads() + 1
			_, err = trained(t.Context(), copied, reporter{})
			require.NoError(t, err)
			log, err := os.ReadFile(filepath.Join(copied.Logs, "run", "out.log"))
			require.NoError(t, err)
			assert.Regexp(t, `WARNING: the run had \d+ threads and now has \d+, which add in another order`, string(log))
		})
	}
}
