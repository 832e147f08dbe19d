package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/disk"
)

// Writer adds images to an index and removes them. There is one for an index at a time, of all
// processes; searches continue meanwhile. It is for one goroutine.
type Writer struct {
	dir, root string
	fsys      disk.FS
	lock      *flock.Flock
	db        *sql.DB
	state     state
	out       *appender
	next      *successor // of a switch to another model; nil without
	changes   []change
	err       error // after which nothing more is written: a commit has failed

	committed func() // told after each commit of the database; a test's
}

// change is what a commit does with one path.
type change struct {
	path   string // as the database has it
	file   File
	added  bool
	dated  bool // only its date is set
	crc    uint32
	reason string // why the file could not be read; "" if it was added or removed
}

// ErrLocked is inside the error for an index that another process writes.
var ErrLocked = errors.New("it is being written by another process")

// OpenWriter opens an index to write, for images of the model m, and makes it where there is
// none. It fails where the index has another model, and with ErrLocked.
func OpenWriter(dir string, m Model) (*Writer, error) { return openWriter(disk.Machine{}, dir, m) }

func openWriter(fsys disk.FS, dir string, m Model) (*Writer, error) {
	if m.EmbedDim < 1 || m.EmbedDim > maxDim {
		return nil, fmt.Errorf("features of %d numbers: must be between 1 and %d", m.EmbedDim, maxDim)
	}
	if err := disk.MkdirAll(fsys, dir); err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, root: rootOf(dir), fsys: fsys}
	if err := w.open(m); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *Writer) open(m Model) (err error) {
	if w.lock, err = lockDir(w.dir); err != nil {
		return err
	}
	if w.db, err = openDatabase(w.dir, true); err != nil {
		return err
	}
	ctx := context.Background()
	w.state, err = readState(ctx, w.db, w.dir)
	made := errors.Is(err, errEmpty)
	if made {
		err = w.create(m)
	}
	if err != nil {
		return err
	}
	if err := w.state.model.Same(m); err != nil {
		return fmt.Errorf("%s: %w", w.dir, err)
	}
	if err := w.removeStale(made); err != nil {
		return err
	}
	if err := w.makeCodes(w.state); errors.Is(err, fs.ErrNotExist) {
		return damaged(w.state.model.vectors().path(w.dir, w.state.file), "there is no such file")
	} else if err != nil {
		return err
	}
	if w.state.version < 3 {
		if err := w.transaction(func(tx *sql.Tx) error { _, err := tx.Exec(upgrade(w.state.version)); return err }); err != nil {
			return err
		}
		w.state.version = 3
	}
	if w.out, err = openAppender(w.fsys, w.dir, w.state); err != nil {
		return err
	}
	if next, begun, err := readNext(ctx, w.db, w.dir); err != nil {
		return err
	} else if begun && next.model.Differs(m) == "" { // a rebuild that was stopped: it starts over or never
		if err := w.dropSwitch(); err != nil {
			return err
		}
	}
	m.Orient, m.Half = w.state.model.Orient, w.state.model.Half // of the index as it was made
	if w.state.model.encode() != m.encode() {                   // it lies elsewhere now, or was touched
		return w.transaction(func(tx *sql.Tx) error {
			w.state.model = m
			_, err := tx.Exec("UPDATE state SET model = ?", m.encode())
			return err
		})
	}
	return nil
}

func lockDir(dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o644))
	locked, err := lock.TryLock()
	switch {
	case errors.As(err, new(*fs.PathError)):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%s cannot be locked: %w", lock.Path(), err)
	case !locked:
		return nil, fmt.Errorf("%s: %w: wait for its end", dir, ErrLocked)
	}
	return lock, nil
}

// create makes the first file of vectors and then the database that names it.
func (w *Writer) create(m Model) error {
	w.state = state{generation: 1, file: 1, model: m, version: m.format()}
	if err := w.createFiles(w.state); err != nil {
		return err
	}
	err := w.transaction(func(tx *sql.Tx) error {
		if _, err := tx.Exec(schema + setVersion(m)); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT INTO state (id, generation, file, rows, model) VALUES (1, 1, 1, 0, ?)", m.encode())
		return err
	})
	if err != nil {
		return err
	}
	return w.fsys.SyncDir(w.dir)
}

// createFiles makes a state's files of rows, without any.
func (w *Writer) createFiles(st state) error {
	for _, l := range []layout{st.model.vectors(), codes} {
		if err := l.create(w.fsys, l.path(w.dir, st.file), st.model.EmbedDim, nil); err != nil {
			return err
		}
	}
	return nil
}

