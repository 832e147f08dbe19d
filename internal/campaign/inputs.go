package campaign

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Target is a fuzz target that also runs without Go's fuzzer. With GOCLIP_INPUTS=N its test gives
// the check N inputs in this process: first the seeds and the corpus in testdata/fuzz, then changes
// to them drawn by GOCLIP_TEST_SEED. Nothing is measured by coverage and no process is asked, so
// that a parser is given several times as many inputs in a second. An input that fails is written
// to testdata/fuzz, where `go test` finds it. A process that C++ ends leaves the number of its input
// in a file, goclip-inputs-* of the directory for temporary files; GOCLIP_FIRST begins there.
//
// Either way an input must be done within a second of processor time, and may take at most Cap and
// twice its size of the Go heap, garbage included.
type Target struct {
	*testing.F
	Cap   uint64 // bytes; 0 for no limit
	seeds [][]any
}

// Inputs makes a target of f with a limit of memory.
func Inputs(f *testing.F, limit uint64) *Target { return &Target{F: f, Cap: limit} }

// Add is testing.F's.
func (t *Target) Add(args ...any) {
	t.F.Add(args...)
	t.seeds = append(t.seeds, args)
}

// MemoryDir returns a directory in memory, where the system has one: what is written there does not
// wait for a disk.
func (t *Target) MemoryDir() string {
	if dir, err := os.MkdirTemp("/dev/shm", "goclip-fuzz-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// Many reports whether Fuzz gives its check many inputs in this process.
func (t *Target) Many() bool { return os.Getenv("GOCLIP_INPUTS") != "" }

// Fuzz is testing.F's: check is func(t *testing.T, ...) with the types of Add.
func (t *Target) Fuzz(check any) {
	of := reflect.ValueOf(check)
	n := FromEnv(t, "GOCLIP_INPUTS", 0)
	begun := false
	t.F.Fuzz(reflect.MakeFunc(of.Type(), func(in []reflect.Value) []reflect.Value {
		tt := in[0].Interface().(*testing.T)
		switch {
		case n == 0:
			t.one(tt, of, in)
		case !begun: // one *testing.T for all of them
			begun = true
			t.many(tt, of, n)
		}
		return nil
	}).Interface())
}

// one gives the check one input.
func (t *Target) one(tt *testing.T, check reflect.Value, in []reflect.Value) {
	before := Allocated()
	check.Call(in)
	if took := Allocated() - before; t.Cap > 0 && took > t.Cap {
		size := uint64(0)
		for _, v := range in[1:] {
			if k := v.Kind(); k == reflect.String || k == reflect.Slice {
				size += uint64(v.Len())
			}
		}
		if took > t.Cap+2*size {
			tt.Errorf("an input of %d bytes took %d bytes of memory, at most %d", size, took, t.Cap+2*size)
		}
	}
}

// many gives it n inputs.
func (t *Target) many(tt *testing.T, check reflect.Value, n int) {
	seed := FromEnv(tt, "GOCLIP_TEST_SEED", 1)
	m := &mutator{seeds: append(t.seeds, corpus(tt, filepath.Join("testdata", "fuzz", t.Name()))...)}
	require.NotEmpty(tt, m.seeds)
	var now atomic.Pointer[[]any]
	defer watch(func() { t.keep(*now.Load()) }, &now)()
	defer debug.SetGCPercent(debug.SetGCPercent(2000)) // a small heap would be collected all the time
	first := FromEnv(tt, "GOCLIP_FIRST", 0)
	place, end := trail(tt, t.Name())
	start, done := time.Now(), false
	at := first
	defer func() {
		if !done { // a failure, or a panic that continues
			tt.Errorf("input %d of GOCLIP_TEST_SEED=%d: %s", at, seed, t.keep(*now.Load()))
		}
	}()
	in := []reflect.Value{reflect.ValueOf(tt)}
	for ; at < first+n; at++ {
		binary.NativeEndian.PutUint64(place, uint64(at))
		args := m.input(at, seed)
		now.Store(&args)
		in = in[:1]
		for _, a := range args {
			in = append(in, reflect.ValueOf(a))
		}
		t.one(tt, check, in)
		if tt.Failed() {
			return
		}
	}
	done = true
	end()
	took := time.Since(start)
	fmt.Printf("inputs: %s seed %d: %d inputs in %s, %.0f a second\n", t.Name(), seed, n, took.Round(time.Second/10), float64(n)/took.Seconds())
}

// trail is memory of a file that holds what is written there even if the process is ended.
func trail(t testing.TB, name string) (place []byte, end func()) {
	f, err := os.CreateTemp("", "goclip-inputs-"+name+"-")
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(8))
	place, err = syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	require.NoError(t, err)
	return place, func() { _ = os.Remove(f.Name()) }
}

// keep writes an input as `go test -fuzz` does, and returns where.
func (t *Target) keep(args []any) string {
	text := "go test fuzz v1\n"
	for _, a := range args {
		switch a := a.(type) {
		case []byte:
			text += fmt.Sprintf("[]byte(%q)\n", a)
		case byte:
			text += fmt.Sprintf("byte(%q)\n", a)
		default:
			text += fmt.Sprintf("%T(%#v)\n", a, a)
		}
	}
	path := filepath.Join("testdata", "fuzz", t.Name(), strconv.FormatUint(rand.Uint64(), 16))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err.Error()
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err.Error()
	}
	return path
}

// watch ends the process by a panic if an input is not done after a second of processor time. The
// function that it returns ends it.
func watch(keep func(), now *atomic.Pointer[[]any]) (stop func()) {
	debug.SetTraceback("all")
	ended := make(chan struct{})
	go func() {
		var last *[]any
		var since time.Duration
		for {
			select {
			case <-ended:
				return
			case <-time.After(100 * time.Millisecond):
			}
			if at := now.Load(); at != last || at == nil {
				last, since = at, ProcessorTime()
			} else if ProcessorTime()-since > time.Second {
				keep()
				panic("an input was not done after a second of processor time")
			}
		}
	}()
	return func() { close(ended) }
}

// ProcessorTime is what all threads of the process have used, which a busy machine changes less than
// the clock.
func ProcessorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Allocated is what the process has ever taken from the heap.
func Allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
