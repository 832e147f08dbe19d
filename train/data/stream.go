package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// remote tells of a shard that is read as a stream: a command's output, or an object of a server.
func remote(name string) bool {
	return strings.HasPrefix(name, "pipe:") || strings.Contains(name, "://")
}

// content is a stream from some byte on.
type content struct {
	io.ReadCloser
	size int64  // of the whole object; -1: not known
	tag  string // tells its versions apart; "": not known
}

// opener opens an object from the byte from on. tag, where it is not "", is the version that the
// bytes before are of.
type opener func(ctx context.Context, from int64, tag string) (content, error)

// openerOf is that of a name.
func openerOf(name string) (opener, error) {
	scheme, _, _ := strings.Cut(name, ":")
	switch scheme {
	case "pipe":
		return openPipe(strings.TrimPrefix(name, "pipe:")), nil
	case "http", "https":
		return openURL(name), nil
	case "s3":
		return openS3(name)
	}
	return nil, fmt.Errorf("data: %s: the scheme %s must be one of pipe, http, https, s3; pipe: takes the output of any command", name, scheme)
}

// permanent is an error that another try would meet again.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// The tries of a stream: so many in a row that bring no byte, with waits between them that double
// from Options.Backoff to maxBackoff, and no byte for stall.
const (
	streamTries = 5
	maxBackoff  = 30 * time.Second
	stall       = time.Minute
)

// stream reads an object to its end, over as many openings as that takes.
type stream struct {
	ctx     context.Context
	open    opener
	backoff time.Duration
	now     *content
	cancel  context.CancelFunc // of now
	at      int64              // bytes that were read
	tag     string
	tries   int // in a row without a byte
}

// newStream opens an object for the first time.
func newStream(ctx context.Context, open opener, backoff time.Duration) (*stream, error) {
	s := &stream{ctx: ctx, open: open, backoff: backoff}
	for {
		err := s.reopen()
		if err == nil {
			return s, nil
		}
		if err = s.again(err); err != nil {
			return nil, err
		}
	}
}

func (s *stream) reopen() error {
	ctx, cancel := context.WithCancel(s.ctx)
	now, err := s.open(ctx, s.at, s.tag)
	if err != nil {
		cancel()
		return err
	}
	s.now, s.cancel, s.tag = &now, cancel, now.tag
	return nil
}

// again waits before the next try, or gives the error that the stream ends with.
func (s *stream) again(fault error) error {
	s.Close()
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.tries++
	if errors.As(fault, new(permanent)) {
		return fault
	}
	if s.tries >= streamTries {
		return fmt.Errorf("at byte %d, after %d tries: %w", s.at, s.tries, fault)
	}
	select {
	case <-time.After(min(s.backoff<<(s.tries-1), maxBackoff)):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// Read returns the next bytes, from the opening that has them.
func (s *stream) Read(p []byte) (int, error) {
	for {
		var err error
		if s.now == nil {
			err = s.reopen()
		}
		if err == nil {
			watch := time.AfterFunc(stall, s.cancel)
			var n int
			n, err = s.now.Read(p)
			watch.Stop()
			s.at += int64(n)
			if n > 0 {
				s.tries = 0
				return n, nil
			}
			size := s.now.size
			switch {
			case err == nil:
				continue
			case errors.Is(err, io.EOF) && (size < 0 || s.at == size):
				return 0, io.EOF
			case errors.Is(err, io.EOF):
				err = fmt.Errorf("it ends at byte %d of %d: %w", s.at, size, io.ErrUnexpectedEOF)
			}
		}
		if err = s.again(err); err != nil {
			return 0, err
		}
	}
}

// Close ends the opening in use.
func (s *stream) Close() error {
	if s.now == nil {
		return nil
	}
	s.cancel()
	err := s.now.Close()
	s.now = nil
	return err
}

// skip reads over the first n bytes of what cannot begin later.
func skip(r io.ReadCloser, n int64) error {
	if _, err := io.CopyN(io.Discard, r, n); err != nil {
		return errors.Join(fmt.Errorf("it does not reach byte %d again: %w", n, err), r.Close())
	}
	return nil
}
