package mapped

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// file has n ones in it, and was written an hour ago.
func file(t *testing.T, n int) string {
	path := filepath.Join(t.TempDir(), "weights")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte{1}, n), 0o600))
	hourAgo := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, hourAgo, hourAgo))
	return path
}

func open(t *testing.T, path string, write bool) *File {
	f, err := Open(path, write)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	return f
}

func sum(data []byte) (n int) {
	for _, b := range data {
		n += int(b)
	}
	return n
}

// TestCutShort reads files that are cut while they are mapped, in many goroutines: it ends no
// process, and is said.
func TestCutShort(t *testing.T) {
	for _, write := range []bool{false, true} {
		const n = 1 << 20
		path := file(t, n)
		f := open(t, path, write)
		require.NoError(t, f.Err())
		require.NoError(t, os.Truncate(path, 10_000))
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { assert.LessOrEqual(t, sum(f.Bytes()), 12288) })
		}
		all.Wait()
		err := f.Err()
		assert.ErrorIs(t, err, ErrChanged)
		assert.EqualError(t, err, path+": the file was changed while it was in use: it had 1048576 bytes and has 10000")
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte{1}, n), 0o600))
		assert.Equal(t, err, f.Err(), "it stays")

		again := open(t, path, write)
		require.NoError(t, again.Err())
		assert.Equal(t, n, sum(again.Bytes()))
	}
}

// TestMissingPage is of a file whose size and time say nothing.
func TestMissingPage(t *testing.T) {
	path := file(t, 1<<16)
	f := open(t, path, false)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 4096))
	assert.Equal(t, 4096, sum(f.Bytes()))
	require.NoError(t, os.Truncate(path, 1<<16))
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	assert.EqualError(t, f.Err(), path+": a part of it could not be read: the disk or the network failed")
}

func TestWrittenInto(t *testing.T) {
	path := file(t, 100)
	f := open(t, path, false)
	g, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = g.WriteAt([]byte{2}, 7)
	require.NoError(t, err)
	require.NoError(t, g.Close())
	assert.NoError(t, f.Missing(100))
	assert.Error(t, open(t, path, false).Missing(101))
	assert.EqualError(t, f.Err(), path+": the file was changed while it was in use: something was written into it")
}

// TestRenamedOver keeps what was opened.
func TestRenamedOver(t *testing.T) {
	path := file(t, 100)
	f := open(t, path, false)
	other := file(t, 50)
	require.NoError(t, os.Rename(other, path))
	assert.NoError(t, f.Err())
	assert.Equal(t, 100, sum(f.Bytes()))
	again, err := f.Again(true)
	require.NoError(t, err)
	assert.Equal(t, 100, sum(again.Bytes()))
	again.Bytes()[0] = 7
	assert.Equal(t, 100, sum(f.Bytes()), "it is this memory's own")
	require.NoError(t, again.Close())
	require.NoError(t, os.Remove(path))
	assert.NoError(t, f.Err())
}

// TestLend keeps the memory as long as somebody has it.
func TestLend(t *testing.T) {
	f := open(t, file(t, 100), false)
	memory, done, context := f.Lend()
	assert.NotNil(t, memory)
	assert.NotNil(t, done)
	assert.Equal(t, 2, int(f.c.uses))
	unmap(f.c)
	assert.Equal(t, 1, int(f.c.uses))
	assert.NotNil(t, context)
	memory, _, _ = open(t, file(t, 0), false).Lend()
	assert.Nil(t, memory, "an empty file has none")
}

// TestOtherFaults leaves those to Go that are of no mapping here.
func TestOtherFaults(t *testing.T) {
	open(t, file(t, 100), false) // the handler is there
	path := file(t, 1<<16)
	g, err := os.Open(path)
	require.NoError(t, err)
	defer g.Close()
	memory, err := syscall.Mmap(int(g.Fd()), 0, 1<<16, syscall.PROT_READ, syscall.MAP_SHARED)
	require.NoError(t, err)
	defer func() { assert.NoError(t, syscall.Munmap(memory)) }()
	require.NoError(t, os.Truncate(path, 0))
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	assert.Panics(t, func() { assert.Zero(t, sum(memory)) })
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir, false)
	assert.EqualError(t, err, dir+" is a directory, not a file")
	_, err = Open("/dev/null", false)
	assert.EqualError(t, err, "/dev/null is not a regular file")
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err = Open(fifo, false)
	assert.EqualError(t, err, fifo+" is not a regular file")
	_, err = Open(filepath.Join(dir, "none"), false)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
