package data

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// What has no random access is unpacked once, to a plain tar in the cache, from where any image
// of any epoch can be read at once; reading forward instead would bind the order of samples to that
// of the shards, and a run that is resumed to reading all that came before. The price is the disk:
// images are compressed already, so it is about the data's size again. The file is named by its
// source's path, size and time, so that a changed source is unpacked again and that the runs and
// processes of a machine share it. It is removed when no run has opened it for thirty days.
type cache struct {
	dir   string
	clean sync.Once
}

const unused = 30 * 24 * time.Hour

// expansion bounds what a source may unpack to: as many times its size, and a little for small
// ones. Images hardly shrink; what goes beyond is made to fill a disk.
const (
	expansion     = 64
	freeExpansion = 16 << 20 // bytes
)

// unpack opens the file that write makes of a source, or has made before. what tells several files
// of one source apart.
func (c *cache) unpack(ctx context.Context, source *os.File, what string, write func(out io.Writer) error) (*os.File, error) {
	name := source.Name()
	if c.dir == "" {
		return nil, &OptionError{"Cache", fmt.Errorf("data: %s has to be unpacked and there is no directory for it", name), "set %s"}
	}
	path, limit, err := c.place(source, what)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	limited := func(f *os.File) error { return write(&limited{w: f, left: limit, stop: ctx.Err}) }
	return c.keep(ctx, name, path, limited)
}

// keep opens the file at path of the cache, which write makes if it is not there.
func (c *cache) keep(ctx context.Context, name, path string, write func(f *os.File) error) (*os.File, error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, c.fault(name, err)
	}
	c.clean.Do(c.sweep)
	if f, err := os.Open(path); err == nil {
		inUse(f)
		return f, nil
	}
	f, err := os.CreateTemp(c.dir, ".unpacking-*")
	if err != nil {
		return nil, c.fault(name, err)
	}
	err = write(f)
	if err == nil {
		err = errors.Join(f.Sync(), os.Rename(f.Name(), path))
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.fault(name, err)
	}
	f.Close()
	if f, err = os.Open(path); err != nil { // by its name, which f does not know
		return nil, c.fault(name, err)
	}
	return f, nil
}

// inUse notes, about once a day, that a file of the cache is read.
func inUse(f *os.File) {
	if info, err := f.Stat(); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
		now := time.Now()
		_ = os.Chtimes(f.Name(), now, now) // another user's file is of use as well
	}
}

// place is the path of what a source is unpacked to, and the bytes that it may have.
func (c *cache) place(source *os.File, what string) (path string, limit int64, err error) {
	info, err := source.Stat()
	if err != nil {
		return "", 0, err
	}
	abs, err := filepath.Abs(source.Name())
	if err != nil {
		return "", 0, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d\x00%s", abs, info.Size(), info.ModTime().UnixNano(), what))
	return filepath.Join(c.dir, fmt.Sprintf("%x.tar", sum[:16])), expansion*info.Size() + freeExpansion, nil
}

// sweep removes what no run has opened for long, and what a crash left half-written.
func (c *cache) sweep() {
	entries, _ := os.ReadDir(c.dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		age := time.Since(info.ModTime())
		if strings.HasSuffix(e.Name(), ".tar") && age > unused || strings.HasPrefix(e.Name(), ".unpacking-") && age > 24*time.Hour {
			os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
}

func (c *cache) fault(name string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EFBIG), errors.Is(err, syscall.EDQUOT):
		return &OptionError{"Cache", fmt.Errorf("data: %s: no room to unpack it in %s: %w", name, c.dir, err), "free some space, or set %s to a directory that has it"}
	case errors.Is(err, errExpands):
		return fmt.Errorf("data: %s: %w", name, err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return &OptionError{"Cache", fmt.Errorf("data: %s cannot be unpacked in %s: %w", name, c.dir, err), "set %s to a directory that can be written"}
	}
	return fmt.Errorf("data: %s cannot be unpacked: %w", name, err)
}

var errExpands = fmt.Errorf("it unpacks to more than %d times its size, which images never do; unpack it yourself if that is right", expansion)

// limited refuses to write more than is left.
type limited struct {
	w    io.Writer
	left int64
	stop func() error
}

func (l *limited) Write(p []byte) (int, error) {
	if err := l.stop(); err != nil {
		return 0, err
	}
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, errExpands
	}
	return l.w.Write(p)
}

// compression tells a file's by its first bytes: "gzip", "zstd", or "" for none.
func compression(f io.ReaderAt) string {
	var magic [4]byte
	n, _ := f.ReadAt(magic[:], 0)
	return compressionOf(magic[:n])
}

func compressionOf(magic []byte) string {
	switch head := string(magic); {
	case strings.HasPrefix(head, "\x1f\x8b"):
		return "gzip"
	case head == "\x28\xb5\x2f\xfd":
		return "zstd"
	}
	return ""
}

// widest is the largest window that zstd may ask memory for; zstd for long distances has 128 MiB.
const widest = 128 << 20

// decompress writes what in holds.
func decompress(out io.Writer, in io.Reader, format string) error {
	var r io.Reader
	if format == "zstd" {
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(widest))
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	} else {
		z, err := newGzip(in)
		if err != nil {
			return err
		}
		r = z
	}
	_, err := io.Copy(out, r)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("it is damaged: it ends too early: %w", err)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch):
		return fmt.Errorf("it is damaged: %w", err)
	}
	return err
}

// padded reads gzip members up to the zeros that some programs, and tapes, fill the last block
// with.
type padded struct {
	in *bufio.Reader
	z  *gzip.Reader
}

func newGzip(in io.Reader) (*padded, error) {
	buffered := bufio.NewReader(in)
	z, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &padded{buffered, z}, nil
}

func (p *padded) Read(b []byte) (int, error) {
	for {
		n, err := p.z.Read(b)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		zero := false
		for {
			next, err := p.in.Peek(1)
			if err != nil {
				return 0, err
			}
			if next[0] != 0 {
				break
			}
			zero = true
			_, _ = p.in.Discard(1)
		}
		if zero {
			return 0, errors.New("it is damaged: something follows the zeros at its end")
		}
		if err := p.z.Reset(p.in); err != nil {
			return 0, err
		}
		p.z.Multistream(false)
	}
}

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
