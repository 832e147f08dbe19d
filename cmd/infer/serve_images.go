package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/goclip/goclip/clip/preprocess"
)

var errNotRegular = errors.New("it is not a regular file any more")

// original opens an indexed image as it is, unless something else has come in its place.
func original(path string) (io.ReadSeekCloser, error) {
	if _, _, ok := preprocess.VideoFrame(path); ok {
		frame, err := preprocess.ReadFile(context.Background(), path, preprocess.DefaultLimits)
		return inMemory{bytes.NewReader(frame)}, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would wait for a writer
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(&os.PathError{Op: "open", Path: path, Err: errNotRegular}, err, f.Close())
	}
	return f, nil
}

// inMemory is a frame of a video.
type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }
