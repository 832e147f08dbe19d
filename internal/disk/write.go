package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
)

// WriteFile writes a file of any kind atomically: to a temporary name beside it, to the disk, and then
// renamed. On failure nothing is left behind and a former file stays as it was.
func WriteFile(fsys FS, path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := fsys.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("%s was not written: %w", path, Plain(err))
	}
	defer func() {
		if err != nil {
			_ = fsys.RemoveAll(f.Name())
			err = fmt.Errorf("%s was not written: %w", path, Plain(err))
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fsys.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// Plain says a full disk in words, once.
func Plain(err error) error {
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG) || errors.Is(err, syscall.EDQUOT)
	if full && !strings.Contains(err.Error(), "the disk is full") {
		return fmt.Errorf("the disk is full: %w", err)
	}
	return err
}
