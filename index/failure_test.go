package index

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/disk"
)

var errPlanted = errors.New("a planted failure")

// failing is a disk of which one operation fails.
type failing struct {
	disk.Machine
	at, done int
}

func (f *failing) fails() error {
	f.done++
	if f.done-1 == f.at {
		return errPlanted
	}
	return nil
}

func (f *failing) Mkdir(dir string) error {
	if err := f.fails(); err != nil {
		return err
	}
	return f.Machine.Mkdir(dir)
}

func (f *failing) CreateTemp(dir, pattern string) (disk.Output, error) {
	if err := f.fails(); err != nil {
		return nil, err
	}
	out, err := f.Machine.CreateTemp(dir, pattern)
	return &failingOutput{out, f}, err
}

func (f *failing) Append(path string) (disk.Output, error) {
	if err := f.fails(); err != nil {
		return nil, err
	}
	out, err := f.Machine.Append(path)
	return &failingOutput{out, f}, err
}

func (f *failing) Rename(from, to string) error {
	if err := f.fails(); err != nil {
		return err
	}
	return f.Machine.Rename(from, to)
}

func (f *failing) RemoveAll(path string) error {
	if err := f.fails(); err != nil {
		return err
	}
	return f.Machine.RemoveAll(path)
}

func (f *failing) SyncDir(dir string) error {
	if err := f.fails(); err != nil {
		return err
	}
	return f.Machine.SyncDir(dir)
}

type failingOutput struct {
	disk.Output
	fsys *failing
}

func (o *failingOutput) Write(data []byte) (int, error) {
	if err := o.fsys.fails(); err != nil {
		n, _ := o.Output.Write(data[:len(data)/2])
		return n, err
	}
	return o.Output.Write(data)
}

func (o *failingOutput) Truncate(size int64) error {
	if err := o.fsys.fails(); err != nil {
		return err
	}
	return o.Output.Truncate(size)
}

func (o *failingOutput) Sync() error {
	if err := o.fsys.fails(); err != nil {
		return err
	}
	return o.Output.Sync()
}

func (o *failingOutput) Close() error {
	err := o.fsys.fails()
	return errors.Join(err, o.Output.Close())
}

// sitting is all that a Writer does, step by step, until one fails.
type sitting struct {
	fsys   disk.FS
	root   string
	opened func(w *Writer) error // after a Writer was opened, and a switch begun

	safe, tried map[string]int // what the index holds, by the path's base: before the step that failed and after it
	model       Model          // of the index after it
}

var second = Model{Name: "two", EmbedDim: dim, Weights: "cc", Transform: "bb"}

func (s *sitting) run() error {
	s.safe, s.tried, s.model = map[string]int{}, map[string]int{}, model
	at := filepath.Join(s.root, "index")
	with := func(m Model, work func(w *Writer) error) error {
		w, err := openWriter(s.fsys, at, m)
		if err != nil {
			return err
		}
		if err = s.opened(w); err == nil {
			err = work(w)
		}
		return errors.Join(err, w.Close())
	}
	// step tells what the index holds when f returns no error.
	step := func(change func(holds map[string]int), f func() error) error {
		s.tried = maps.Clone(s.safe)
		change(s.tried)
		if err := f(); err != nil {
			return err
		}
		s.safe = s.tried
		return nil
	}
	add := func(w *Writer, name, vectorOf int) { _ = w.Add(imageFile(s.root, name), vector(vectorOf)) }
	same := func(map[string]int) {}
	if err := with(model, func(w *Writer) error {
		return step(func(holds map[string]int) { holds["1.png"], holds["2.png"] = 1, 2 }, func() error {
			add(w, 1, 1)
			add(w, 2, 2)
			return w.Commit()
		})
	}); err != nil {
		return err
	}
	if err := with(model, func(w *Writer) error {
		if err := step(func(holds map[string]int) { holds["2.png"] = 12; delete(holds, "1.png") }, func() error {
			add(w, 2, 12)
			return errors.Join(w.Unreadable(imageFile(s.root, 7), errPlanted), w.Date(imageFile(s.root, 2)), w.Remove(imageFile(s.root, 1).Path), w.Commit())
		}); err != nil {
			return err
		}
		w.out.add(vector(99)) // written and never committed
		return w.out.sync()
	}); err != nil {
		return err
	}
	if err := with(model, func(w *Writer) error {
		if err := step(func(holds map[string]int) { holds["4.png"] = 4 }, func() error { add(w, 4, 4); return w.Commit() }); err != nil {
			return err
		}
		return step(same, func() error { return w.Compact(ctx, true) })
	}); err != nil {
		return err
	}
	return with(model, func(w *Writer) error {
		if err := step(same, func() error { return errors.Join(w.BeginSwitch(second, false), s.opened(w)) }); err != nil {
			return err
		}
		if err := step(same, func() error {
			add(w, 2, 202)
			add(w, 4, 204)
			return errors.Join(w.Unreadable(imageFile(s.root, 8), errPlanted), w.Commit())
		}); err != nil {
			return err
		}
		return step(func(holds map[string]int) { holds["2.png"], holds["4.png"], s.model = 202, 204, second }, func() error { return w.Switch(ctx, false) })
	})
}

