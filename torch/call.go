package torch

/*
#include <stdlib.h>
#include "../csrc/goclip.h"
#cgo nocallback gc_find
#cgo noescape gc_find
#cgo nocallback gc_call
#cgo noescape gc_call
#cgo nocallback gc_free_spill
*/
import "C"

import (
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Op is an operator of libtorch's dispatcher. It is looked up at its first call and kept, so it
// belongs into a package variable. Every operator that libtorch has is reachable so, with or
// without a method of [Tensor].
type Op struct {
	name   string         // "aten::add.Tensor"
	handle atomic.Uintptr // the gc_op*, which is never freed
}

// NewOp names an operator, "aten::add.Tensor" or "aten::relu", as native_functions.yaml spells it.
func NewOp(name string) *Op { return &Op{name: name} }

func (o *Op) find() *C.gc_op {
	if h := o.handle.Load(); h != 0 {
		return *(**C.gc_op)(unsafe.Pointer(&h))
	}
	base, overload, _ := strings.Cut(o.name, ".")
	name, over := C.CString(base), C.CString(overload)
	defer C.free(unsafe.Pointer(name))
	defer C.free(unsafe.Pointer(over))
	var h *C.gc_op
	check(o.name, C.gc_find(name, over, &h))
	o.handle.Store(uintptr(unsafe.Pointer(h)))
	return h
}

// short is the operator's name as PyTorch writes it.
func (o *Op) short() string {
	_, name, named := strings.Cut(o.name, "::")
	if !named {
		name = o.name
	}
	base, _, _ := strings.Cut(name, ".")
	return base
}

// OptTensors is a list of tensors in which nil stands for none.
type OptTensors []*Tensor

const (
	maxArgs = 24 // convolution_backward has 12
	maxOuts = 8
)

// frame is the memory of one call. Frames are reused: a call then allocates nothing but its result.
type frame struct {
	args  [maxArgs]C.gc_value
	outs  [maxOuts]C.gc_value
	pool  []C.int64_t
	nouts C.int32_t
	more  *C.gc_value
	n     int
	scope *Scope
}

var frames = sync.Pool{New: func() any { return new(frame) }}

// release forgets the scope, which the pool must not keep alive.
func (f *frame) release() {
	f.scope = nil
	frames.Put(f)
}

func (f *frame) put(op *Op, arg any) {
	if f.n == maxArgs {
		misuse(op.short(), "more than %d arguments", maxArgs)
	}
	v := &f.args[f.n]
	*v = C.gc_value{} // the frame was another call's
	f.n++
	switch a := arg.(type) {
	case nil:
		v.tag = C.GC_NONE
	case *Tensor:
		if a == nil {
			v.tag = C.GC_NONE
			return
		}
		v.tag, v.bits = C.GC_TENSOR, f.tensor(op, a)
	case int:
		v.tag, v.bits = C.GC_INT, C.int64_t(a)
	case *Object:
		if a == nil || a.c == nil {
			misuse(op.short(), "an object is nil")
		}
		v.tag, v.bits = C.GC_OBJECT, C.int64_t(uintptr(unsafe.Pointer(a.c)))
	case DType:
		v.tag, v.bits = C.GC_INT, C.int64_t(a)
	case float64:
		v.tag, v.bits = C.GC_DOUBLE, C.int64_t(math.Float64bits(a))
	case bool:
		v.tag = C.GC_BOOL
		if a {
			v.bits = 1
		}
	case []int:
		f.list(v, C.GC_INTS, len(a))
		for _, x := range a {
			f.pool = append(f.pool, C.int64_t(x))
		}
	case []float64:
		f.list(v, C.GC_DOUBLES, len(a))
		for _, x := range a {
			f.pool = append(f.pool, C.int64_t(math.Float64bits(x)))
		}
	case []*Tensor:
		f.list(v, C.GC_TENSORS, len(a))
		for _, t := range a {
			f.pool = append(f.pool, f.tensor(op, t))
		}
	case OptTensors:
		f.list(v, C.GC_OPT_TENSORS, len(a))
		for _, t := range a {
			var h C.int64_t
			if t != nil {
				h = f.tensor(op, t)
			}
			f.pool = append(f.pool, h)
		}
	case []bool:
		f.list(v, C.GC_BOOLS, len(a))
		for _, x := range a {
			var bit C.int64_t
			if x {
				bit = 1
			}
			f.pool = append(f.pool, bit)
		}
	case string:
		f.list(v, C.GC_STRING, len(a))
		words := make([]C.int64_t, (len(a)+7)/8)
		if len(a) > 0 {
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8), a)
		}
		f.pool = append(f.pool, words...)
	case Device:
		kind, index := a.code(op.short())
		v.tag, v.n, v.bits = C.GC_DEVICE, C.int32_t(kind), C.int64_t(index)
	default:
		misuse(op.short(), "an argument of Go type %T means nothing to libtorch", arg)
	}
}

