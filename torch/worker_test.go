package torch

import (
	"errors"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
)

// TestWorkers looks at the OS threads on which Do runs what goroutines bring.
func TestWorkers(t *testing.T) {
	thread := func() (tid int) {
		require.NoError(t, Do(func(*Scope) { tid = syscall.Gettid() }))
		return tid
	}
	first := thread()
	for range 20 {
		tid := make(chan int)
		go func() {
			runtime.LockOSThread() // never unlocked, so the next goroutine is on another thread
			tid <- thread()
		}()
		require.Equal(t, first, <-tid, "one after the other")
	}
	require.NoError(t, Do(func(*Scope) {
		require.NoError(t, NoGrad(func(*Scope) { require.Equal(t, first, syscall.Gettid(), "one within the other") }))
	}))

	before := runtime.NumGoroutine()
	for range 3 {
		var inside, all sync.WaitGroup
		inside.Add(4)
		tids := make(chan int, 4)
		for range 4 {
			all.Go(func() {
				assert.NoError(t, Do(func(*Scope) {
					inside.Done()
					inside.Wait()
					tids <- syscall.Gettid()
				}))
			})
		}
		all.Wait()
		different := map[int]bool{}
		for range 4 {
			different[<-tids] = true
		}
		assert.Len(t, different, 4, "at the same time")
	}
	for range 1000 { // workers that nobody needs end, in their own time
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, of %d before", runtime.NumGoroutine(), before)
}

// TestWorkerPanics lets the caller of Do see how its function ended.
func TestWorkerPanics(t *testing.T) {
	cause := errors.New("a mistake in Go code")
	thrown := func(f func()) (value any) {
		defer func() { value = recover() }()
		f()
		return nil
	}
	before := settled.Count(LiveTensors)
	value := thrown(func() {
		_ = Do(func(s *Scope) {
			FromSlice(s, []float32{1}, 1)
			_ = NoGrad(func(*Scope) { whereItBegan(cause) })
		})
	})
	assert.Equal(t, before, LiveTensors())
	p, ok := value.(*Panic)
	require.True(t, ok, "%T", value)
	assert.Equal(t, cause, p.Value)
	assert.ErrorIs(t, p, cause)
	assert.Contains(t, p.Error(), "whereItBegan")
	assert.Contains(t, p.Error(), "a mistake in Go code")
	assert.NoError(t, errors.Unwrap(&Panic{Value: "no error"}))

	var ended bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { ended = recover() == nil }()
		_ = Do(func(*Scope) { runtime.Goexit() })
		t.Error("Goexit ended only the worker")
	})
	wg.Wait()
	assert.True(t, ended)

	assert.Error(t, Do(func(s *Scope) { FromSlice(s, []float32{1, 2}, 2).Add(FromSlice(s, []float32{1, 2, 3}, 3)) }))
	assert.Equal(t, before, LiveTensors())
}

func whereItBegan(cause error) { panic(cause) }
