// Package crashtest is a disk for tests that fails on request, and that reports what it could hold after a loss of
// power: a [disk.FS] over a directory that keeps a journal of all that was done.
//
// A test runs what it tests once, on an [FS], and then walks over [FS.Crashes]: for each operation of the journal, every
// state of the disk that a stop right after it can leave. Of names that are not yet synced any may be there or not; of
// data that is not yet synced all, nothing, a part, or zeros in its place. SQLite's crash tests
// (https://sqlite.org/testing.html, 3.2) are the model.
package crashtest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/internal/disk"
)

// FS does on the machine's disk, below a directory, what a [disk.FS] does, without waiting for the disk, and keeps a
// journal. It is for one goroutine.
type FS struct {
	// Fail is asked before each operation, the n-th from 0, whether it fails and with what. A write that fails writes half.
	Fail func(n int, kind Kind, path string) error
	// NoExchange is a file system that cannot swap two names.
	NoExchange bool

	root    string
	disk    disk.Machine
	n       int
	journal []operation
	before  *node // what the directory held when the journal began, all of it safe
}

// Kind is the kind of an operation.
type Kind string

// The kinds of operations.
const (
	Mkdir    Kind = "mkdir"
	Create   Kind = "create"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	Rename   Kind = "rename"
	Exchange Kind = "exchange"
	Remove   Kind = "remove"
	SyncDir  Kind = "syncdir"
)

type operation struct {
	kind     Kind
	path, to string
	data     []byte
	size     int64 // of a file after Truncate; where a WriteAt began
	at       bool  // a write at size, not at the end
}

// New makes a disk of a directory, with what is in it.
func New(root string) (*FS, error) {
	before, err := scan(root)
	if err != nil {
		return nil, err
	}
	return &FS{root: root, before: before}, nil
}

// Operations returns how many have been begun.
func (f *FS) Operations() int { return f.n }

// Journal returns how many have been done. A test notes it where something has become safe, to hold it against [FS.Crashes].
func (f *FS) Journal() int { return len(f.journal) }

// do is one operation, which fails, or happens and is noted.
func (f *FS) do(o operation, act func() error) error {
	n := f.n
	f.n++
	if f.Fail != nil {
		if err := f.Fail(n, o.kind, o.path); err != nil {
			return &fs.PathError{Op: string(o.kind), Path: o.path, Err: err}
		}
	}
	if err := act(); err != nil {
		return err
	}
	f.journal = append(f.journal, o)
	return nil
}

func (f *FS) Mkdir(dir string) error {
	return f.do(operation{kind: Mkdir, path: dir}, func() error { return f.disk.Mkdir(dir) })
}

func (f *FS) CreateTemp(dir, pattern string) (disk.Output, error) {
	var out disk.Output
	err := f.do(operation{kind: Create, path: filepath.Join(dir, pattern)}, func() (err error) {
		out, err = f.disk.CreateTemp(dir, pattern)
		return err
	})
	if err != nil {
		return nil, err
	}
	f.journal[len(f.journal)-1].path = out.Name()
	return &file{f, out}, nil
}

func (f *FS) Append(path string) (out disk.Output, err error) {
	if _, err := os.Stat(path); err == nil { // opening changes nothing
		out, err = f.disk.Append(path)
		return &file{f, out}, err
	}
	err = f.do(operation{kind: Create, path: path}, func() (err error) {
		out, err = f.disk.Append(path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &file{f, out}, nil
}

func (f *FS) Rename(from, to string) error {
	return f.do(operation{kind: Rename, path: from, to: to}, func() error { return f.disk.Rename(from, to) })
}

func (f *FS) Exchange(a, b string) error {
	if f.NoExchange {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: errors.ErrUnsupported}
	}
	return f.do(operation{kind: Exchange, path: a, to: b}, func() error { return f.disk.Exchange(a, b) })
}

// RemoveAll removes one name after another, the inner ones first.
func (f *FS) RemoveAll(path string) error {
	var paths []string
	err := filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(paths) {
		if err := f.do(operation{kind: Remove, path: path}, func() error { return os.Remove(path) }); err != nil {
			return err
		}
	}
	return nil
}

func (f *FS) SyncDir(dir string) error {
	return f.do(operation{kind: SyncDir, path: dir}, func() error {
		_, err := os.Stat(dir)
		return err
	})
}

type file struct {
	fs  *FS
	out disk.Output
}

func (f *file) Name() string { return f.out.Name() }

func (f *file) Write(p []byte) (n int, err error) {
	return f.write(operation{kind: Write, path: f.Name(), data: p}, f.out.Write)
}

func (f *file) WriteAt(p []byte, at int64) (n int, err error) {
	return f.write(operation{kind: Write, path: f.Name(), data: p, size: at, at: true}, func(p []byte) (int, error) { return f.out.WriteAt(p, at) })
}

// write is one operation; half of one that fails is written.
func (f *file) write(o operation, write func(p []byte) (int, error)) (n int, err error) {
	o.data = slices.Clone(o.data)
	err = f.fs.do(o, func() (err error) {
		n, err = write(o.data)
		return err
	})
	if half := o.data[:len(o.data)/2]; err != nil && n == 0 {
		if wrote, failed := write(half); failed == nil {
			n, o.data = wrote, half
			f.fs.journal = append(f.fs.journal, o)
		}
	}
	return n, err
}

func (f *file) Truncate(size int64) error {
	return f.fs.do(operation{kind: Truncate, path: f.Name(), size: size}, func() error { return f.out.Truncate(size) })
}

func (f *file) Sync() error {
	return f.fs.do(operation{kind: Sync, path: f.Name()}, func() error { return nil })
}

func (f *file) Close() error { return f.out.Close() }
