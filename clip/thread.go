package clip

import (
	"context"
	"runtime"
	"sync"
)

// thread is where a model runs for callers in many goroutines: one goroutine that keeps its OS thread, because libtorch
// keeps memory and a team of workers for each thread that calls it. It begins with the first call and ends when the
// model is collected.
type thread struct {
	once sync.Once
	jobs chan func()
}

// inTurn runs f on the model's thread, after the callers that came before. When ctx ends, its error is returned at once;
// f is then never begun, or ends with nobody waiting, so it must write to nothing that the caller uses after an error.
// A panic of f is the caller's.
func (m *Model) inTurn(ctx context.Context, f func() error) error {
	m.thread.once.Do(func() {
		jobs := make(chan func())
		m.thread.jobs = jobs
		go func() {
			runtime.LockOSThread() // never unlocked: the OS thread ends with the goroutine, and libtorch's workers with it
			for job := range jobs {
				job()
			}
		}()
		runtime.AddCleanup(m, func(jobs chan func()) { close(jobs) }, jobs)
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	type outcome struct {
		err    error
		thrown any
	}
	done := make(chan outcome, 1)
	job := func() {
		var o outcome
		defer func() {
			o.thrown = recover()
			done <- o
		}()
		o.err = f()
	}
	select {
	case m.thread.jobs <- job:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case o := <-done:
		if o.thrown != nil {
			panic(o.thrown)
		}
		return o.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
