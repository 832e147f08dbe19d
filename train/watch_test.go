package train_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
	"github.com/goclip/goclip/train/data"
)

// TestWatched looks at a run while it continues: Prometheus' page, TensorBoard's files, the log.
func TestWatched(t *testing.T) {
	o := options(t, tinyModel(t), shard(t, 20))
	o.Epochs, o.TensorBoard, o.MetricsAddr = 2, true, "127.0.0.1:0"
	var log bytes.Buffer
	var pages []string
	address := regexp.MustCompile(`http://(\S+)/metrics`)
	var alive []int64
	sum, err := trained(context.Background(), o, reporter{Log: &log, Step: func(s train.Step, total int) {
		alive = append(alive, torch.LiveTensors())
		if s.Step%2 == 1 {
			return
		}
		answer, err := http.Get(address.FindString(log.String()))
		require.NoError(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		pages = append(pages, string(text))
	}})
	require.NoError(t, err)
	assert.LessOrEqual(t, slices.Max(alive), alive[0], "no step leaves a tensor; the collector may free an earlier model")
	require.Len(t, pages, 2)
	last := pages[1]
	for _, metric := range []string{"loss", "samples_per_second", "data_wait_ratio", "learning_rate", "logit_scale", "grad_norm", "mfu_ratio", "epoch", "unreadable_samples",
		"resident_memory_bytes", "live_tensors"} {
		assert.Regexp(t, `(?m)^goclip_train_`+metric+` [0-9.e+-]+$`, last, metric)
	}
	assert.Contains(t, last, "\ngoclip_train_steps_planned 4\n")
	assert.Contains(t, last, `goclip_train_evaluation{metric="text_to_image_R@1"}`, "of the first epoch")
	assert.NotContains(t, pages[0], "goclip_train_evaluation")
	_, err = net.Dial("tcp", address.FindStringSubmatch(log.String())[1])
	assert.Error(t, err, "the port is given back")

	assert.Regexp(t, `step 1/4 epoch 0 loss \d\.\d{4} \(chance 2\.0794\) lr 0\.0005 \d+ images/s ETA 0:00:\d\d\n.*  accuracy [01]\.\d{3}, scale .* MFU \d+\.\d%, waiting for data \d+%`, log.String())
	assert.Contains(t, log.String(), "model FLOPs utilisation ")
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, " evaluation on ") {
			assert.LessOrEqual(t, len(line), 121, line)
		}
	}
	assert.Greater(t, sum.MFU, 0.0)
	files, err := filepath.Glob(filepath.Join(sum.Dir, "tensorboard", "events.out.tfevents.*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	for tag, count := range map[string]int{"train/loss": 4, "train/scale": 4, "train/mfu": 4, "val/text_to_image_R@5": 2, "val/clip_val_loss": 2, "val/epoch": 0} {
		assert.Equal(t, count, bytes.Count(text, []byte(tag)), tag)
	}

	o.MaxSteps = 0
	o.Resume = "latest"
	_, err = trained(context.Background(), o, reporter{})
	require.NoError(t, err)
	files, err = filepath.Glob(filepath.Join(sum.Dir, "tensorboard", "*"))
	require.NoError(t, err)
	assert.Len(t, files, 2, "a sitting has its own file")
}

// TestPortInUse is told before anything is written.
func TestPortInUse(t *testing.T) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer socket.Close()
	o := options(t, tinyModel(t), shard(t, 20))
	o.MetricsAddr = socket.Addr().String()
	_, err = trained(context.Background(), o, reporter{})
	require.ErrorContains(t, err, "train: MetricsAddr "+o.MetricsAddr)
	assert.ErrorContains(t, err, "address already in use")
	assert.NoDirExists(t, o.dir())
}

// TestOverfit passes with a learning rate that learns, fails with one that does not, and leaves
// nothing either way.
func TestOverfit(t *testing.T) {
	o := options(t, tinyModel(t), shard(t, 20))
	set, err := data.Open(t.Context(), o.TrainData, nil)
	require.NoError(t, err)
	overfit := func(ctx context.Context, pairs int) (train.Summary, error) {
		m, err := clip.Open(t.Context(), o.Model, &clip.OpenOptions{Copy: true})
		require.NoError(t, err)
		c := o.Config
		c.Dir = o.dir()
		return train.Overfit(ctx, m, set, pairs, &c)
	}
	o.LR, o.MaxSteps = 3e-3, 400
	log := &counting{}
	o.Log = log
	sum, err := overfit(t.Context(), 4)
	require.NoError(t, err, log.String())
	alive := log.alive[1 : len(log.alive)-1] // of steps
	assert.LessOrEqual(t, slices.Max(alive), alive[0], "no step leaves a tensor; the collector may free an earlier model")
	assert.Less(t, sum.Loss, 0.5)
	assert.Less(t, sum.Steps, 400)
	assert.Contains(t, log.String(), "model, data and LR can learn. Nothing was written")

	o.LR, o.MaxSteps = 1e-9, 3
	_, err = overfit(t.Context(), 4)
	assert.ErrorContains(t, err, "train: Overfit 4: after 3 steps the loss is ")
	_, err = overfit(t.Context(), 21)
	assert.ErrorContains(t, err, "Overfit 21: the data has 20 pairs")
	_, err = overfit(t.Context(), 1)
	assert.ErrorIs(t, err, train.ErrConfig)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = overfit(ctx, 4)
	assert.ErrorIs(t, err, train.ErrInterrupted)
	assert.NoDirExists(t, o.dir())
}

// counting is a log that counts the tensors that live at each of its lines.
type counting struct {
	bytes.Buffer
	alive []int64
}

func (c *counting) Write(line []byte) (int, error) {
	c.alive = append(c.alive, torch.LiveTensors())
	return c.Buffer.Write(line)
}

// TestPlan tells what there is and writes nothing.
func TestPlan(t *testing.T) {
	o := options(t, tinyModel(t), shard(t, 20))
	o.AccumFreq, o.SaveEpochs = 2, 1
	plan := func() *train.Plan {
		tr, err := made(t.Context(), o)
		require.NoError(t, err)
		p, err := tr.Plan()
		require.NoError(t, err)
		require.NoError(t, tr.Close())
		assert.NoDirExists(t, o.dir())
		return p
	}
	p := plan()
	assert.Equal(t, []int{20, 2, 20, 16, 8, 3}, []int{p.Images, p.Batches, p.Val, p.Batch, p.Micro, p.Steps})
	assert.Equal(t, p.Parameters, p.Learn)
	assert.Equal(t, float64(4*p.Parameters), p.Memory.Weights)
	assert.Equal(t, float64(12*p.Parameters), p.Checkpoint)
	assert.Equal(t, 5, p.Checkpoints)
	text := p.String()
	for _, says := range []string{"2 layers of width 64, 8-pixel patches of 32 pixels", "3 of 16 pairs in micro-batches of 8", "chance level is a loss of 2.773", "GFLOP/s", "are free"} {
		assert.Contains(t, text, says)
	}
	assert.Equal(t, 10, strings.Count(text, "\n"), text)

	o.LockText = true
	locked := plan()
	assert.Less(t, locked.Learn, p.Learn)
	assert.Less(t, locked.StepFLOPs, p.StepFLOPs)
	assert.Zero(t, locked.Memory.TextTower)
}
