package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_free
#cgo nocallback gc_free
#cgo nocallback gc_set_threads
#cgo nocallback gc_live
#cgo nocallback gc_clear_autocast_cache
*/
import "C"

import (
	"runtime"
	"sync/atomic"
)

// Scope owns tensors and frees them together. It belongs to the function that [Do] runs.
type Scope struct {
	born    uint64 // a younger scope has a larger number
	mode    C.uint32_t
	tensors []*Tensor
	closed  bool
	casts   bool // Autocast began here: the cache of cast parameters ends here
	probe   *probe
}

var (
	births  atomic.Uint64
	threads atomic.Int32
)

// Do runs f on a thread that is kept for libtorch, waits for it, frees what f made, and returns the libtorch error that f ran
// into, if any.
func Do(f func(s *Scope)) error { return run(0, f) }

// NoGrad is [Do] without recording gradients.
func NoGrad(f func(s *Scope)) error { return run(C.GC_NO_GRAD, f) }

func run(mode C.uint32_t, f func(s *Scope)) (err error) {
	onWorker(func() {
		C.gc_set_threads(C.int32_t(NumThreads()))
		s := newScope(mode)
		defer s.close()
		defer catch(&err)
		f(s)
	})
	return err
}

// SetNumThreads sets how many threads libtorch's kernels use, from the next [Do] on; 0 restores the default.
func SetNumThreads(n int) { threads.Store(int32(n)) }

// NumThreads is how many threads libtorch's kernels use. The default is the CPUs that the process may use, which
// counts a container's quota, as GOMAXPROCS does.
func NumThreads() int {
	if n := int(threads.Load()); n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// LiveTensors counts the handles that have not been freed, in the whole process.
func LiveTensors() int64 { return int64(C.gc_live()) }

func newScope(mode C.uint32_t) *Scope { return &Scope{born: births.Add(1), mode: mode} }

// NoGrad runs f in a scope inside s that records no gradients.
func (s *Scope) NoGrad(f func(s *Scope)) {
	inner := newScope(s.mode | C.GC_NO_GRAD)
	inner.probe = s.probe
	defer inner.close()
	f(inner)
}

// Autocast lets products that follow in this scope run in dtype (bfloat16 or float16) while parameters stay float32,
// as torch.autocast does.
func (s *Scope) Autocast(device Device, dtype DType) {
	kind, _ := device.code()
	s.mode |= C.GC_AUTOCAST | C.uint32_t(dtype)<<8 | C.uint32_t(kind)<<16
	s.casts = true
}

// castsTo is the type that [Scope.Autocast] named, if it was called.
func (s *Scope) castsTo() (dtype DType, on bool) {
	return DType(s.mode >> 8 & 0xff), s.mode&C.GC_AUTOCAST != 0
}

// Alias is t in the scope s: the result of an operator on it belongs to s and follows the mode of s. The alias does
// not own the tensor, so t must outlive it.
func (s *Scope) Alias(t *Tensor) *Tensor {
	return &Tensor{c: t.handle("alias"), scope: s, borrowed: true}
}

// Borrow is p in the scope of t, [Scope.Alias]: model code uses it where an operator has nothing but parameters as
// inputs, whose result would otherwise wait for the garbage collector. Without a scope it is p itself.
func (t *Tensor) Borrow(p *Tensor) *Tensor {
	if t.scope == nil {
		return p
	}
	return t.scope.Alias(p)
}

func (s *Scope) add(t *Tensor) {
	if s.closed {
		misuse("scope", "the scope has ended: its Do has returned")
	}
	t.slot = len(s.tensors)
	s.tensors = append(s.tensors, t)
}

// drop forgets t, which somebody else frees.
func (s *Scope) drop(t *Tensor) {
	last := len(s.tensors) - 1
	s.tensors[t.slot] = s.tensors[last]
	s.tensors[t.slot].slot = t.slot
	s.tensors[last] = nil
	s.tensors = s.tensors[:last]
}

// close frees the scope's tensors in one crossing.
func (s *Scope) close() {
	s.closed = true
	handles := make([]*C.gc_tensor, 0, len(s.tensors))
	for _, t := range s.tensors {
		handles = append(handles, t.c)
		t.c = nil
	}
	s.tensors = nil
	if len(handles) > 0 {
		C.gc_free(&handles[0], C.size_t(len(handles)))
	}
	forgetRecomputations()
	if s.casts {
		C.gc_clear_autocast_cache()
	}
}

// inference tells that no gradient is recorded and every product runs as it is written.
func (s *Scope) inference() bool {
	return s != nil && s.mode&C.GC_NO_GRAD != 0 && s.mode&C.GC_AUTOCAST == 0 && s.probe == nil
}

// age orders scopes; no scope is older than any.
func (s *Scope) age() uint64 {
	if s == nil {
		return 0
	}
	return s.born
}

// Tidy returns f(x) and frees everything else that f made on the way.
func Tidy(f func(*Tensor) *Tensor, x *Tensor) *Tensor {
	s := newScope(0)
	if x.scope != nil {
		s.mode, s.probe = x.scope.mode, x.scope.probe
	}
	defer s.close()
	y := f(s.Alias(x))
	switch {
	case y.scope != s:
		return y
	case y.borrowed:
		return x
	default:
		return y.moveTo(x.scope)
	}
}
