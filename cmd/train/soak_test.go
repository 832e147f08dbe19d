//go:build soak

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/torch"
)

// sample is what a run held after a number of its steps.
type sample struct {
	step    int
	rss     int64 // KiB
	handles int64
	cpu     time.Duration // of this process
}

const (
	growth = 20 << 10 // KiB of resident memory that a run may gain after its warm-up
	warmUp = 400      // steps
)

// TestSoak trains for GOCLIP_STEPS (2,000) steps.
func TestSoak(t *testing.T) {
	mib, handles := gain(t, soak(t, campaign.FromEnv(t, "GOCLIP_STEPS", 2000), func(int) {}))
	assert.LessOrEqual(t, mib, growth>>10, "MiB gained")
	assert.Less(t, handles, int64(200), "handles gained")
}

// TestSoakSeesALeak keeps a tensor of 64 KiB for each step: the figures that TestSoak checks must
// show it.
func TestSoakSeesALeak(t *testing.T) {
	var kept []*torch.Tensor
	mib, handles := gain(t, soak(t, 1200, func(steps int) {
		for range steps {
			kept = append(kept, torch.Ones(nil, torch.CPU, torch.Float32, 16<<10))
		}
	}))
	assert.Greater(t, mib, growth>>10)
	assert.Greater(t, handles, int64(400))
	for _, k := range kept {
		k.Free()
	}
}

// gain compares the last quarter of the looks after the warm-up with the first: the smallest of
// each, since a look may fall into the middle of a step or of a collection.
func gain(t *testing.T, samples []sample) (mib int, handles int64) {
	t.Helper()
	for len(samples) > 0 && samples[0].step < warmUp {
		samples = samples[1:]
	}
	quarter := len(samples) / 4
	require.Positive(t, quarter)
	least := func(part []sample) (rss, handles int64) {
		rss, handles = part[0].rss, part[0].handles
		for _, s := range part {
			rss, handles = min(rss, s.rss), min(handles, s.handles)
		}
		return rss, handles
	}
	each := func(part []sample) time.Duration {
		from, to := part[0], part[len(part)-1]
		return (to.cpu - from.cpu) / time.Duration(max(1, to.step-from.step))
	}
	t.Logf("processor time of a step: %s at first, %s at last", each(samples[:max(2, quarter)]), each(samples[len(samples)-max(2, quarter):]))
	rss0, handles0 := least(samples[:quarter])
	rss1, handles1 := least(samples[len(samples)-quarter:])
	t.Logf("steps %d to %d: resident %.1f to %.1f MiB, handles %d to %d", samples[0].step, samples[len(samples)-1].step,
		float64(rss0)/1024, float64(rss1)/1024, handles0, handles1)
	return int(rss1-rss0) >> 10, handles1 - handles0
}

// soak trains for a number of steps by the command's own run and looks in on it. leak is told of
// each look with the steps since the last one.
func soak(t *testing.T, total int, leak func(steps int)) (samples []sample) {
	t.Helper()
	logs, data := t.TempDir(), shard(t, 168)
	metrics := filepath.Join(logs, "run", "metrics.jsonl")
	done := make(chan int)
	go func() {
		code, _, _ := command(t, "--model", tinyModel(t), "--train-data", data, "--val-data", data, "--batch-size", "8", "--epochs", strconv.Itoa(total), "--max-steps", strconv.Itoa(total),
			"--warmup", "2", "--workers", "2", "--threads", "1", "--device", "cpu", "--val-frequency", "5", "--save-frequency", "0",
			"--aug-cfg", "scale=[0.5,1.0] color_jitter=[0.4,0.4,0.4,0.1] color_jitter_prob=0.8 gray_scale_prob=0.2", "--logs", logs, "--name", "run")
		done <- code
	}()
	last, step, read := 0, 0, int64(0)
	part := make([]byte, 64<<10)
	for {
		select {
		case code := <-done:
			require.Equal(t, 0, code)
			return samples
		case <-time.After(20 * time.Millisecond):
		}
		if f, err := os.Open(metrics); err == nil {
			n, _ := f.ReadAt(part, read)
			step, read = step+bytes.Count(part[:n], []byte("\n")), read+int64(n)
			require.NoError(t, f.Close())
		}
		if leak(step - last); step >= last+total/20 || last == 0 && step > 0 {
			samples = append(samples, sample{step, campaign.Resident(t), torch.LiveTensors(), campaign.ProcessorTime()})
			last = step
		}
	}
}
