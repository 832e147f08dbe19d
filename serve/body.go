package serve

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// body is a request's body that counts its bytes in admission until it is released, and bounds
// them.
type body struct {
	from io.Reader
	a    *admission
	n    int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	b.n += int64(n)
	b.a.mu.Lock()
	b.a.bytes += int64(n)
	over := b.a.bytes > b.a.limits.Bodies
	var busy *problem
	if over {
		busy = b.a.busy()
	}
	b.a.mu.Unlock()
	switch {
	case over:
		busy.code, busy.message = "memory_full", "too many bytes of other requests are being answered; ask again after the seconds of Retry-After"
		return n, busy
	case err != nil && !errors.Is(err, io.EOF):
		return n, bodyProblem(err, b.a.limits)
	}
	return n, err
}

// bodies are what one request holds.
type bodies []*body

// read reads all of r, which admission then counts until release. length is what the client says
// that it is, or -1.
func (list *bodies) read(r io.Reader, length int64, a *admission) ([]byte, error) {
	b := &body{from: r, a: a}
	*list = append(*list, b)
	data := make([]byte, 0, min(max(length, 0), 1<<20)+512)
	for {
		n, err := b.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

func (list *bodies) release() {
	for _, b := range *list {
		b.release()
	}
}

func (b *body) release() {
	b.a.mu.Lock()
	defer b.a.mu.Unlock()
	b.a.bytes -= b.n
	b.n = 0
}

// plainBody is a request's body, decompressed, of at most Limits.Body bytes.
func (s *Server) plainBody(w http.ResponseWriter, r *http.Request) (io.Reader, error) {
	sent := http.MaxBytesReader(w, r.Body, s.limits.Body)
	switch coding := strings.ToLower(r.Header.Get("Content-Encoding")); coding {
	case "", "identity":
		return sent, nil
	case "gzip", "x-gzip":
		return &inflated{sent: &counted{from: sent}, most: s.limits.Body}, nil
	default:
		w.Header().Set("Accept-Encoding", "gzip")
		return nil, refuse(http.StatusUnsupportedMediaType, "encoding_unsupported", "", fmt.Sprintf("the Content-Encoding %.50q is not read; gzip is, and none", coding))
	}
}

// readBody reads it all. held has the memory until the request is answered.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, held *bodies) ([]byte, error) {
	from, err := s.plainBody(w, r)
	if err != nil {
		return nil, err
	}
	data, err := held.read(from, r.ContentLength, s.admission)
	if err != nil {
		return nil, err
	}
	arrived(w)
	return data, nil
}

type counted struct {
	from io.Reader
	n    int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}

// inflated is a gzip body. What comes of a byte is bounded, so that a small request stays one.
type inflated struct {
	sent *counted
	most int64
	zip  *gzip.Reader
	n    int64
}

// Of a compressed body: the bytes that may come of one, and those that are free.
const (
	inflation     = 64
	inflationFree = 64 << 10
)

func (f *inflated) Read(p []byte) (n int, err error) {
	if f.zip == nil {
		if f.zip, err = gzip.NewReader(f.sent); err != nil {
			return 0, gzipProblem(err)
		}
	}
	n, err = f.zip.Read(p)
	f.n += int64(n)
	switch {
	case f.n > f.most:
		return n, refuse(http.StatusRequestEntityTooLarge, "body_too_large", "", fmt.Sprintf("the request has more than %d bytes", f.most))
	case f.n > inflation*f.sent.n+inflationFree:
		return n, refuse(http.StatusRequestEntityTooLarge, "body_too_large", "", fmt.Sprintf("the body is compressed more than %d-fold; send it as it is", inflation))
	}
	return n, gzipProblem(err)
}

func gzipProblem(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, new(flate.CorruptInputError)) {
		return badRequest("", "the body is not gzip data, as its Content-Encoding says")
	}
	return err
}

// bodyProblem says in a sentence why a body could not be read.
func bodyProblem(err error, l Limits) *problem {
	var timeout interface{ Timeout() bool }
	var known *problem
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, new(*http.MaxBytesError)):
		return refuse(http.StatusRequestEntityTooLarge, "body_too_large", "", fmt.Sprintf("the request has more than %d bytes", l.Body))
	case errors.As(err, &timeout) && timeout.Timeout():
		return refuse(http.StatusRequestTimeout, "body_too_slow", "", fmt.Sprintf("the request did not arrive within %s", l.Read))
	default:
		return badRequest("", "the request's body ended early")
	}
}

// Of a request that was refused while it was still being sent: how much of the rest is read, for
// how long, and of how many clients at a time. Closing the connection at once would take the
// answer from a client that reads it only when all is sent.
const (
	lingerTime   = 10 * time.Second
	maxLingering = 64
)

// shortBody is what net/http reads before it sends an answer, so that the connection can be used
// again.
const shortBody = 256 << 10

// readRest reads what is left of a short body: in one piece, where net/http would read many. Reading a
// refused request is most of its cost.
func readRest(r *http.Request) (whole bool) {
	if r.ContentLength < 0 || r.ContentLength >= shortBody || !sends(r) {
		return false
	}
	buffer := restBuffers.Get().(*[]byte)
	defer restBuffers.Put(buffer)
	for {
		if _, err := r.Body.Read(*buffer); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// sends is whether the client sends a body of its own accord: who expects 100 Continue has not begun,
// and HTTP/2 says that a stream has ended.
func sends(r *http.Request) bool {
	return r.ContentLength != 0 && r.Body != http.NoBody && r.Header.Get("Expect") == "" && r.ProtoMajor == 1
}

// linger sends what has been answered and reads on, for nothing.
func (s *Server) linger(w http.ResponseWriter, r *http.Request) {
	if !sends(r) {
		return
	}
	select {
	case s.lingering <- struct{}{}:
		defer func() { <-s.lingering }()
	default:
		return
	}
	c := http.NewResponseController(w)
	if c.Flush() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	buffer := restBuffers.Get().(*[]byte)
	defer restBuffers.Put(buffer)
	for left := s.limits.Body; left > 0; {
		n, err := r.Body.Read(*buffer)
		if err != nil {
			return // all was sent, or the client has gone
		}
		left -= int64(n)
	}
}

// restBuffers take most requests in one piece.
var restBuffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}
