package main

import (
	"errors"
	"io"
	"os"
	"syscall"
)

var errNotRegular = errors.New("it is not a regular file any more")

// original opens an indexed image as it is, unless something else has come in its place.
func original(path string) (io.ReadSeekCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would wait for a writer
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(&os.PathError{Op: "open", Path: path, Err: errNotRegular}, err, f.Close())
	}
	return f, nil
}

// thumbnailOfFile is thumbnail likewise: one that waits would keep its place among those that are
// drawn.
func thumbnailOfFile(path string) (data []byte, mediaType string, err error) {
	f, err := original(path)
	if err != nil {
		return nil, "", err
	}
	if err := f.Close(); err != nil {
		return nil, "", err
	}
	return thumbnail(path)
}