// removeStale removes the files that the database does not name: a former one's, or what a crash
// left; of an index that was just made, what an engine kept of an earlier one, too.
func (w *Writer) removeStale(made bool) error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	used := []string{w.state.model.vectors().path(w.dir, w.state.file), codes.path(w.dir, w.state.file), nearPath(w.dir, w.state.file)}
	next, begun, err := readNext(context.Background(), w.db, w.dir)
	if err != nil {
		return err
	}
	if begun {
		used = append(used, next.model.vectors().path(w.dir, next.file), codes.path(w.dir, next.file), nearPath(w.dir, next.file))
	}
	for _, e := range entries {
		ours := slices.ContainsFunc([]string{"vectors-", ".vectors-", "codes-", ".codes-", "near-", ".near."}, func(p string) bool { return strings.HasPrefix(e.Name(), p) })
		path := filepath.Join(w.dir, e.Name())
		if ours && !slices.Contains(used, path) || made && (e.Name() == tableName || path == nearPath(w.dir, w.state.file)) {
			if err := w.fsys.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// transaction commits what f does; when it returns the disk has it.
func (w *Writer) transaction(f func(tx *sql.Tx) error) error {
	tx, err := w.db.Begin()
	if err != nil {
		return broken(w.dir, err)
	}
	if err := f(tx); err != nil {
		return errors.Join(broken(w.dir, err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return broken(w.dir, err)
	}
	if w.committed != nil {
		w.committed()
	}
	return nil
}

// Add takes an image's L2-normalised vector, (EmbedDim). It is in the index after the next Commit,
// in place of an earlier one of the same path.
func (w *Writer) Add(f File, vector []float32) error {
	dim := w.state.model.EmbedDim
	if w.next != nil {
		dim = w.next.state.model.EmbedDim
	}
	if len(vector) != dim {
		return fmt.Errorf("%s: a vector of %d numbers, and the index has %d", f.Path, len(vector), dim)
	}
	half := w.state.model.Half
	if w.next != nil {
		half = w.next.state.model.Half
	}
	for _, x := range vector {
		if half && math.Abs(float64(x)) > maxHalf {
			return fmt.Errorf("%s: the vector has the number %g, which half precision cannot hold; it must be L2-normalised", f.Path, x)
		}
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("%s: the model makes numbers of it that are %w", f.Path, clip.ErrNotFinite)
		}
	}
	path, err := inside(w.root, f.Path)
	if err != nil {
		return err
	}
	out := w.out
	if w.next != nil {
		out = w.next.out
	}
	w.changes = append(w.changes, change{path: path, file: f, added: true, crc: out.add(vector)})
	return nil
}

// Unreadable notes a file that is not an image, so that it is not tried again before it changes.
func (w *Writer) Unreadable(f File, reason error) error {
	path, err := inside(w.root, f.Path)
	if err == nil {
		w.changes = append(w.changes, change{path: path, file: f, reason: reason.Error()})
	}
	return err
}

// Date notes when an image of the index was taken: of Changes' Undated.
func (w *Writer) Date(f File) error {
	path, err := inside(w.root, f.Path)
	if err == nil {
		w.changes = append(w.changes, change{path: path, file: f, dated: true})
	}
	return err
}

// Remove takes a path out of the index with the next Commit.
func (w *Writer) Remove(path string) error {
	path, err := inside(w.root, path)
	if err == nil {
		w.changes = append(w.changes, change{path: path})
	}
	return err
}

// Pending returns how many changes the next Commit makes safe.
func (w *Writer) Pending() int { return len(w.changes) }

// Commit makes what was added and removed safe: first the vectors, then the database that refers to
// them. After an error the index is as it was before, and the Writer can only be closed.
func (w *Writer) Commit() error {
	if w.err != nil || len(w.changes) == 0 {
		return w.err
	}
	w.err = w.commit()
	if w.err != nil {
		w.err = fmt.Errorf("the index %s was not written: %w", w.dir, disk.Plain(w.err))
	}
	return w.err
}

func (w *Writer) commit() error {
	if err := w.out.sync(); err != nil {
		return err
	}
	rows, nextRows := w.state.rows, 0
	if w.next != nil {
		nextRows = w.next.state.rows
		if err := w.next.out.sync(); err != nil {
			return err
		}
	}
	err := w.transaction(func(tx *sql.Tx) error {
		for _, c := range w.changes {
			if w.next != nil && !c.dated {
				if err := w.next.applyNext(tx, c, &nextRows); err != nil {
					return err
				}
				if c.added || c.reason != "" {
					continue
				}
			}
			if c.dated {
				if _, err := tx.Exec("UPDATE pictures SET date = ? WHERE path = ?", c.file.date(), c.path); err != nil {
					return err
				}
				continue
			}
			for _, query := range []string{"INSERT INTO dead SELECT slot FROM pictures WHERE path = ?", "DELETE FROM pictures WHERE path = ?", "DELETE FROM unreadable WHERE path = ?"} {
				if _, err := tx.Exec(query, c.path); err != nil {
					return err
				}
			}
			var err error
			switch {
			case c.added:
				_, err = tx.Exec("INSERT INTO pictures (slot, path, size, modified, crc, date) VALUES (?, ?, ?, ?, ?, ?)",
					rows, c.path, c.file.Size, c.file.ModTime.UnixNano(), c.crc, c.file.date())
				rows++
			case c.reason != "":
				_, err = tx.Exec("INSERT INTO unreadable (path, size, modified, reason) VALUES (?, ?, ?, ?)", c.path, c.file.Size, c.file.ModTime.UnixNano(), c.reason)
			}
			if err != nil {
				return err
			}
		}
		if w.next != nil {
			if _, err := tx.Exec("UPDATE next SET rows = ?", nextRows); err != nil {
				return err
			}
		}
		_, err := tx.Exec("UPDATE state SET generation = generation + 1, rows = ?", rows)
		return err
	})
	if err != nil {
		return err
	}
	if w.next != nil {
		w.next.state.rows = nextRows
	}
	w.state.rows, w.state.generation, w.changes = rows, w.state.generation+1, w.changes[:0]
	return nil
}

// Close gives the index free for other writers. What was not committed is lost.
func (w *Writer) Close() error { return w.close() }

func (w *Writer) close() error {
	var errs []error
	if w.out != nil {
		errs = append(errs, w.out.close())
	}
	if w.next != nil {
		errs = append(errs, w.next.out.close())
	}
	if w.db != nil {
		errs = append(errs, w.db.Close())
	}
	if w.lock != nil {
		errs = append(errs, w.lock.Close())
	}
	return errors.Join(errs...)
}
