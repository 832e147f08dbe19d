package preprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// piece is read between two looks at the context.
const piece = 4 << 20

// ErrNotRegular is a FIFO, a device, a socket: opening or reading it might wait for ever, or never
// come to an end.
var ErrNotRegular = errors.New("not a regular file")

// OpenRegular opens a file for reading and gives its length. It does not wait for what is no
// regular file: the error matches ErrNotRegular. A caller should read no further than the length:
// some files of /proc have none and no end.
func OpenRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	var fault *fs.PathError
	switch {
	case errors.As(err, &fault):
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: fault.Err}
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular():
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which matters to a FIFO that came in between
	if err != nil {
		return nil, 0, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// ReadFile reads the file at path; one beyond lim is refused before. Errors name the path; a
// missing file matches fs.ErrNotExist. A path that [VideoFrames] gave is that frame, as a BMP file.
func ReadFile(ctx context.Context, path string, lim Limits) ([]byte, error) {
	if video, at, ok := VideoFrame(path); ok {
		return readFrame(ctx, video, at, lim)
	}
	f, size, err := OpenRegular(path)
	if errors.Is(err, ErrNotRegular) {
		what := "not a regular file, so no image is read from it"
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			what = "a directory, not an image"
		}
		return nil, &Error{Path: path, Kind: errors.Join(ErrNotImage, ErrNotRegular), Detail: what}
	}
	if err != nil {
		return nil, unnamed(err, path)
	}
	defer f.Close()
	if size > lim.maxBytes() {
		return nil, named(tooLong(size, lim), path)
	}
	data := make([]byte, size)
	for n := 0; n < len(data); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := f.Read(data[n:min(n+piece, len(data))])
		n += m
		if errors.Is(err, io.EOF) { // it has become shorter
			return data[:n], nil
		}
		if err != nil {
			return nil, unnamed(err, path)
		}
	}
	return data, nil
}

// unnamed is an error of the system that has the path once.
func unnamed(err error, path string) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("preprocess: %s: %w", path, err)
}
