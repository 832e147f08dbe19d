package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// saved is the step of the latest checkpoint; -1 before there is one.
func saved(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "checkpoints", "latest", "train_state", "state.json"))
	var s struct{ Step int }
	if err != nil || json.Unmarshal(text, &s) != nil {
		return -1
	}
	return s.Step
}

// TestSaveOnSignal has a run in the middle of its only epoch write a checkpoint and continue: for a
// scheduler's warning, in one process and, of two, in the one that does not write, and for the end
// of who reads the log.
func TestSaveOnSignal(t *testing.T) {
	for name, processes := range map[string]string{"one process": "1", "two processes": "2"} {
		t.Run(name, func(t *testing.T) {
			args, dir := endless(t)
			cmd := process(append(args, "--nproc-per-node", processes)...)
			require.NoError(t, cmd.Start())
			defer cmd.Process.Kill()
			require.Eventually(t, begun(dir, 3), time.Minute, time.Millisecond)
			require.Equal(t, -1, saved(dir), "an epoch is not over")
			pid := cmd.Process.Pid
			if processes == "2" {
				pid = childOfRank(t, pid, 1)
				require.NotZero(t, pid)
			}
			require.NoError(t, syscall.Kill(pid, syscall.SIGUSR1))
			require.Eventually(t, func() bool { return saved(dir) > 0 }, time.Minute, time.Millisecond)
			at := saved(dir)
			require.Eventually(t, begun(dir, at+3), time.Minute, time.Millisecond)
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM)) // as Slurm's and a launcher's both come
			require.Error(t, cmd.Wait())
			assert.Equal(t, 130, cmd.ProcessState.ExitCode())
			assert.Greater(t, saved(dir), at+2)
		})
	}
}

// endless is a command line for an epoch of very many steps, and its directory.
func endless(t *testing.T) (args []string, dir string) {
	t.Helper()
	logs := t.TempDir()
	return []string{"--model", tinyModel(t), "--dataset-type", "synthetic", "--train-num-samples", "4000000", "--batch-size", "8", "--epochs", "1", "--workers", "1", "--threads", "1",
		"--device", "cpu", "--log-every-n-steps", "1", "--logs", logs, "--name", "run"}, filepath.Join(logs, "run")
}

// TestBrokenPipe ends who reads the log: the run writes a checkpoint and continues.
func TestBrokenPipe(t *testing.T) {
	args, dir := endless(t)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	cmd := process(args...)
	cmd.Stderr = write
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	require.NoError(t, write.Close())
	in := bufio.NewReader(read)
	_, err = in.ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, read.Close())
	require.Eventually(t, func() bool { return saved(dir) > 0 }, time.Minute, time.Millisecond)
	require.Eventually(t, begun(dir, saved(dir)+5), time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	assert.Equal(t, 130, cmd.ProcessState.ExitCode())
	log, err := os.ReadFile(filepath.Join(dir, "out.log"))
	require.NoError(t, err)
	assert.Equal(t, 1, bytes.Count(log, []byte("nobody reads the log any more")))
	assert.Contains(t, string(log), "interrupted after step")
}

// TestNohup has a run pass over the hangup of its terminal, if nohup has started it.
func TestNohup(t *testing.T) {
	args, dir := endless(t)
	cmd := process(args...)
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`, cmd.Path}, args...)
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	require.Eventually(t, begun(dir, 2), time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, begun(dir, len(steps(t, dir))+5), time.Minute, time.Millisecond)
	assert.Equal(t, -1, saved(dir))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	assert.Equal(t, 130, cmd.ProcessState.ExitCode())
}

// TestStoppedInAStep stops runs by SIGTERM at moments that fall into steps, and resumes them, each
// with flags of the sitting alone: they come to the end of the run that was never stopped, bit for
// bit.
func TestStoppedInAStep(t *testing.T) {
	args, logs := killable(t, 1), t.TempDir()
	require.NoError(t, process(append(args, "--workers", "2", "--logs", logs, "--name", "never")...).Run())
	want := outcomeOf(t, filepath.Join(logs, "never"))
	dir, stops := filepath.Join(logs, "run"), 0
	again := append(args, "--workers", "2", "--logs", logs, "--name", "run")
	for {
		next := linesOf(dir) + 3 + stops
		cmd := process(again...)
		require.NoError(t, cmd.Start())
		if next < 36 {
			require.Eventually(t, begun(dir, next), time.Minute, 100*time.Microsecond)
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		}
		if err := cmd.Wait(); err == nil {
			break
		}
		require.Equal(t, 130, cmd.ProcessState.ExitCode())
		stops++
		again = []string{"--resume", "latest", "--threads", "1", "--device", "cpu", "--logs", logs, "--name", "run"}
	}
	assert.Greater(t, stops, 2)
	same(t, want, outcomeOf(t, dir))
}

// linesOf counts the steps that a run has written so far.
func linesOf(dir string) int {
	text, _ := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	return bytes.Count(text, []byte("\n"))
}

// TestFullDiskForAWhile fills the disk in the middle of a run: training continues, says so, and comes
// to the end of the run that always had room when there is room again.
func TestFullDiskForAWhile(t *testing.T) {
	args, ample := killable(t, 1), t.TempDir()
	args = append(args, "--epochs", "40", "--save-frequency", "0")
	require.NoError(t, process(append(args, "--logs", ample, "--name", "run")...).Run())
	logs := mount(t, "40m")
	dir := filepath.Join(logs, "run")
	var errs bytes.Buffer
	cmd := process(append(args, "--logs", logs, "--name", "run")...)
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return saved(dir) > 4 }, time.Minute, time.Millisecond)
	filler := filepath.Join(logs, "filler")
	f, err := os.Create(filler)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 1<<12))
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, f.Close())
	full := saved(dir)
	time.Sleep(500 * time.Millisecond)
	require.NoError(t, os.Remove(filler))
	require.NoError(t, cmd.Wait(), errs.String())
	noTrace(t, errs.String())
	assert.Regexp(t, `WARNING: train: the checkpoint .* was not written: .*the disk is full`, errs.String())
	assert.Regexp(t, `WARNING: training continues: the checkpoint of step \d+ is safe, and checkpoints/latest is tried again in 1m0s`, errs.String())
	same(t, outcomeOf(t, filepath.Join(ample, "run")), outcomeOf(t, dir))
	t.Logf("full after step %d", full)
}
