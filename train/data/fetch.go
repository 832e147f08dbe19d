package data

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// fetch opens the plain tar that a stream holds, or that was fetched before. It is named by the
// stream's name, size and version; a pipe has its command alone.
func (c *cache) fetch(ctx context.Context, name string, open opener, o Options) (*os.File, error) {
	if c.dir == "" {
		return nil, &OptionError{"Cache", fmt.Errorf("data: %s has to be fetched and there is no directory for it", name), "set %s"}
	}
	in, err := newStream(ctx, open, o.Backoff)
	if err != nil {
		return nil, fmt.Errorf("data: %s cannot be read: %w", name, err)
	}
	defer in.Close()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s", name, in.now.size, in.tag))
	path := filepath.Join(c.dir, fmt.Sprintf("%x.tar", sum[:16]))
	return c.keep(ctx, name, path, func(f *os.File) error {
		if o.Log != nil {
			o.Log("fetching " + name)
		}
		return unpackStream(f, in)
	})
}

// unpackStream writes the tar of a stream that may be compressed.
func unpackStream(out io.Writer, stream io.Reader) error {
	read := &counted{r: stream}
	in := bufio.NewReaderSize(read, 1<<20)
	head, err := in.Peek(4)
	if len(head) == 0 {
		return fmt.Errorf("it is empty or cannot be read: %w", err)
	}
	if format := compressionOf(head); format != "" {
		return decompress(&expanding{w: out, of: read}, in, format)
	}
	_, err = io.Copy(out, in)
	return err
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// expanding refuses to write much more than was read.
type expanding struct {
	w  io.Writer
	of *counted
	n  int64
}

func (e *expanding) Write(p []byte) (int, error) {
	if e.n += int64(len(p)); e.n > expansion*e.of.n+freeExpansion {
		return 0, errExpands
	}
	return e.w.Write(p)
}
