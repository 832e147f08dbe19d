package crashtest_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/internal/disk/crashtest"
)

// crashes counts the states after a change of the file a, by what a then holds.
func crashes(t *testing.T, change func(fsys *crashtest.FS, path string) error) (former, latter, others, states int) {
	t.Helper()
	dir, state, store := t.TempDir(), t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(path, []byte("the former"), 0o644))
	fsys, err := crashtest.New(dir)
	require.NoError(t, err)
	require.NoError(t, change(fsys, path))
	done := fsys.Journal()
	for n, s := range fsys.Crashes() {
		states++
		require.NoError(t, s.Write(state, store))
		switch text, _ := os.ReadFile(filepath.Join(state, "a")); {
		case string(text) == "the former":
			former++
		case bytes.Equal(text, latter20k):
			latter++
		default:
			others++
		}
		require.LessOrEqual(t, n, done)
	}
	return former, latter, others, states
}

var latter20k = bytes.Repeat([]byte("the latter"), 2000)

func writeLatter(w io.Writer) error {
	_, err := w.Write(latter20k)
	return err
}

// TestWriteFile stops a WriteFile at every operation.
func TestWriteFile(t *testing.T) {
	former, latter, others, states := crashes(t, func(fsys *crashtest.FS, path string) error {
		return disk.WriteFile(fsys, path, writeLatter)
	})
	t.Logf("%d states: %d with the former, %d with the latter", states, former, latter)
	assert.Zero(t, others)
	assert.Positive(t, former)
	assert.Positive(t, latter)
}

// TestWriteAt stops the writing of a file whose beginning is known at its end.
func TestWriteAt(t *testing.T) {
	for synced, name := range map[bool]string{true: "synced", false: "not synced"} {
		_, latter, others, _ := crashes(t, func(fsys *crashtest.FS, path string) error {
			f, err := fsys.CreateTemp(filepath.Dir(path), "*.tmp")
			require.NoError(t, err)
			_, err = f.Write(append(make([]byte, 10), latter20k[10:]...))
			require.NoError(t, err)
			if !synced {
				require.NoError(t, f.Sync())
			}
			_, err = f.WriteAt(latter20k[:10], 0)
			require.NoError(t, err)
			if synced {
				require.NoError(t, f.Sync())
			}
			require.NoError(t, fsys.Rename(f.Name(), path))
			return fsys.SyncDir(filepath.Dir(path))
		})
		assert.Positive(t, latter, name)
		assert.Equal(t, synced, others == 0, name)
	}
}

// TestFaultsAreSeen has writers that forget a sync, or write in place: the states must show it.
func TestFaultsAreSeen(t *testing.T) {
	for name, change := range map[string]func(fsys *crashtest.FS, path string) error{
		"no sync": func(fsys *crashtest.FS, path string) error {
			f, err := fsys.CreateTemp(filepath.Dir(path), "*.tmp")
			require.NoError(t, err)
			require.NoError(t, writeLatter(f))
			require.NoError(t, fsys.Rename(f.Name(), path))
			return fsys.SyncDir(filepath.Dir(path))
		},
		"in place": func(fsys *crashtest.FS, path string) error {
			f, err := fsys.Append(path)
			require.NoError(t, err)
			require.NoError(t, f.Truncate(0))
			require.NoError(t, writeLatter(f))
			return f.Sync()
		},
		"removed first": func(fsys *crashtest.FS, path string) error {
			require.NoError(t, fsys.RemoveAll(path))
			return disk.WriteFile(fsys, path, writeLatter)
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, others, states := crashes(t, change)
			t.Logf("%d of %d states", others, states)
			assert.Positive(t, others)
		})
	}
}

// TestStates counts by hand what a name and its data, neither synced, may come to.
func TestStates(t *testing.T) {
	_, _, _, states := crashes(t, func(fsys *crashtest.FS, path string) error {
		f, err := fsys.Append(filepath.Join(filepath.Dir(path), "b"))
		require.NoError(t, err)
		_, err = f.Write([]byte("1234"))
		return err
	})
	assert.Equal(t, 1+6, states, `no b; or b with "1234", "", "12", "\0\034", "12\0\0", "\0\0\0\0"`)
}

// TestFailures lets each operation of a WriteFile fail: the former file stays and nothing beside it.
func TestFailures(t *testing.T) {
	injected := errors.New("injected")
	for at := 0; ; at++ {
		dir := t.TempDir()
		path := filepath.Join(dir, "a")
		require.NoError(t, os.WriteFile(path, []byte("the former"), 0o644))
		fsys, err := crashtest.New(dir)
		require.NoError(t, err)
		last := crashtest.Kind("")
		fsys.Fail = func(n int, kind crashtest.Kind, _ string) error {
			if n == at {
				last = kind
				return injected
			}
			return nil
		}
		err = disk.WriteFile(fsys, path, writeLatter)
		if last == "" {
			require.NoError(t, err)
			assert.Equal(t, 5, at, "create, write, sync, rename, syncdir")
			break
		}
		require.ErrorIs(t, err, injected)
		assert.ErrorContains(t, err, path+" was not written")
		if last != crashtest.SyncDir { // then it has its name already, and may keep it
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, "the former", string(text))
		}
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Len(t, entries, 1)
	}
}