func (f *frame) list(v *C.gc_value, tag C.int32_t, n int) {
	v.tag, v.n, v.bits = tag, C.int32_t(n), C.int64_t(len(f.pool))
}

// tensor notes the youngest scope on the way.
func (f *frame) tensor(op *Op, t *Tensor) C.int64_t {
	h := t.handle(op.short())
	if t.scope != nil && f.scope != nil && t.scope.owner != f.scope.owner {
		misuse(op.short(), "tensors of two goroutines' scopes meet")
	}
	if t.scope.age() > f.scope.age() {
		f.scope = t.scope
	}
	return C.int64_t(uintptr(unsafe.Pointer(h)))
}

// call runs the operator on args and leaves its results in f.outs and, beyond those, in the slice
// it returns.
func (f *frame) call(op *Op, s *Scope, args []any) (n int, spill []C.gc_value) {
	f.scope, f.n, f.pool = s, 0, f.pool[:0]
	for _, a := range args {
		f.put(op, a)
	}
	var mode, owner C.uint32_t
	if f.scope != nil {
		if f.scope.closed {
			misuse(op.short(), "the scope has ended: its Do has returned")
		}
		mode, owner = f.scope.mode, f.scope.owner
	}
	var pool *C.int64_t
	if len(f.pool) > 0 {
		pool = &f.pool[0]
	}
	h := op.find()
	f.more = nil
	msg := C.gc_call(h, mode, owner, &f.args[0], C.int32_t(f.n), pool, &f.outs[0], maxOuts, &f.nouts, &f.more)
	runtime.KeepAlive(args)
	if msg != nil {
		panic(takeMessage(op.short(), msg, tensorsIn(args)...))
	}
	if f.more != nil {
		spill = append(spill, unsafe.Slice(f.more, int(f.nouts)-maxOuts)...)
		C.gc_free_spill(f.more)
	}
	return int(f.nouts), spill
}

func tensorsIn(args []any) []*Tensor {
	var ts []*Tensor
	for _, a := range args {
		switch a := a.(type) {
		case *Tensor:
			ts = append(ts, a)
		case []*Tensor:
			ts = append(ts, a...)
		case OptTensors:
			ts = append(ts, a...)
		}
	}
	return ts
}

// Call runs the operator and returns its first result, a tensor. Arguments are *Tensor (nil for
// none), int, float64, bool, string, []int, []float64, []bool, []*Tensor, [OptTensors], [*Object],
// [DType], [Device] or nil, in the order of the schema; trailing ones take the schema's defaults.
// The result belongs to the youngest scope among the arguments.
func (o *Op) Call(args ...any) *Tensor { return o.In(nil, args...) }

// In is [Op.Call] whose result belongs to the scope s if none of the arguments has a younger one.
func (o *Op) In(s *Scope, args ...any) *Tensor {
	f := frames.Get().(*frame)
	defer f.release()
	n, spill := f.call(o, s, args)
	if n == 0 || f.outs[0].tag != C.GC_TENSOR {
		freeRest(f.outs[:min(n, maxOuts)], spill)
		misuse(o.short(), "returns no tensor")
	}
	t := own(handleOf(f.outs[0]), f.scope)
	if n > 1 {
		freeRest(f.outs[1:min(n, maxOuts)], spill)
	}
	f.scope.look(o, args, t)
	return t
}

// Run runs an operator for its effect and drops its results, as in-place operators return their
// input.
func (o *Op) Run(s *Scope, args ...any) {
	f := frames.Get().(*frame)
	defer f.release()
	n, spill := f.call(o, s, args)
	freeRest(f.outs[:min(n, maxOuts)], spill)
}

// All runs the operator and returns all its tensors, lists flattened; nil stands for an undefined
// one.
func (o *Op) All(s *Scope, args ...any) []*Tensor {
	f := frames.Get().(*frame)
	defer f.release()
	n, spill := f.call(o, s, args)
	ts := make([]*Tensor, 0, n)
	for _, v := range append(f.outs[:min(n, maxOuts):min(n, maxOuts)], spill...) {
		if h := handleOf(v); h != nil {
			ts = append(ts, own(h, f.scope))
		} else {
			ts = append(ts, nil)
		}
	}
	f.scope.look(o, args, ts...)
	return ts
}

func handleOf(v C.gc_value) *C.gc_tensor {
	if v.tag != C.GC_TENSOR {
		return nil
	}
	bits := v.bits
	return *(**C.gc_tensor)(unsafe.Pointer(&bits)) // an address of C's, kept as a number
}

func freeRest(lists ...[]C.gc_value) {
	for _, list := range lists {
		for _, v := range list {
			if h := handleOf(v); h != nil {
				freeHandle(h)
			} else if o := objectOf(v); o != nil {
				freeObject(o)
			}
		}
	}
}
