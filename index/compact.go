package index

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/internal/disk"
)

// wasteful is from how many dead rows on, if they are also more than the live ones, Compact has
// something to do.
const wasteful = 1024

const renumber = `
CREATE TABLE packed (
	slot     INTEGER PRIMARY KEY,
	path     TEXT NOT NULL UNIQUE,
	size     INTEGER NOT NULL,
	modified INTEGER NOT NULL,
	crc      INTEGER NOT NULL,
	date     INTEGER
);
INSERT INTO packed SELECT row_number() OVER (ORDER BY slot) - 1, path, size, modified, crc, date FROM pictures ORDER BY slot;
DROP TABLE pictures;
ALTER TABLE packed RENAME TO pictures;
DELETE FROM dead;
`

// Compact leaves the dead rows behind if they are many, or in any case if always is set. A reader
// continues with the former file until its next search.
func (w *Writer) Compact(ctx context.Context, always bool) error {
	if err := w.Commit(); err != nil {
		return err
	}
	live, err := slots(ctx, w.db, w.dir, w.state.rows, "SELECT slot FROM pictures ORDER BY slot")
	if err != nil {
		return err
	}
	dead := w.state.rows - len(live)
	if dead == 0 || !always && dead < max(wasteful, len(live)) {
		return nil
	}
	if w.err = w.compact(ctx, live); w.err != nil {
		w.err = fmt.Errorf("the index %s was not compacted: %w", w.dir, disk.Plain(w.err))
	}
	return w.err
}

func (w *Writer) compact(ctx context.Context, live []int64) error {
	file := w.state.file + 1
	next, begun, err := readNext(ctx, w.db, w.dir)
	if err != nil {
		return err
	}
	if begun {
		file = max(file, next.file+1)
	}
	for _, l := range []layout{w.state.model.vectors(), codes} {
		dim := w.state.model.EmbedDim
		err := l.create(w.fsys, l.path(w.dir, file), dim, func(out io.Writer) error {
			return copyRows(ctx, out, l.path(w.dir, w.state.file), live, int64(l.rowSize(dim)))
		})
		if err != nil {
			return err
		}
	}
	err = w.transaction(func(tx *sql.Tx) error {
		if _, err := tx.Exec(renumber); err != nil {
			return err
		}
		_, err := tx.Exec("UPDATE state SET generation = generation + 1, file = ?, rows = ?", file, len(live))
		return err
	})
	if err != nil {
		return err
	}
	w.state.file, w.state.rows, w.state.generation = file, len(live), w.state.generation+1
	if err := w.out.close(); err != nil {
		return err
	}
	if w.out, err = openAppender(w.fsys, w.dir, w.state); err != nil {
		return err
	}
	return w.removeStale(false)
}

// copyRows copies the rows of ascending slots.
func copyRows(ctx context.Context, out io.Writer, path string, live []int64, row int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in, at := bufio.NewReaderSize(f, 1<<20), int64(0)
	skip := func(bytes int64) error {
		_, err := io.CopyN(io.Discard, in, bytes)
		return err
	}
	if err := skip(headerSize); err != nil {
		return err
	}
	for _, slot := range live {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := skip((slot - at) * row); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, row); err != nil {
			return err
		}
		at = slot + 1
	}
	return nil
}

// Destroy removes an index, also a damaged one, and nothing else that lies in its directory. It
// fails with ErrLocked.
func Destroy(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	var paths []string
	for _, pattern := range []string{databaseName + "*", "vectors-*.f32", "vectors-*.f16", "codes-*.i8", ".vectors-*.tmp", ".codes-*.tmp", "near-*.faiss", ".near.tmp", tableName} { // the database first: what is left without it is not an index
		found, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			return err
		}
		paths = append(paths, found...)
	}
	for _, path := range paths {
		if err := os.Remove(filepath.Join(dir, path)); err != nil {
			return err
		}
	}
	return nil
}
