package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestProcessesTrainAsOne trains in 1, 2 and 4 processes, with batches that make the same step: the
// losses are the same, and so is what they find on --val-data.
func TestProcessesTrainAsOne(t *testing.T) {
	model, data := tinyModel(t), shard(t, 26)
	run := func(processes, batch, accum int) (losses []float64, results string) {
		logs := t.TempDir()
		cmd := process("--model", model, "--train-data", data, "--val-data", data, "--batch-size", fmt.Sprint(batch), "--accum-freq", fmt.Sprint(accum),
			"--epochs", "3", "--warmup", "2", "--workers", "1", "--device", "cpu", "--save-frequency", "0", "--force-patch-dropout", "0",
			"--lr", "1e-3", "--logs", logs, "--name", "run", "--nproc-per-node", fmt.Sprint(processes))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		whole(t, filepath.Join(logs, "run"), "latest")
		for _, s := range steps(t, filepath.Join(logs, "run")) {
			losses = append(losses, s.Loss)
			assert.Equal(t, 8*s.Step, s.Samples)
		}
		text, err := os.ReadFile(filepath.Join(logs, "run", "results.jsonl"))
		require.NoError(t, err)
		return losses, string(text)
	}
	want, _ := run(1, 8, 1)
	require.Len(t, want, 9)
	for _, c := range [][3]int{{2, 4, 1}, {2, 2, 2}, {4, 2, 1}, {4, 1, 2}} {
		got, results := run(c[0], c[1], c[2])
		require.Len(t, got, len(want))
		for i := range want {
			assert.InEpsilon(t, want[i], got[i], 1e-4, "%d processes, batches of %d, step %d", c[0], c[1], i+1)
		}
		assert.Equal(t, 3, strings.Count(results, "\n"), "one process evaluates")
	}
}

// TestProcessIsKilled kills one of two processes in the middle of a run: the other ends and names
// it, and the restart that --max-restarts allows finishes the job. A signal to the launcher leaves
// a checkpoint that continues as one process does.
func TestProcessIsKilled(t *testing.T) {
	args, dir := lengthy(t)
	cmd := process(append(args, "--nproc-per-node", "2", "--max-restarts", "1", "--batch-size", "4", "--epochs", "60")...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	require.Eventually(t, begun(dir, 5), time.Minute, 5*time.Millisecond)
	killed := childOfRank(t, cmd.Process.Pid, 1)
	require.NotZero(t, killed)
	require.NoError(t, syscall.Kill(killed, syscall.SIGKILL))
	require.NoError(t, cmd.Wait(), errs.String())
	assert.Contains(t, errs.String(), "rank 1 was ended by the signal killed")
	assert.Contains(t, errs.String(), "train: rank 1 on ", "the other rank names it")
	assert.Contains(t, errs.String(), "restart 1 of 1 resumes from the latest checkpoint")
	assert.NotContains(t, errs.String(), "goroutine ")
	assert.Len(t, steps(t, dir), 60*3)
	whole(t, dir, "latest")
}

// TestProcessesAreInterrupted stops two processes by a signal to the launcher, and continues with
// two. One alone would make other batches, and is refused.
func TestProcessesAreInterrupted(t *testing.T) {
	args, dir := lengthy(t)
	args = append(args, "--batch-size", "4")
	for i, n := range []int{5, 20} {
		again := append(args, "--nproc-per-node", "2")
		if i > 0 {
			again = append(again, "--resume", "latest")
		}
		cmd := process(again...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		require.NoError(t, cmd.Start())
		require.Eventually(t, begun(dir, n), time.Minute, 5*time.Millisecond)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait()
		assert.Equal(t, 130, cmd.ProcessState.ExitCode(), errs.String())
		assert.Contains(t, errs.String(), "interrupted after step ")
		whole(t, dir, "latest")
	}
	out, err := process(append(args, "--resume", "latest")...).CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "train: --resume: the run was started in 2 processes and now has 1, which make another batch and another epoch; resume it in 2")
	out, err = process(append(args, "--nproc-per-node", "2", "--resume", "latest")...).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Len(t, steps(t, dir), lengthySteps)
}

// childOfRank is the process that the launcher started as that rank, or 0.
func childOfRank(t *testing.T, launcher, rank int) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var pid, parent int
		_, _ = fmt.Sscanf(string(text), "%d", &pid)
		_, _ = fmt.Sscanf(string(text[bytes.LastIndexByte(text, ')')+1:]), " %1s %d", new(string), &parent)
		environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if parent == launcher && bytes.Contains(environment, fmt.Appendf(nil, "\x00RANK=%d\x00", rank)) {
			return pid
		}
	}
	return 0
}
