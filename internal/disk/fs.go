// Package disk is the file layer under everything that goclip writes: files that appear whole or not
// at all, and directories whose names survive a crash. Package crashtest has one that fails on purpose.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FS is the file layer under all that is written: [Machine], or in tests one that fails and loses power (package crashtest).
// What it promises is what POSIX does: a file's content is safe after its Sync, a name after the SyncDir of its directory,
// and before that a crash may keep, lose or tear either, in any combination.
type FS interface {
	// Mkdir makes one directory, whose parent must be there.
	Mkdir(dir string) error
	// CreateTemp makes a new file of mode 0644 in dir; the last * of the pattern becomes something no other file has.
	CreateTemp(dir, pattern string) (Output, error)
	// Append opens a file to write at its end, and makes it where there is none.
	Append(path string) (Output, error)
	// Rename gives a file or directory another name in the same directory; a file of that name is replaced.
	Rename(from, to string) error
	// Exchange swaps the names of two directories in one stroke. Where the system cannot, the error is errors.ErrUnsupported.
	Exchange(a, b string) error
	// RemoveAll removes a file, or a directory and what is in it; it is not an error if there is none.
	RemoveAll(path string) error
	// SyncDir makes the names in a directory safe.
	SyncDir(dir string) error
}

// Output is a file of an [FS] that is open for writing. WriteAt is for files that CreateTemp made.
type Output interface {
	io.WriteCloser
	io.WriterAt
	Name() string
	Truncate(size int64) error
	Sync() error
}

// Machine is the FS of the machine.
type Machine struct{}

func (Machine) Mkdir(dir string) error { return os.Mkdir(dir, 0o755) }

func (Machine) CreateTemp(dir, pattern string) (Output, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o644); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

func (Machine) Append(path string) (Output, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err // a nil *os.File in an Output would not be nil
	}
	return f, nil
}

func (Machine) Rename(from, to string) error { return os.Rename(from, to) }

func (Machine) Exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if err == unix.EINVAL { // ENOSYS and ENOTSUP are ErrUnsupported already; file systems that lack it say EINVAL too
		err = errors.ErrUnsupported
	}
	if err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return nil
}

func (Machine) RemoveAll(path string) error { return os.RemoveAll(path) }

// SyncDir passes over file systems that know no such thing: there is nothing better to do than continue.
func (Machine) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, os.ErrPermission) { // it may be written but not read
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// MkdirAll makes a directory and the parents it lacks, each safe from a crash when it returns.
func MkdirAll(fsys FS, dir string) error {
	info, err := os.Stat(dir)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%s is a file, not a directory", dir)
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := MkdirAll(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.Mkdir(dir); err != nil && !errors.Is(err, os.ErrExist) { // another process was faster
		return err
	}
	return fsys.SyncDir(filepath.Dir(dir))
}
