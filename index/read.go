package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrSwitched is inside the error for an index that has got another model since it was opened: its
// vectors cannot be compared with queries of the former one.
var ErrSwitched = errors.New("the index has another model now and must be opened again")

// read runs f on one state of the index, which no commit changes meanwhile, and whose model is the
// one with which the index was opened.
func (ix *Index) read(ctx context.Context, f func(*sql.Tx, state, *mapping) error) error {
	return ix.readAny(ctx, func(tx *sql.Tx, st state, m *mapping) error {
		if ix.model.Differs(st.model) != "" {
			return fmt.Errorf("%s: %w: %s in place of %s", ix.dir, ErrSwitched, st.model.Name, ix.model.Name)
		}
		return f(tx, st, m)
	})
}

// readAny is read for a state of any model.
func (ix *Index) readAny(ctx context.Context, f func(*sql.Tx, state, *mapping) error) error {
	ix.mu.Lock()
	if ix.closed {
		ix.mu.Unlock()
		return errClosed
	}
	ix.running.Add(1)
	ix.mu.Unlock()
	defer ix.running.Done()
	for try := 0; ; try++ {
		err := ix.readOnce(ctx, f)
		if !errors.Is(err, errMoved) || try == 5 {
			return err
		}
	}
}

// errMoved is for a file of vectors that a writer has removed after the transaction began.
var errMoved = errors.New("there is no such file")

func (ix *Index) readOnce(ctx context.Context, f func(*sql.Tx, state, *mapping) error) error {
	db, err := ix.database()
	if err != nil {
		return err
	}
	defer ix.releaseDatabase(db)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return broken(ix.dir, err)
	}
	defer tx.Rollback()
	st, err := readState(ctx, tx, ix.dir)
	if err != nil {
		return err
	}
	m, err := ix.mapping(ctx, tx, st)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w: %w", st.model.vectors().path(ix.dir, st.file), errMoved, ErrDamaged)
	}
	if err != nil {
		return err
	}
	defer ix.release(m)
	err = f(tx, st, m)
	if missing := m.missing(); missing != nil {
		return missing // whatever was found
	}
	return err
}

// readersAtOnce bounds the states of an index that are read at one time: of a large index each holds lists of
// rows, and a connection three files. Searches take turns anyhow.
const readersAtOnce = 8

// database is a file of SQLite's that is open.
type database struct {
	*sql.DB
	info os.FileInfo
	refs int // guarded by the Index's mu
}

// database is the file that has the name now: who rebuilds a damaged index makes another one.
func (ix *Index) database() (*database, error) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	info, err := os.Stat(filepath.Join(ix.dir, databaseName))
	if ix.file == nil || err != nil || !os.SameFile(info, ix.file.info) {
		db, err := openDatabase(ix.dir, false)
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(readersAtOnce)
		if err := ix.forget(); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		ix.file = &database{DB: db, info: info, refs: 1}
	}
	ix.file.refs++
	return ix.file, nil
}

func (ix *Index) releaseDatabase(db *database) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if db.refs--; db.refs == 0 {
		_ = db.Close() // of a file that is gone
	}
}

// forget leaves the database and the vectors to the searches that use them. The caller holds mu.
func (ix *Index) forget() (err error) {
	if ix.mapped != nil {
		ix.drop(ix.mapped)
		ix.mapped = nil
	}
	if ix.file != nil {
		if ix.file.refs--; ix.file.refs == 0 {
			err = ix.file.Close()
		}
		ix.file = nil
	}
	return err
}

// mapping is the state's vectors; the caller releases it. Files in which something was written since
// are mapped and looked into again.
func (ix *Index) mapping(ctx context.Context, tx *sql.Tx, st state) (*mapping, error) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if m := ix.mapped; m != nil && m.n == st.rows && m.unchanged(ix.dir, st) {
		m.refs++
		return m, nil
	}
	m, err := mapRows(ix.dir, st)
	if err != nil {
		return nil, err
	}
	if err = m.sample(ctx, tx, ix.dir); err == nil {
		if m.near, err = openNear(ix.dir, ix.engine, st); err != nil {
			err = fmt.Errorf("%s: %w", ix.dir, err)
		}
	}
	if err != nil {
		m.free()
		return nil, err
	}
	if ix.mapped != nil {
		ix.drop(ix.mapped)
	}
	ix.mapped = m
	m.refs++
	return m, nil
}

func (ix *Index) release(m *mapping) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.drop(m)
}

// drop is release; the caller holds mu.
func (ix *Index) drop(m *mapping) {
	if m.refs--; m.refs == 0 {
		m.free()
	}
}

// sample compares a few vectors, all over the file, with their checksums and codes: another file of
// vectors that was copied over this one is found out, whichever rows a search would have read.
func (m *mapping) sample(ctx context.Context, q querier, dir string) error {
	const few = 16
	for i := range few {
		var slot, crc int64
		var path string
		err := q.QueryRowContext(ctx, "SELECT slot, crc, path FROM pictures WHERE slot >= ? ORDER BY slot LIMIT 1", i*m.n/few).Scan(&slot, &crc, &path)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return broken(dir, err)
		}
		if slot >= int64(m.n) {
			return damaged(filepath.Join(dir, databaseName), "it tells of the vector %d of %d", slot, m.n)
		}
		if int64(checksum(m.bytes(int(slot)))) != crc {
			return damaged(m.path, "the vector of %s has changed", path)
		}
		if err := m.verifyCodes(int(slot), 1); err != nil {
			return err
		}
	}
	return nil
}
