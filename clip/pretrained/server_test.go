package pretrained

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// payload is n bytes that no part of repeats.
func payload(n int, seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	out := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(out) // it never fails
	return out
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// asked is a request that the server got.
type asked struct{ path, rang, ifRange, token, agent string }

// server is a real server on loopback. behave answers the n-th request, counted from 1.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	seen []asked
}

func serve(t *testing.T, behave func(w http.ResponseWriter, r *http.Request, n int)) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, asked{r.URL.Path, r.Header.Get("Range"), r.Header.Get("If-Range"), r.Header.Get("Authorization"), r.Header.Get("User-Agent")})
		n := len(s.seen)
		s.mu.Unlock()
		behave(w, r, n)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *server) requests() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]asked(nil), s.seen...)
}

// whole answers as a good server does: ranges, entity tag, length.
func whole(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Header().Set("ETag", `"`+sumOf(data)[:20]+`"`)
	http.ServeContent(w, r, "", time.Unix(1700000000, 0), bytes.NewReader(data))
}

// cut announces all of data, sends the first n bytes and ends the connection; with reset the peer
// sees an RST.
func cut(w http.ResponseWriter, data []byte, n int, reset bool) {
	w.Header().Set("ETag", `"`+sumOf(data)[:20]+`"`)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(data[:n])
	_ = http.NewResponseController(w).Flush()
	if reset {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	panic(http.ErrAbortHandler) // net/http's way to break off an answer
}

// linked sets the headers with which the hub describes a large file.
func linked(w http.ResponseWriter, data []byte) {
	w.Header().Set("X-Linked-ETag", `"`+sumOf(data)+`"`)
	w.Header().Set("X-Linked-Size", fmt.Sprint(len(data)))
}

// machine is a clean user account: a home, and none of the variables that Find reads. It returns
// the cache directory.
func machine(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{"XDG_CACHE_HOME", "GOCLIP_MIRROR", "GOCLIP_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
		"HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH",
		"HF_HUB_DISABLE_IMPLICIT_TOKEN"} {
		t.Setenv(name, "")
	}
	cache := filepath.Join(home, "cache")
	t.Setenv("GOCLIP_CACHE", cache)
	return cache
}

// notes collects what Log is told.
type notes struct {
	mu   sync.Mutex
	said []string
}

func (n *notes) log(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.said = append(n.said, s)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.said, "\n")
}

// impatient are options under which a retry comes at once.
func impatient(n *notes) Options {
	return Options{Backoff: time.Millisecond, Retries: 3, Log: n.log}
}

// own is a file of the authors' server whose hash is known, asked for at the mirror's /w/FILE.
func own(data []byte) candidate {
	return candidate{place: "m/t/w.pt", file: "w.pt", url: "https://authors.invalid/w/w.pt", hash: sumOf(data)}
}

func get(t *testing.T, ctx context.Context, o Options, c ...candidate) (File, error) {
	t.Helper()
	return newFinder(o).findOne(ctx, "m t", c)
}

// requireFile asserts that f is data, complete, and that nothing but its record lies beside it.
func requireFile(t *testing.T, f File, data []byte) {
	t.Helper()
	got, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got), "%d bytes differ from the %d that were published", len(got), len(data))
	require.Equal(t, int64(len(data)), f.Size)
	require.Equal(t, sumOf(data), f.Sum)
	require.Equal(t, []string{filepath.Base(f.Path), filepath.Base(f.Path) + ".verified"}, names(t, filepath.Dir(f.Path)))
}

// names lists a directory; one that does not exist is empty.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, data, 0o644))
}

// untilGone lets a handler wait until the client has gone.
func untilGone(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// modified gives a time that is not the file's.
func (f File) modified(t *testing.T) time.Time {
	t.Helper()
	info, err := os.Stat(f.Path)
	require.NoError(t, err)
	return info.ModTime().Add(time.Second)
}
