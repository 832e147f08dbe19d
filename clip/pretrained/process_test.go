package pretrained

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary be the other process: one that fetches a file and prints its hash
// or the error.
func TestMain(m *testing.M) {
	switch os.Getenv("PRETRAINED_TEST_PROCESS") {
	case "":
		os.Exit(m.Run())
	case "small disk": // the kernel lets no file grow beyond 100 kB, in place of a disk that is full
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 100_000, Max: 100_000}); err != nil {
			panic(err)
		}
	}
	o := Options{Log: func(s string) { fmt.Fprintln(os.Stderr, s) }}
	f, err := newFinder(o).findOne(context.Background(), "m t", []candidate{own(data)})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(f.Sum)
}

// process is another process that fetches own(data).
type process struct {
	*exec.Cmd
	out, err *bufio.Reader
}

func start(t *testing.T, kind string) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	p := &process{Cmd: exec.CommandContext(t.Context(), exe)}
	p.Env = append(os.Environ(), "PRETRAINED_TEST_PROCESS="+kind, "GORACE=atexit_sleep_ms=0")
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	log, err := p.StderrPipe()
	require.NoError(t, err)
	p.out, p.err = bufio.NewReader(out), bufio.NewReader(log)
	require.NoError(t, p.Start())
	return p
}

// line waits for a line.
func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(s, "\n")
}

// halfThenWait sends half of data, says so, and the rest when it is told to.
func halfThenWait(w http.ResponseWriter, r *http.Request, sent chan<- bool, rest <-chan bool) {
	w.Header().Set("ETag", `"`+sumOf(data)[:20]+`"`)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = w.Write(data[:len(data)/2])
	_ = http.NewResponseController(w).Flush()
	sent <- true
	select {
	case <-rest:
		_, _ = w.Write(data[len(data)/2:])
	case <-r.Context().Done():
	}
}

func TestTwoProcessesFetchOnce(t *testing.T) {
	cache := machine(t)
	sent, rest := make(chan bool, 1), make(chan bool)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { halfThenWait(w, r, sent, rest) })
	t.Setenv("GOCLIP_MIRROR", s.URL)
	first := start(t, "plain")
	<-sent
	second := start(t, "plain")
	assert.Equal(t, "another process fetches "+filepath.Join(cache, "m", "t", "w.pt")+": waiting for it", line(t, second.err))
	rest <- true
	assert.Equal(t, sumOf(data), line(t, first.out))
	assert.Equal(t, sumOf(data), line(t, second.out))
	require.NoError(t, first.Wait())
	require.NoError(t, second.Wait())
	assert.Len(t, s.requests(), 1)
	f, err := get(t, t.Context(), Options{Offline: true}, own(data))
	require.NoError(t, err)
	requireFile(t, f, data)
}

// A process that is killed leaves its bytes and, by the kernel's doing, no lock.
func TestKilledProcessIsContinued(t *testing.T) {
	cache := machine(t)
	sent, rest := make(chan bool, 1), make(chan bool)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			halfThenWait(w, r, sent, rest)
			return
		}
		whole(w, r, data)
	})
	t.Setenv("GOCLIP_MIRROR", s.URL)
	first := start(t, "plain")
	<-sent
	part := filepath.Join(cache, "m", "t", "w.pt.part")
	require.Eventually(t, func() bool {
		info, err := os.Stat(part)
		return err == nil && info.Size() == int64(len(data)/2)
	}, time.Minute, lockPoll)
	second := start(t, "plain")
	assert.Contains(t, line(t, second.err), "waiting for it")
	require.NoError(t, first.Process.Kill())
	assert.Equal(t, sumOf(data), line(t, second.out))
	require.NoError(t, second.Wait())
	require.Error(t, first.Wait())
	require.Len(t, s.requests(), 2)
	assert.Equal(t, fmt.Sprintf("bytes=%d-", len(data)/2), s.requests()[1].rang)
}

func TestManyGoroutinesFetchOnce(t *testing.T) {
	machine(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
	t.Setenv("GOCLIP_MIRROR", s.URL)
	var wg sync.WaitGroup
	files, errs := make([]File, 8), make([]error, 8)
	for i := range files {
		wg.Go(func() { files[i], errs[i] = newFinder(Options{}).findOne(t.Context(), "m t", []candidate{own(data)}) })
	}
	wg.Wait()
	for i, f := range files {
		require.NoError(t, errs[i])
		requireFile(t, f, data)
	}
	assert.Len(t, s.requests(), 1)
}

func TestWaitingCanBeStopped(t *testing.T) {
	cache := machine(t)
	held, err := openPart(t.Context(), filepath.Join(cache, "m.pt"), nil)
	require.ErrorContains(t, err, "no such file", "the directory is the caller's to make")
	require.Nil(t, held)
	require.NoError(t, os.MkdirAll(cache, 0o755))
	held, err = openPart(t.Context(), filepath.Join(cache, "m.pt"), nil)
	require.NoError(t, err)
	defer held.close()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = openPart(ctx, filepath.Join(cache, "m.pt"), func(string) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
}

func TestFullDisk(t *testing.T) {
	cache := machine(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
	t.Setenv("GOCLIP_MIRROR", s.URL)
	p := start(t, "small disk")
	part := filepath.Join(cache, "m", "t", "w.pt.part")
	assert.Equal(t, "pretrained: m t: no room for "+part+": free some space, or set GOCLIP_CACHE to a directory that has it: file too large", line(t, p.out))
	require.Error(t, p.Wait())

	t.Log("with room again, what had come is used")
	f, err := get(t, t.Context(), Options{}, own(data))
	require.NoError(t, err)
	requireFile(t, f, data)
	assert.Equal(t, "bytes=100000-", s.requests()[1].rang)
}

func TestDiskErrors(t *testing.T) {
	for err, says := range map[error]string{
		&os.PathError{Op: "write", Path: "/c/x", Err: syscall.ENOSPC}:           "no room for /c/x: free some space, or set GOCLIP_CACHE to a directory that has it: no space left on device",
		&os.PathError{Op: "open", Path: "/c/x", Err: syscall.EROFS}:             "cannot write /c/x: set GOCLIP_CACHE to a directory that can be written: read-only file system",
		&os.LinkError{Op: "rename", Old: "a", New: "/c/x", Err: syscall.EACCES}: "cannot write /c/x: set GOCLIP_CACHE to a directory that can be written: permission denied",
		&os.PathError{Op: "open", Path: "/c/x", Err: syscall.EISDIR}:            "/c/x: is a directory",
	} {
		got := diskError(err, "/c/x")
		assert.EqualError(t, got, says)
	}
}
