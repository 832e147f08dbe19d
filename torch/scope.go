package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_free
#cgo nocallback gc_free
#cgo nocallback gc_set_threads
#cgo nocallback gc_thread
#cgo nocallback gc_enter
#cgo nocallback gc_live
#cgo nocallback gc_clear_autocast_cache
*/
import "C"

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Scope owns tensors and frees them together. It belongs to the function that [Do] runs.
type Scope struct {
	born    uint64     // a younger scope has a larger number
	owner   C.uint32_t // the thread whose tensors these are
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

// Do runs f on a thread that is kept for libtorch, waits for it, frees what f made, and returns the
// libtorch error that f ran into, if any.
func Do(f func(s *Scope)) error { return run(0, f) }

// NoGrad is [Do] without recording gradients.
func NoGrad(f func(s *Scope)) error { return run(C.GC_NO_GRAD, f) }

func run(mode C.uint32_t, f func(s *Scope)) (err error) {
	onWorker(func() {
		thread := C.gc_thread()
		n, fixed := fixedThreads.Load(thread)
		if !fixed {
			n = NumThreads()
		}
		C.gc_set_threads(C.int32_t(n.(int)))
		before := C.gc_enter(mode)
		defer func() { C.gc_enter(before) }()
		s := newScope(mode, thread)
		defer s.close()
		defer catch(&err)
		f(s)
	})
	return err
}

// SetNumThreads sets how many threads libtorch's kernels use, from the next [Do] on. 0 restores the
// default. More than 64, or than there are CPUs, are not started: libgomp ends the process when it
// cannot start a thread.
func SetNumThreads(n int) { threads.Store(int32(max(0, min(n, max(64, runtime.NumCPU()))))) }

// fixedThreads has the numbers of [WithThreads], by thread.
var fixedThreads sync.Map // C.uint32_t to int

// WithThreads runs f on a thread that is kept for libtorch. Each [Do] in f uses n threads for its
// kernels, whatever SetNumThreads says: what runs at the same time should share the CPUs.
func WithThreads(n int, f func()) {
	onWorker(func() {
		thread := C.gc_thread()
		fixedThreads.Store(thread, max(1, n))
		defer fixedThreads.Delete(thread)
		f()
	})
}

// NumThreads returns how many threads libtorch's kernels use. The default is the CPUs that the process
// may use, which counts a container's quota, as GOMAXPROCS does.
func NumThreads() int {
	if n := int(threads.Load()); n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// LiveTensors counts the handles that have not been freed, in the whole process.
func LiveTensors() int64 { return int64(C.gc_live()) }

func newScope(mode, owner C.uint32_t) *Scope {
	return &Scope{born: births.Add(1), mode: mode, owner: owner}
}

// NoGrad runs f in a scope inside s that records no gradients: no operator that f calls does,
// whichever scope its tensors are in.
func (s *Scope) NoGrad(f func(s *Scope)) {
	s.here("no_grad")
	inner := newScope(s.mode|C.GC_NO_GRAD, s.owner)
	inner.probe = s.probe
	before := C.gc_enter(C.GC_NO_GRAD)
	defer func() { C.gc_enter(before) }()
	defer inner.close()
	f(inner)
}

// here refuses a scope that has ended or belongs to another goroutine.
func (s *Scope) here(op string) {
	switch {
	case s == nil:
		misuse(op, "the scope is nil")
	case s.closed:
		misuse(op, "the scope has ended: its Do has returned")
	case s.owner != C.gc_thread():
		misuse(op, "the scope belongs to another goroutine: only the function that Do runs may use it and its tensors")
	}
}

// Autocast lets products that follow in this scope run in dtype, BFloat16 or Float16, while
// parameters stay float32, as torch.autocast does.
func (s *Scope) Autocast(device Device, dtype DType) {
	s.here("autocast")
	if dtype != BFloat16 && dtype != Float16 {
		misuse("autocast", "products run in bfloat16 or float16, not in %s", dtype)
	}
	kind, _ := device.code("autocast")
	s.mode = s.mode&0xff | C.GC_AUTOCAST | C.uint32_t(dtype)<<8 | C.uint32_t(kind)<<16
	s.casts = true
}

// DropCasts ends the use of the copies of parameters that products under [Scope.Autocast] share: each is freed when the
// backward pass has used it, not at the end of the scope. It belongs between the last forward pass and its backward pass.
func (s *Scope) DropCasts() {
	s.here("drop casts")
	if _, on := s.castsTo(); on {
		C.gc_clear_autocast_cache()
	}
}

// castsTo is the type that [Scope.Autocast] named, if it was called.
func (s *Scope) castsTo() (dtype DType, on bool) {
	return DType(s.mode >> 8 & 0xff), s.mode&C.GC_AUTOCAST != 0
}

// Alias is t in the scope s: the result of an operator on it belongs to s and follows the mode of
// s. It is t under another name and no copy. The garbage collector keeps t as long as the alias;
// where t is freed, the alias is too.
func (s *Scope) Alias(t *Tensor) *Tensor {
	t.handle("alias")
	if t.scope != nil && s != nil && t.scope.owner != s.owner {
		misuse("alias", "the tensor %s is of another goroutine's scope", t.Summary())
	}
	return &Tensor{of: t.root(), scope: s}
}

// Borrow is p in the scope of t, [Scope.Alias]. Model code uses it where an operator has nothing
// but parameters as inputs, whose result would otherwise wait for the garbage collector. If t has
// no scope, it is p itself.
func (t *Tensor) Borrow(p *Tensor) *Tensor {
	t.handle("borrow")
	if t.scope == nil {
		return p
	}
	return t.scope.Alias(p)
}

// add lists t, whose maker has seen to it that the scope is open and this goroutine's.
func (s *Scope) add(t *Tensor) {
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
		t.packed.free()
		t.packed = nil
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

// inference reports whether no gradient is recorded and every product runs as it is written.
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

// Tidy returns f(x) and frees everything else that f made on the way. f's x is an alias, and the
// result belongs to the scope of the x that Tidy was given.
func Tidy(f func(*Tensor) *Tensor, x *Tensor) *Tensor {
	x.local("tidy")
	s := newScope(0, C.gc_thread())
	if x.scope != nil {
		s.mode, s.probe = x.scope.mode, x.scope.probe
	}
	defer s.close()
	y := f(s.Alias(x))
	y.handle("tidy")
	switch {
	case y.scope != s:
		return y
	case y.of == x.root():
		return x
	case y.of != nil:
		return x.Borrow(y.of)
	default:
		return y.moveTo(x.scope)
	}
}
