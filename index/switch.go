package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/goclip/goclip/internal/disk"
)

// A switch to another model makes its vectors beside the present ones, in another file and other
// tables, which readers do not look at, and commits them as it goes. When every image has one, a
// single transaction puts them in the place of the former ones.
const nextTables = `
CREATE TABLE next (
	id    INTEGER PRIMARY KEY CHECK (id = 1),
	file  INTEGER NOT NULL, -- vectors-N.f32
	rows  INTEGER NOT NULL,
	model TEXT NOT NULL     -- JSON
);
CREATE TABLE next_pictures (
	path     TEXT PRIMARY KEY,
	size     INTEGER NOT NULL,
	modified INTEGER NOT NULL,
	slot     INTEGER UNIQUE, -- NULL for a file that could not be read
	crc      INTEGER,
	date     INTEGER,
	reason   TEXT
) WITHOUT ROWID;
`

const dropNext = "DROP TABLE IF EXISTS next; DROP TABLE IF EXISTS next_pictures;"

const putNext = `
DELETE FROM pictures;
INSERT INTO pictures (slot, path, size, modified, crc, date)
	SELECT slot, path, size, modified, crc, date FROM next_pictures WHERE slot IS NOT NULL ORDER BY slot;
DELETE FROM unreadable WHERE path IN (SELECT path FROM next_pictures);
INSERT INTO unreadable SELECT path, size, modified, reason FROM next_pictures WHERE slot IS NULL;
DELETE FROM dead;
UPDATE state SET (generation, file, rows, model) = (SELECT state.generation + 1, next.file, next.rows, next.model FROM next);
`

// ErrWaiting is inside the error for a switch that cannot be completed: images of the index have
// no vector of the new model, and their files are not there to make one.
var ErrWaiting = errors.New("the index keeps its model until they can be read, or an update of their folder removes them")

// successor is what the index is to hold.
type successor struct {
	state state
	out   *appender
}

// readNext reads the state of a switch that has begun; ok reports whether there is one.
func readNext(ctx context.Context, q querier, dir string) (st state, ok bool, err error) {
	var tables int
	if err := q.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'next'").Scan(&tables); err != nil || tables == 0 {
		return st, false, broken(dir, err)
	}
	var model string
	err = q.QueryRowContext(ctx, "SELECT file, rows, model FROM next").Scan(&st.file, &st.rows, &model)
	if err == nil {
		err = json.Unmarshal([]byte(model), &st.model)
	}
	if err != nil {
		return st, false, broken(dir, err)
	}
	if d := st.model.EmbedDim; d < 1 || d > maxDim || st.rows < 0 || st.rows > maxRows || st.file < 1 {
		return st, false, damaged(filepath.Join(dir, databaseName), "it tells of %d rows of %d numbers in file %d to come", st.rows, d, st.file)
	}
	return st, true, nil
}

// BeginSwitch has Add and Unreadable make a successor of the index, with vectors of the model m,
// until Switch; searches do not see it, and Changes tells what it lacks. It continues with one that
// was begun for m, unless fresh is set.
func (w *Writer) BeginSwitch(m Model, fresh bool) error {
	if err := w.Commit(); err != nil {
		return err
	}
	ctx := context.Background()
	st, begun, err := readNext(ctx, w.db, w.dir)
	if err != nil {
		return err
	}
	if begun && (fresh || st.model.Differs(m) != "" || st.model.Half != m.Half || m.vectors().check(m.vectors().path(w.dir, st.file), st.rows, m.EmbedDim) != nil) {
		if err := w.dropSwitch(); err != nil {
			return err
		}
		begun = false
	}
	if !begun {
		st = state{file: w.state.file + 1, model: m}
		if err := w.createFiles(st); err != nil {
			return err
		}
		err := w.transaction(func(tx *sql.Tx) error {
			if _, err := tx.Exec(nextTables); err != nil {
				return err
			}
			_, err := tx.Exec("INSERT INTO next (id, file, rows, model) VALUES (1, ?, 0, ?)", st.file, m.encode())
			return err
		})
		if err != nil {
			return err
		}
	}
	st.model, st.version = m, m.format()
	if err := w.makeCodes(st); err != nil {
		return err
	}
	out, err := openAppender(w.fsys, w.dir, st)
	if err == nil {
		w.next = &successor{st, out}
	}
	return err
}

