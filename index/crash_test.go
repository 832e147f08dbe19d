package index

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/disk/crashtest"
)

// moment is the database after a commit, which SQLite has synced, and what the index then holds.
type moment struct {
	journal  int // operations on the vectors before it
	database map[string][]byte
	model    Model
	holds    map[string]int // the path's base, and which vector
}

// TestCrash stops a writer after every operation on its files, with what was not synced kept, lost
// or torn. SQLite's part of a state is its files as they were after the last commit before the
// stop, and after the one at the very stop without it too.
func TestCrash(t *testing.T) {
	root := t.TempDir()
	fsys, err := crashtest.New(root)
	require.NoError(t, err)
	at := filepath.Join(root, "index")
	var moments []moment
	holds, present := map[string]int{}, model
	take := func() {
		files := map[string][]byte{}
		for _, suffix := range []string{"", "-wal"} {
			if data, err := os.ReadFile(filepath.Join(at, databaseName+suffix)); err == nil {
				files[databaseName+suffix] = data
			}
		}
		moments = append(moments, moment{fsys.Journal(), files, present, maps.Clone(holds)})
	}
	take() // nothing
	sit := func(work func(w *Writer)) {
		w, err := openWriter(fsys, at, present)
		require.NoError(t, err)
		if len(moments) == 1 {
			take() // the empty index
		}
		w.committed = take
		work(w)
		require.NoError(t, w.Close())
	}
	add := func(w *Writer, name, vectorOf int) {
		f := imageFile(root, name)
		require.NoError(t, w.Add(f, vector(vectorOf)))
		holds[filepath.Base(f.Path)] = vectorOf
	}
	remove := func(w *Writer, name int) {
		f := imageFile(root, name)
		require.NoError(t, w.Remove(f.Path))
		delete(holds, filepath.Base(f.Path))
	}
	sit(func(w *Writer) {
		add(w, 1, 1)
		add(w, 2, 2)
		require.NoError(t, w.Commit())
		add(w, 3, 3)
		require.NoError(t, w.Commit())
	})
	sit(func(w *Writer) {
		add(w, 2, 12)
		remove(w, 1)
		require.NoError(t, w.Commit())
		require.NoError(t, w.out.sync())
		w.out.add(vector(99)) // written and never committed
		require.NoError(t, w.out.sync())
	})
	sit(func(w *Writer) { // cuts that row off
		add(w, 4, 4)
		require.NoError(t, w.Commit())
		require.NoError(t, w.Compact(ctx, true))
		for n := 20; n < 25; n++ {
			add(w, n, n)
			add(w, n-1, 100+n) // changed, but for the first
			require.NoError(t, w.Commit())
		}
		require.NoError(t, w.Compact(ctx, true))
	})
	other := model
	other.Name, other.Weights = "two", "cc"
	sit(func(w *Writer) { // begins a switch
		require.NoError(t, w.BeginSwitch(other, false))
		next := maps.Clone(holds)
		for name := range holds {
			n := number(t, name)
			require.NoError(t, w.Add(imageFile(root, n), vector(200+n)))
			next[name] = 200 + n
			if n%2 == 0 {
				require.NoError(t, w.Commit())
			}
		}
		remove(w, 4)
		delete(next, "4.png")
		require.NoError(t, w.Commit())
		commit := w.committed
		w.committed = func() { // the next one is the switch
			holds, present = next, other
			commit()
		}
		require.NoError(t, w.Switch(ctx, false))
	})

	state, store := t.TempDir(), t.TempDir()
	states := 0
	for n, s := range fsys.Crashes() {
		last := 0
		for i, m := range moments {
			if m.journal <= n {
				last = i
			}
		}
		for i := last; i >= 0 && (i == last || moments[i+1].journal == n); i-- {
			require.NoError(t, s.Write(state, store))
			copied := filepath.Join(state, "index")
			if _, err := os.Stat(copied); err != nil {
				require.Zero(t, i, "the directory is safe before the first commit")
				continue
			}
			for name, data := range moments[i].database {
				require.NoError(t, os.WriteFile(filepath.Join(copied, name), data, 0o644))
			}
			states++
			survived(t, state, copied, moments[i])
			clearDatabase(t, copied)
		}
	}
	assert.Greater(t, states, 100)
	t.Logf("%d states of %d operations and %d commits", states, fsys.Journal(), len(moments))
}

// survived opens the index after a crash as the next writer does, compares all it holds, and adds
// to it.
func survived(t *testing.T, root, at string, m moment) {
	t.Helper()
	check := func(want map[string]int) {
		t.Helper()
		ix, err := Open(at)
		require.NoError(t, err)
		defer ix.Close()
		require.NoError(t, ix.Verify(ctx))
		for name, n := range want {
			hits, err := ix.Search(ctx, vector(n), 100, Filter{})
			require.NoError(t, err)
			require.Len(t, hits[0], len(want), "nothing lost, nothing doubled")
			require.Equal(t, name, filepath.Base(hits[0][0].Path))
			require.Greater(t, hits[0][0].Score, 0.9999)
		}
	}
	if len(m.database) > 0 {
		check(m.holds) // a reader comes first
	}
	present := m.model
	if len(m.database) == 0 {
		present = model
	}
	w, err := OpenWriter(at, present)
	require.NoError(t, err)
	require.NoError(t, w.Add(imageFile(root, 50), vector(50)))
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	want := maps.Clone(m.holds)
	want["50.png"] = 50
	check(want)
	entries, err := os.ReadDir(at)
	require.NoError(t, err)
	files := slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !strings.Contains(e.Name(), "vectors-") })
	if len(files) == 2 { // of a switch, which continues
		ix, err := Open(at)
		require.NoError(t, err)
		info, err := ix.Info(ctx)
		require.NoError(t, err)
		require.NotNil(t, info.Next)
		require.NoError(t, ix.Close())
	} else {
		require.Len(t, files, 1, "nothing is left of what was begun")
	}
}

// number is the one of imageFile's name.
func number(t *testing.T, name string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSuffix(name, ".png"))
	require.NoError(t, err)
	return n
}

func clearDatabase(t *testing.T, dir string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, databaseName+suffix)); err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
		}
	}
}
