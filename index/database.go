package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// databaseName is the file without which a directory is not an index.
const databaseName = "pictures.db"

// format is in SQLite's user_version. Version 1 had no dates, and version 2 no codes: they are read,
// with the files' times for dates, and the next writer makes them of version 3. Version 4 is 3 with
// vectors in half precision, which programs that know none must not read.
const (
	format = 4
	oldest = 1
)

// format is the version of an index of the model.
func (m Model) format() int {
	if m.Half {
		return 4
	}
	return 3
}

func setVersion(m Model) string { return fmt.Sprintf("PRAGMA user_version = %d;", m.format()) }

const schema = `
CREATE TABLE state (
	id         INTEGER PRIMARY KEY CHECK (id = 1),
	generation INTEGER NOT NULL, -- grows with every commit
	file       INTEGER NOT NULL, -- vectors-N.f32
	rows       INTEGER NOT NULL, -- of it that are in use or dead
	model      TEXT NOT NULL     -- JSON
);
CREATE TABLE pictures (
	slot     INTEGER PRIMARY KEY, -- the row of its vector
	path     TEXT NOT NULL UNIQUE,
	size     INTEGER NOT NULL,    -- bytes
	modified INTEGER NOT NULL,    -- nanoseconds since 1970
	crc      INTEGER NOT NULL,    -- CRC-32C of the vector
	date     INTEGER              -- when it was taken, or else modified; NULL where that was not looked at
);
CREATE TABLE dead (slot INTEGER PRIMARY KEY);
CREATE TABLE unreadable (
	path     TEXT PRIMARY KEY,
	size     INTEGER NOT NULL,
	modified INTEGER NOT NULL,
	reason   TEXT NOT NULL
) WITHOUT ROWID;
`

// upgrade makes the database of the format's version.
func upgrade(from int) string {
	statements := "PRAGMA user_version = 3;"
	if from < 2 {
		statements = "ALTER TABLE pictures ADD COLUMN date INTEGER;" + statements
	}
	return statements
}

// openDatabase opens the file, or makes it if make is set. A commit returns when it is on the disk.
func openDatabase(dir string, make bool) (*sql.DB, error) {
	path, err := filepath.Abs(filepath.Join(dir, databaseName))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil && !make {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s is not an index: it has no %s: %w", dir, databaseName, fs.ErrNotExist)
		}
		return nil, err
	}
	return openSQLite(path, make)
}

// openSQLite opens a file in WAL mode, or makes it if make is set.
func openSQLite(path string, make bool) (*sql.DB, error) {
	flags := "mode=rwc"
	if !make && unix.Access(filepath.Dir(path), unix.W_OK) != nil {
		flags = "mode=ro"
		if _, err := os.Stat(path + "-shm"); err != nil { // SQLite would make it
			flags = "immutable=1"
		}
	}
	name := url.URL{Scheme: "file", OmitHost: true, Path: path,
		RawQuery: flags + "&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(4000)"}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	if make {
		if _, err := db.Exec("PRAGMA journal_mode = WAL"); err != nil {
			return nil, errors.Join(brokenFile(path, err), db.Close())
		}
	}
	return db, nil
}

// broken names the index in an error of SQLite.
func broken(dir string, err error) error { return brokenFile(filepath.Join(dir, databaseName), err) }

// brokenFile names the database in an error of SQLite.
func brokenFile(path string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	code := 0
	var e interface{ Code() int }
	if errors.As(err, &e) {
		code = e.Code() & 0xff
	}
	switch code {
	case 0, 1, 11, 20, 26: // no code of SQLite's, ERROR, CORRUPT, MISMATCH, NOTADB: it does not hold what it should
		return damaged(path, "%v", err)
	case 9: // INTERRUPT
		return fmt.Errorf("%s: %w", path, context.Canceled)
	case 5: // BUSY
		return fmt.Errorf("%s is held by another process for more than 10 seconds: %w", path, err)
	default:
		return fmt.Errorf("%s: %w", path, err)
	}
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// state is the database's only row of that name, checked.
type state struct {
	generation, file, rows int
	model                  Model
	version                int
}

// date is what SQL asks for an image's date.
func (st state) date() string {
	if st.version < 2 {
		return "modified"
	}
	return "coalesce(date, modified)"
}

// ErrVersion is inside the error for an index of a version that this program does not read.
var ErrVersion = errors.New("it must be rebuilt")

// errEmpty is for a database in which nothing was committed yet.
var errEmpty = fmt.Errorf("nothing was ever indexed in it: %w", fs.ErrNotExist)

func readState(ctx context.Context, q querier, dir string) (st state, err error) {
	if err := q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&st.version); err != nil {
		return st, broken(dir, err)
	}
	if st.version == 0 {
		return st, fmt.Errorf("%s: %w", dir, errEmpty)
	}
	if st.version < oldest || st.version > format {
		return st, fmt.Errorf("%s is an index of version %d and this goclip reads %d to %d: %w", dir, st.version, oldest, format, ErrVersion)
	}
	var model string
	err = q.QueryRowContext(ctx, "SELECT generation, file, rows, model FROM state").Scan(&st.generation, &st.file, &st.rows, &model)
	if err != nil {
		return st, broken(dir, err)
	}
	path := filepath.Join(dir, databaseName)
	if err := json.Unmarshal([]byte(model), &st.model); err != nil {
		return st, damaged(path, "the model in it cannot be read: %v", err)
	}
	if d := st.model.EmbedDim; d < 1 || d > maxDim || st.rows < 0 || st.rows > maxRows || st.file < 1 {
		return st, damaged(path, "it tells of %d rows of %d numbers in file %d", st.rows, d, st.file)
	}
	return st, nil
}

// slots reads a query's only column: rows of the vectors, checked and ascending.
func slots(ctx context.Context, q querier, dir string, rows int, query string, args ...any) ([]int64, error) {
	r, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, broken(dir, err)
	}
	defer r.Close()
	list := []int64{}
	for r.Next() {
		var slot int64
		if err := r.Scan(&slot); err != nil {
			return nil, broken(dir, err)
		}
		if slot < 0 || slot >= int64(rows) || len(list) > 0 && slot <= list[len(list)-1] {
			return nil, damaged(filepath.Join(dir, databaseName), "it tells of the vector %d of %d", slot, rows)
		}
		list = append(list, slot)
	}
	return list, broken(dir, r.Err())
}
