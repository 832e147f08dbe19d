package preprocess

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNotRegular refuses what would wait for ever or has no end, whichever way it is asked for.
func TestNotRegular(t *testing.T) {
	dir := t.TempDir()
	fifo, socket, link := filepath.Join(dir, "fifo.png"), filepath.Join(dir, "s.png"), filepath.Join(dir, "zero.png")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer listener.Close()
	require.NoError(t, os.Symlink("/dev/zero", link))
	for _, path := range []string{fifo, socket, link, "/dev/zero", "/dev/tty", dir} {
		_, _, err := OpenRegular(path)
		assert.ErrorIs(t, err, ErrNotRegular, path)
		assert.ErrorContains(t, err, path+": not a regular file")
		_, err = ReadFile(t.Context(), path, DefaultLimits)
		assert.ErrorIs(t, err, ErrNotRegular, path)
		assert.ErrorIs(t, err, ErrNotImage, path)
		if path != dir {
			assert.EqualError(t, err, "preprocess: "+path+": not a regular file, so no image is read from it")
		}
		_, err = FromFile(path).Decode(t.Context(), DefaultLimits)
		assert.ErrorIs(t, err, ErrNotRegular, path)
	}
	_, _, err = OpenRegular(filepath.Join(dir, "none"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.EqualError(t, err, "open "+filepath.Join(dir, "none")+": no such file or directory")

	if _, err := os.Stat("/proc/self/status"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("no /proc here")
	}
	data, err := ReadFile(t.Context(), "/proc/self/status", DefaultLimits)
	require.NoError(t, err)
	assert.Empty(t, data, "a file of no length has no content: some of /proc never end")
}

// TestReadFileStopped ends between two pieces of a file.
func TestReadFileStopped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	want := make([]byte, piece+5)
	want[piece], want[piece+4] = 1, 2
	require.NoError(t, os.WriteFile(path, want, 0o600))
	data, err := ReadFile(t.Context(), path, DefaultLimits)
	require.NoError(t, err)
	assert.Equal(t, want, data)
	ctx := &endsAfter{Context: t.Context()}
	ctx.left.Store(1)
	_, err = ReadFile(ctx, path, DefaultLimits)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}
