package data

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
)

// walkTar calls visit for each file of an archive with the place of its first byte. An archive that
// was cut is an error, between two members too: one that is whole ends in blocks of zeros.
func walkTar(ctx context.Context, r io.ReaderAt, size int64, visit func(h *tar.Header, at int64, content io.Reader) error) error {
	window := &window{r: r, size: size}
	archive := tar.NewReader(window)
	last, end := "", int64(0) // of the member before
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			if n > 0 && size-end < block {
				return fmt.Errorf("it ends at byte %d, after %s, without the end of an archive: it was cut, or never finished", size, last)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d members, at byte %d: %w", n, window.at, err)
		}
		last, end = h.Name, window.at
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if h.PAXRecords["GNU.sparse.major"] == "" { // else fewer bytes are stored
			end += (h.Size + block - 1) / block * block
		}
		if window.at+h.Size > size {
			return fmt.Errorf("%s ends too early, at byte %d", h.Name, size)
		}
		if err := visit(h, window.at, archive); err != nil {
			return fmt.Errorf("%s cannot be read at byte %d: %w", h.Name, window.at, err)
		}
	}
}

// block is a tar's unit.
const block = 512

// window reads forward from a file in small pieces and seeks over what is not needed: most of a
// shard is images, and an index needs the headers and captions alone.
type window struct {
	r        io.ReaderAt
	size, at int64
	buf      [8 << 10]byte
	from, to int64 // of what buf holds
}

func (w *window) Read(p []byte) (int, error) {
	if w.at >= w.size {
		return 0, io.EOF
	}
	if w.at < w.from || w.at >= w.to {
		n, err := w.r.ReadAt(w.buf[:min(int64(len(w.buf)), w.size-w.at)], w.at)
		if n == 0 {
			return 0, err
		}
		w.from, w.to = w.at, w.at+int64(n)
	}
	n := copy(p, w.buf[w.at-w.from:w.to-w.from])
	w.at += int64(n)
	return n, nil
}

// Seek returns what archive/tar skips members by.
func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += w.at
	case io.SeekEnd:
		offset += w.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("a seek to byte %d", offset)
	}
	w.at = offset
	return offset, nil
}