// dropSwitch forgets a switch that has begun.
func (w *Writer) dropSwitch() error {
	err := w.transaction(func(tx *sql.Tx) error { _, err := tx.Exec(dropNext); return err })
	if err != nil {
		return err
	}
	return w.removeStale(false)
}

// applyNext makes a change of the successor.
func (s *successor) applyNext(tx *sql.Tx, c change, rows *int) (err error) {
	f := c.file
	switch {
	case c.added:
		_, err = tx.Exec("INSERT OR REPLACE INTO next_pictures (path, size, modified, slot, crc, date) VALUES (?, ?, ?, ?, ?, ?)",
			c.path, f.Size, f.ModTime.UnixNano(), *rows, c.crc, f.date())
		*rows++
	case c.reason != "":
		_, err = tx.Exec("INSERT OR REPLACE INTO next_pictures (path, size, modified, reason) VALUES (?, ?, ?, ?)", c.path, f.Size, f.ModTime.UnixNano(), c.reason)
	default:
		_, err = tx.Exec("DELETE FROM next_pictures WHERE path = ?", c.path)
	}
	return err
}

// outside are the paths of the index's images that are not among paths or below them.
func (w *Writer) outside(ctx context.Context, paths []string) (list []string, err error) {
	query, args := "SELECT path FROM pictures", []any{}
	for i, path := range paths {
		at, err := inside(w.root, path)
		if err != nil {
			return nil, err
		}
		below, values := within(at)
		query += []string{" WHERE", " AND"}[min(i, 1)] + " NOT (path = ? OR " + below + ")"
		args = append(append(args, at), values...)
	}
	rows, err := w.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, broken(w.dir, err)
	}
	defer rows.Close()
	for rows.Next() {
		var path string
		if err := rows.Scan(&path); err != nil {
			return nil, broken(w.dir, err)
		}
		list = append(list, outside(w.root, path))
	}
	return list, broken(w.dir, rows.Err())
}

// Switch puts the successor in the index's place: readers find the former vectors until its one
// transaction, and the new ones after it. It fails with ErrWaiting where images of the index are
// not in the successor, unless those may be lost.
func (w *Writer) Switch(ctx context.Context, lose bool) error {
	if err := w.Commit(); err != nil {
		return err
	}
	var waiting int
	var first sql.NullString
	err := w.db.QueryRowContext(ctx, "SELECT count(*), min(path) FROM pictures WHERE path NOT IN (SELECT path FROM next_pictures)").Scan(&waiting, &first)
	if err != nil {
		return broken(w.dir, err)
	}
	if waiting > 0 && !lose {
		return fmt.Errorf("%d images have no embedding of %s, such as %s: %w", waiting, w.next.state.model.Name, outside(w.root, first.String), ErrWaiting)
	}
	name := w.next.state.model.Name
	if w.err = w.replace(ctx); w.err != nil {
		w.err = fmt.Errorf("the index %s was not switched to %s: %w", w.dir, name, disk.Plain(w.err))
	}
	return w.err
}

func (w *Writer) replace(ctx context.Context) error {
	used, err := slots(ctx, w.db, w.dir, w.next.state.rows, "SELECT slot FROM next_pictures WHERE slot IS NOT NULL ORDER BY slot")
	if err != nil {
		return err
	}
	err = w.transaction(func(tx *sql.Tx) error {
		if _, err := tx.Exec(putNext); err != nil {
			return err
		}
		for slot := range int64(w.next.state.rows) { // of images that changed meanwhile
			if len(used) > 0 && used[0] == slot {
				used = used[1:]
			} else if _, err := tx.Exec("INSERT INTO dead (slot) VALUES (?)", slot); err != nil {
				return err
			}
		}
		_, err := tx.Exec(dropNext + setVersion(w.next.state.model))
		return err
	})
	if err != nil {
		return err
	}
	former := w.out
	generation := w.state.generation + 1
	w.state, w.out, w.next = w.next.state, w.next.out, nil
	w.state.generation = generation
	return errors.Join(former.close(), w.removeStale(false))
}
