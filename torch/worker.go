package torch

/*
#include "../csrc/goclip.h"
#cgo nocallback gc_on_worker
#cgo nocallback gc_become_worker
*/
import "C"

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// A worker is an OS thread that runs libtorch. Every thread that calls libtorch gets a team of
// OpenMP threads and memory of its own, and where teams have more threads than there are CPUs,
// libgomp no longer waits for work but sleeps after every kernel: a ViT-B/32 in bfloat16 takes 38
// ms for an image then, and 24 ms with one team on two CPUs. The goroutines of Go move between
// threads, so what they bring to [Do] runs on the worker that ran last, and only what runs at the
// same time has another.
type worker struct{ jobs chan func() }

// idle is the worker that ran last, if it has nothing to do. Others end when they have nothing to
// do, and their teams with them.
var idle struct {
	sync.Mutex
	worker *worker
}

func takeWorker() *worker {
	idle.Lock()
	w := idle.worker
	idle.worker = nil
	idle.Unlock()
	if w != nil {
		return w
	}
	w = &worker{make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		C.gc_become_worker()
		for job := range w.jobs {
			job()
		}
	}()
	return w
}

func (w *worker) release() {
	idle.Lock()
	w, idle.worker = idle.worker, w
	idle.Unlock()
	if w != nil {
		close(w.jobs)
	}
}

// Panic is a panic that is not libtorch's, of a function that ran in [Do], brought to the goroutine
// that called Do.
type Panic struct {
	Value any
	Stack []byte // where it began
}

func (p *Panic) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Unwrap gives the value if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// onWorker runs f on a worker: on this thread if it is one already. A panic of f is the caller's,
// and so is runtime.Goexit, by which a test ends.
func onWorker(f func()) {
	if C.gc_on_worker() != 0 {
		f()
		return
	}
	w, ended := takeWorker(), make(chan struct{})
	var returned bool
	var thrown *Panic
	w.jobs <- func() {
		defer close(ended)
		defer func() {
			if returned {
				return
			}
			if value := recover(); value != nil { // nil: runtime.Goexit
				var brought bool
				if thrown, brought = value.(*Panic); !brought {
					thrown = &Panic{value, debug.Stack()}
				}
			}
		}()
		f()
		returned = true
	}
	<-ended
	switch {
	case returned:
		w.release()
	case thrown != nil:
		w.release()
		panic(thrown)
	default:
		runtime.Goexit() // the worker's goroutine has ended
	}
}
