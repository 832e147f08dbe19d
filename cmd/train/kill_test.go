package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/campaign"
)

// killable is a command line with all that has a state: augmentation, patch dropout, evaluation,
// checkpoints after epochs, within them, and removed ones. It has 12 epochs of 3 steps.
func killable(t *testing.T, threads int) []string {
	t.Helper()
	data := shard(t, 26)
	return []string{"--model", tinyModel(t), "--train-data", data, "--val-data", data, "--batch-size", "8", "--epochs", "12", "--warmup", "2", "--grad-clip-norm", "1",
		"--threads", fmt.Sprint(threads), "--device", "cpu", "--val-frequency", "2", "--save-frequency", "3", "--delete-previous-checkpoint", "--save-every-n-steps", "2",
		"--log-every-n-steps", "1", "--aug-cfg", "scale=[0.5,1.0] color_jitter=[0.4,0.4,0.4,0.1] color_jitter_prob=0.8 gray_scale_prob=0.2"}
}

// outcome is all that a run leaves and that must not depend on how often it was killed.
type outcome struct {
	Checkpoints        []string
	Weights, Optimiser []byte
	State              map[string]any
	Metrics            []map[string]any
	Results, Plot      string
}

// outcomeOf reads a run that has ended, and checks its log: whole lines, and one at least for each
// step.
func outcomeOf(t *testing.T, dir string) (o outcome) {
	t.Helper()
	read := func(path ...string) []byte {
		text, err := os.ReadFile(filepath.Join(append([]string{dir}, path...)...))
		require.NoError(t, err)
		return text
	}
	o.Weights, o.Optimiser = read("checkpoints", "latest", clip.WeightsFile), read("checkpoints", "latest", "train_state", "optimizer.safetensors")
	require.NoError(t, json.Unmarshal(read("checkpoints", "latest", "train_state", "state.json"), &o.State))
	delete(o.State, "options") // the number of workers and --resume
	delete(o.State["files"].(map[string]any), "train_state/config.yaml")
	delete(o.State, "config")
	delete(o.State, "seal")
	o.Results, o.Plot = string(read("results.jsonl")), string(read("loss.png"))
	for _, line := range strings.Split(strings.TrimSpace(string(read("metrics.jsonl"))), "\n") {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		for _, measured := range []string{"data_time", "step_time", "samples_per_second", "mfu"} {
			require.Contains(t, m, measured)
			delete(m, measured)
		}
		o.Metrics = append(o.Metrics, m)
		require.EqualValues(t, len(o.Metrics), m["step"], "each step once")
	}
	entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
	require.NoError(t, err)
	for _, e := range entries {
		o.Checkpoints = append(o.Checkpoints, e.Name())
	}
	log := string(read("out.log"))
	for _, line := range strings.Split(strings.TrimSuffix(log, "\n"), "\n") {
		require.Regexp(t, logLine, line)
	}
	for step := range o.Metrics {
		require.Contains(t, log, fmt.Sprintf(" step %d/%d ", step+1, len(o.Metrics)))
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, left)
	return o
}

var logLine = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [^\x00]+$`)

// same compares without printing megabytes.
func same(t *testing.T, want, have outcome) {
	t.Helper()
	assert.Equal(t, want.Checkpoints, have.Checkpoints)
	assert.Equal(t, want.State, have.State)
	assert.Equal(t, want.Metrics, have.Metrics)
	assert.Equal(t, want.Results, have.Results)
	assert.True(t, bytes.Equal(want.Weights, have.Weights), "the weights")
	assert.True(t, bytes.Equal(want.Optimiser, have.Optimiser), "the optimiser's state")
	assert.True(t, want.Plot == have.Plot, "the plot")
}

// TestKilled kills runs at random moments, in starting, stepping, evaluating and saving, each
// sitting with another number of workers. Of two processes it kills the launcher or one rank. The
// same command line always continues, and each run comes to the end of the one that was never
// killed, bit for bit. A run that has come to its end is followed by another until all kills are
// done.
func TestKilled(t *testing.T) {
	for _, c := range []struct{ threads, processes int }{{1, 1}, {2, 1}, {1, 2}} {
		t.Run(fmt.Sprintf("%d threads, %d processes", c.threads, c.processes), func(t *testing.T) {
			args, logs := killable(t, c.threads), t.TempDir()
			if c.processes > 1 {
				args = append(args, "--batch-size", fmt.Sprint(8/c.processes), "--nproc-per-node", fmt.Sprint(c.processes))
			}
			began := time.Now()
			require.NoError(t, process(append(args, "--workers", "2", "--logs", logs, "--name", "never")...).Run())
			span := time.Since(began) / 3 // in which a sitting is killed; it follows the machine's load
			want := outcomeOf(t, filepath.Join(logs, "never"))
			require.Equal(t, []string{"epoch_12", "latest"}, want.Checkpoints)
			require.Len(t, want.Metrics, 36)
			require.NoError(t, process(append(args, "--workers", "2", "--seed", "1", "--logs", logs, "--name", "other")...).Run())
			assert.False(t, bytes.Equal(want.Weights, outcomeOf(t, filepath.Join(logs, "other")).Weights), "what is compared depends on the run")

			most, rng := campaign.Kills(t, 6)
			killed, runs, starting := 0, 0, 0
			for runs == 0 || killed < most {
				name := fmt.Sprintf("run%d", runs)
				dir := filepath.Join(logs, name)
				for {
					var errs bytes.Buffer
					cmd := process(append(args, "--workers", fmt.Sprint(1<<rng.IntN(3)), "--logs", logs, "--name", name, "--resume", "latest")...)
					cmd.Stderr = &errs
					hit := false
					require.NoError(t, cmd.Start())
					exited := make(chan error, 1)
					go func() { exited <- cmd.Wait() }()
					if killed < most {
						before := sittings(dir)
						inStart := rng.IntN(5) == 0
						if !inStart {
							require.Eventually(t, func() bool { return sittings(dir) > before || len(exited) > 0 }, 5*time.Minute, time.Millisecond)
						}
						time.Sleep(time.Duration(rng.Int64N(int64(span))))
						if len(exited) == 0 {
							victim := cmd.Process.Pid
							if c.processes > 1 && !inStart && rng.IntN(2) == 0 {
								victim = cmp.Or(childOfRank(t, victim, rng.IntN(c.processes)), victim)
							}
							if hit = syscall.Kill(victim, syscall.SIGKILL) == nil; hit && sittings(dir) == before {
								starting++
							}
						}
					}
					err := <-exited
					noTrace(t, errs.String())
					assert.NotContains(t, errs.String(), "WARNING", "latest is always whole")
					if !hit || cmd.ProcessState.Success() { // it was faster
						require.NoError(t, err, errs.String())
						span = max(span*3/4, 50*time.Millisecond)
						break
					}
					killed++
					span += span / 10
				}
				same(t, want, outcomeOf(t, dir))
				require.NoError(t, os.RemoveAll(dir))
				runs++
			}
			t.Logf("%d kills, %d of them before the first step of a sitting; %d runs came to the same end", killed, starting, runs)
		})
	}
}

// sittings counts the lines of the log that begin a sitting.
func sittings(dir string) int {
	text, _ := os.ReadFile(filepath.Join(dir, "out.log"))
	return bytes.Count(text, []byte("; chance level is")) + bytes.Count(text, []byte("continuing after"))
}