// check opens what a failure has left, as the next writer does, and finds one of the two states.
func (s *sitting) check(t *testing.T) {
	t.Helper()
	at := filepath.Join(s.root, "index")
	w, err := OpenWriter(at, s.model)
	if errors.Is(err, ErrModel) {
		s.model = model // the switch was not made
		w, err = OpenWriter(at, s.model)
	}
	require.NoError(t, err)
	require.NoError(t, w.Close())
	ix := opened(t, at)
	require.NoError(t, ix.Verify(ctx))
	hits, err := ix.Search(ctx, vector(1), 100, Filter{})
	require.NoError(t, err)
	holds := map[string]int{}
	for _, h := range hits[0] {
		name := filepath.Base(h.Path)
		for _, n := range []int{s.safe[name], s.tried[name]} {
			if row, ok, err := ix.Vector(ctx, imageFile(s.root, number(t, name))); assert.NoError(t, err) && ok && assert.ObjectsAreEqual(vector(n), row) {
				holds[name] = n
			}
		}
	}
	assert.Contains(t, []map[string]int{s.safe, s.tried}, holds)
}

// TestEveryFailure has each operation on the disk fail once: the step reports it, and what was
// committed before is there.
func TestEveryFailure(t *testing.T) {
	for at := 0; ; at++ {
		fsys := &failing{at: at}
		s := &sitting{fsys: fsys, root: t.TempDir(), opened: func(*Writer) error { return nil }}
		err := s.run()
		if fsys.done <= at {
			require.NoError(t, err)
			assert.Greater(t, at, 50)
			s.check(t)
			break
		}
		require.ErrorIs(t, err, errPlanted, "operation %d", at)
		s.check(t)
	}
}

// TestEveryStatement has each kind of change of the database fail: likewise.
func TestEveryStatement(t *testing.T) {
	plants := map[string]string{
		"CREATE TABLE packed (x)": "DROP TABLE packed", "CREATE TABLE next_pictures (x)": "DROP TABLE next_pictures",
		"CREATE TABLE next (x)": "DROP TABLE next",
	}
	for _, change := range []string{"INSERT ON pictures", "UPDATE ON pictures", "DELETE ON pictures", "INSERT ON dead", "INSERT ON unreadable", "UPDATE ON state",
		"INSERT ON next_pictures", "UPDATE ON next"} {
		plants["CREATE TRIGGER planted BEFORE "+change+" BEGIN SELECT RAISE(ABORT, 'a planted failure'); END"] = "DROP TRIGGER planted"
	}
	for plant, remove := range plants {
		t.Run(plant, func(t *testing.T) {
			s := &sitting{fsys: disk.Machine{}, root: t.TempDir(), opened: func(w *Writer) error {
				_, _ = w.db.Exec(plant) // it fails where the table is not there yet, or is planted
				return nil
			}}
			err := s.run()
			require.Error(t, err)
			db, err := openDatabase(filepath.Join(s.root, "index"), true)
			require.NoError(t, err)
			_, err = db.Exec(remove)
			require.NoError(t, err)
			require.NoError(t, db.Close())
			s.check(t)
		})
	}
}

// TestWriterStopped ends what reads the whole index with its context's error.
func TestWriterStopped(t *testing.T) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	w, err := OpenWriter(filled(t, t.TempDir(), 3), model)
	require.NoError(t, err)
	defer w.Close()
	assert.ErrorIs(t, w.Compact(ended, true), context.Canceled)
	require.NoError(t, w.BeginSwitch(second, false))
	assert.ErrorIs(t, w.Switch(ended, true), context.Canceled)
	require.NoError(t, w.Switch(ctx, true))
}
