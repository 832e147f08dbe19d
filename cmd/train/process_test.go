package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/goclip/goclip/clip"
)

// lengthy is a command line for a run of 16 epochs of 3 steps, and its directory.
func lengthy(t *testing.T) (args []string, dir string) {
	t.Helper()
	logs, data := t.TempDir(), shard(t, 26)
	return []string{"--model", tinyModel(t), "--train-data", data, "--val-data", data, "--batch-size", "8", "--epochs", "16", "--warmup", "2",
		"--workers", "2", "--threads", "1", "--device", "cpu", "--val-frequency", "8", "--save-frequency", "0", "--log-every-n-steps", "1", "--logs", logs, "--name", "run"}, filepath.Join(logs, "run")
}

const lengthySteps = 48

// begun reports whether the run has written n lines of metrics.
func begun(dir string, n int) func() bool {
	return func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
		return err == nil && bytes.Count(text, []byte("\n")) >= n
	}
}

// whole checks that the directory holds the checkpoints and nothing half-written, and that latest
// opens.
func whole(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
	require.NoError(t, err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	assert.Equal(t, want, have)
	_, err = clip.Open(t.Context(), filepath.Join(dir, "checkpoints", "latest"), nil)
	require.NoError(t, err)
}

// finish resumes the run and checks that it comes to its end.
func finish(t *testing.T, args []string, dir string) {
	t.Helper()
	code, _, errs := command(t, append(args, "--resume", "latest")...)
	require.Equal(t, 0, code, errs)
	assert.Len(t, steps(t, dir), lengthySteps)
	whole(t, dir, "latest")
	results, err := os.ReadFile(filepath.Join(dir, "results.jsonl"))
	require.NoError(t, err)
	assert.Equal(t, 2, bytes.Count(results, []byte("\n")), "an evaluation at epochs 8 and 16")
}

// TestSignals stops a run with Ctrl-C's and the scheduler's signal: the checkpoint is written and
// the run continues later.
func TestSignals(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			args, dir := lengthy(t)
			var errs bytes.Buffer
			cmd := process(args...)
			cmd.Stderr = &errs
			require.NoError(t, cmd.Start())
			require.Eventually(t, begun(dir, 2), time.Minute, time.Millisecond)
			require.NoError(t, cmd.Process.Signal(signal))
			require.Error(t, cmd.Wait())
			assert.Equal(t, 130, cmd.ProcessState.ExitCode())
			noTrace(t, errs.String())
			done := steps(t, dir)
			assert.Less(t, len(done), lengthySteps)
			assert.Contains(t, errs.String(), fmt.Sprintf("interrupted after step %d of 48; --resume latest --name run continues", len(done)))
			whole(t, dir, "latest")
			finish(t, args, dir)
			assert.Equal(t, done, steps(t, dir)[:len(done)], "what was done is not done again")
		})
	}
}

// TestFullDisk lets the disk fill up in the middle of a run: the last checkpoint stays and the run
// continues later.
func TestFullDisk(t *testing.T) {
	args, dir := lengthy(t)
	var errs bytes.Buffer
	cmd := process(args...)
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	require.Eventually(t, begun(dir, 4), time.Minute, time.Millisecond) // after the first checkpoint
	require.NoError(t, unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}, nil))
	require.Error(t, cmd.Wait())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
	assert.Contains(t, lines[len(lines)-1], "train: the checkpoint "+filepath.Join(dir, "checkpoints", "latest")+" was not written")
	assert.Contains(t, lines[len(lines)-1], "the disk is full")
	noTrace(t, errs.String())
	whole(t, dir, "latest")
	finish(t, args, dir)
}

// TestTerminal runs the command on a pseudo-terminal: the log's lines with a bar below them.
func TestTerminal(t *testing.T) {
	args, _ := lengthy(t)
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer master.Close()
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	cmd := process(append(args, "--max-steps", "6", "--log-every-n-steps", "3")...)
	cmd.Stderr = terminal
	require.NoError(t, cmd.Start())
	require.NoError(t, terminal.Close())
	shown, _ := io.ReadAll(master) // the last reader's end of a terminal is an error
	require.NoError(t, cmd.Wait())
	for _, says := range []string{"(6/6)", "100%", "chance 2.079", "step 3/6 epoch 0", "evaluation on 26 pairs", "train: 6 steps in"} {
		assert.Contains(t, string(shown), says)
	}
}
