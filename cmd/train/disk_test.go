package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mount is a file system of its own, in memory, of that size ("12m"). That takes root.
func mount(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: a file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// TestRealFullDisk fills a real disk by a run's checkpoints: the run stops with a sentence and the
// last good one stays. With room again it continues, to the end of the run that always had room.
func TestRealFullDisk(t *testing.T) {
	args, ample := killable(t, 1), t.TempDir()
	require.NoError(t, process(append(args, "--logs", ample, "--name", "run")...).Run())
	logs := mount(t, "13m") // latest and a fresh one, but not epoch_3 beside them
	dir := filepath.Join(logs, "run")
	var errs bytes.Buffer
	cmd := process(append(args, "--logs", logs, "--name", "run")...)
	cmd.Stderr = &errs
	require.Error(t, cmd.Run())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	noTrace(t, errs.String())
	assert.Regexp(t, `(?m)^train: the checkpoint `+dir+`/checkpoints/\w+ was not written: .*the disk is full: .*no space left on device\n$`, errs.String())
	whole(t, dir, "epoch_3", "latest")
	done := len(steps(t, dir))

	require.NoError(t, unix.Mount("tmpfs", logs, "tmpfs", unix.MS_REMOUNT, "size=100m"))
	code, _, said := command(t, append(args, "--logs", logs, "--name", "run", "--resume", "latest")...)
	require.Equal(t, 0, code, said)
	same(t, outcomeOf(t, filepath.Join(ample, "run")), outcomeOf(t, dir))
	t.Logf("full after step %d", done)
}

// TestReadOnlyDisk expects a sentence before the first step.
func TestReadOnlyDisk(t *testing.T) {
	logs := mount(t, "1m")
	require.NoError(t, unix.Mount("tmpfs", logs, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	code, _, errs := command(t, append(killable(t, 1), "--logs", logs, "--name", "run")...)
	assert.Equal(t, 1, code)
	assert.Regexp(t, `^train: mkdir `+logs+`/run: read-only file system\n$`, errs)
}

// TestVanishedDirectory removes a run's directory under it: it stops at the next checkpoint and
// does not write the half of a run again.
func TestVanishedDirectory(t *testing.T) {
	args, dir := lengthy(t)
	var errs bytes.Buffer
	cmd := process(args...)
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	require.Eventually(t, begun(dir, 4), time.Minute, time.Millisecond)
	require.NoError(t, os.Rename(dir, dir+".gone"))
	require.Error(t, cmd.Wait())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	noTrace(t, errs.String())
	assert.Regexp(t, `(?m)^train: .*`+dir+`/.*no such file or directory\n$`, errs.String())
	assert.NoDirExists(t, dir)
	whole(t, dir+".gone", "latest")
}

// TestTwoProcesses has a second one come to a run that is under way.
func TestTwoProcesses(t *testing.T) {
	args, dir := lengthy(t)
	cmd := process(args...)
	require.NoError(t, cmd.Start())
	require.Eventually(t, begun(dir, 4), time.Minute, time.Millisecond)
	code, _, errs := command(t, append(args, "--resume", "latest")...)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "train: another process trains in "+dir)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	finish(t, args, dir)
}
