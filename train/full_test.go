package train

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/internal/disk/crashtest"
)

// TestLinesWait keeps lines while a disk is full, in order and whole, and loses none.
func TestLinesWait(t *testing.T) {
	dir := inMemory(t)
	fsys, err := crashtest.New(dir)
	require.NoError(t, err)
	f, err := fsys.Append(filepath.Join(dir, "lines"))
	require.NoError(t, err)
	out := disk.Output(f)
	require.NoError(t, inLines(&out))
	var fault error
	fsys.Fail = func(_ int, kind crashtest.Kind, _ string) error {
		if kind == crashtest.Write {
			return fault
		}
		return nil
	}
	want := ""
	for i, err := range []error{nil, syscall.ENOSPC, syscall.EDQUOT, nil, syscall.ENOSPC, nil} {
		fault = err
		line := strings.Repeat(string(rune('a'+i)), 9) + "\n"
		want += line
		n, err := out.Write([]byte(line))
		require.NoError(t, err)
		require.Equal(t, len(line), n)
		if fault != nil {
			require.ErrorIs(t, out.Sync(), fault, "a checkpoint must not outlive its lines")
		}
	}
	require.NoError(t, out.Sync())
	text, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	assert.Equal(t, want, string(text))
	fault = syscall.EIO
	_, err = out.Write([]byte("x\n"))
	assert.ErrorIs(t, err, syscall.EIO)
	fault = nil
	require.NoError(t, out.Close())
}

// TestPostponed waits twice as long after each try, up to a quarter of an hour.
func TestPostponed(t *testing.T) {
	var p postponed
	assert.False(t, p.due())
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 16} {
		assert.Equal(t, want*time.Minute, p.later())
		assert.False(t, p.due())
	}
	p.next = time.Now().Add(-time.Second)
	assert.True(t, p.due())
}

// TestMayWait continues only where nothing is lost by it.
func TestMayWait(t *testing.T) {
	r := smallest(t, disk.Machine{}, inMemory(t))
	r.total = 10
	wrapped := errors.Join(errors.New("x"), &os.PathError{Err: syscall.ENOSPC})
	assert.False(t, r.mayWait(wrapped), "no checkpoint is safe")
	r.safe = 3
	assert.True(t, r.mayWait(wrapped))
	assert.False(t, r.mayWait(syscall.EIO))
	r.state.Step = 10
	assert.False(t, r.mayWait(wrapped), "no step is left in which room may come")
}

// TestTee writes each line to the run's file, whatever becomes of who reads the other copy.
func TestTee(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, read.Close())
	defer write.Close()
	var file bytes.Buffer
	log := &tee{people: write, file: &file}
	for range 3 {
		_, err := log.Write([]byte("line\n"))
		require.NoError(t, err)
	}
	assert.Equal(t, 3, strings.Count(file.String(), "line\n"))
	assert.Equal(t, 1, strings.Count(file.String(), "nobody reads the log any more"))
}
