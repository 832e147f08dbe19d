package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_gone
#cgo nocallback gc_gone

extern char *goclipRecompute(uint64_t id, gc_tensor *x, gc_tensor *side, gc_tensor **y);
*/
import "C"

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/cgo"
	"sync/atomic"
)

// Recompute is f(x, side) that keeps nothing for the backward pass but x and side: there f runs a
// second time (gradient checkpointing; Chen et al., arXiv 1604.06174). Memory falls to one block's
// temporaries, and a step costs about one more forward. side is a mask, a position or nil, and gets
// no gradient; params are the tensors that f depends on besides and that may need one.
//
// Both runs have the mode of x's scope. Where f draws random numbers, the second run draws the same
// ones, from the default generator of x's device. f must not keep what it is given: each run has a
// scope of its own. Without gradients f runs once, as in [Tidy]. An error of the second run is the
// error of [Tensor.Backward].
func Recompute(f func(x, side *Tensor) *Tensor, x, side *Tensor, params ...*Tensor) *Tensor {
	x.local("recompute")
	mode := C.gc_enter(0) // looked at and left as it is
	C.gc_enter(mode)
	if x.scope != nil {
		mode |= x.scope.mode
	}
	learns := x.RequiresGrad()
	for _, p := range params {
		learns = learns || p.RequiresGrad()
	}
	if !learns || mode&(C.GC_NO_GRAD|C.GC_INFERENCE) != 0 {
		return Tidy(func(x *Tensor) *Tensor { return f(x, side) }, x)
	}
	r := &recomputation{f: f, mode: mode, device: x.Device(), thread: C.gc_thread()}
	s := newScope(mode|C.GC_NO_GRAD, r.thread)
	defer s.close()
	before := RNGState(r.device)
	y := f(s.Alias(x), s.aliasOf(side))
	if !bytes.Equal(before, RNGState(r.device)) {
		r.noise = before
	}
	inputs := handles("recompute", append([]*Tensor{x}, params...))
	var beside, out *C.gc_tensor
	if side != nil {
		beside = side.handle("recompute")
	}
	id := cgo.NewHandle(r)
	recomputations.Add(1)
	msg := C.gc_recompute(y.handle("recompute"), &inputs[0], C.size_t(len(inputs)), beside, C.uint64_t(id),
		C.gc_recompute_fn(C.goclipRecompute), &out)
	runtime.KeepAlive(params)
	runtime.KeepAlive(side)
	check("recompute", msg, x, y)
	return own(out, x.scope)
}

// recomputation is what a node in libtorch's graph needs of Go. Its handle lives as long as the
// node.
type recomputation struct {
	f      func(x, side *Tensor) *Tensor
	mode   C.uint32_t
	device Device
	thread C.uint32_t // that scopes which f may know belong to
	noise  []byte     // the generator's state before f drew from it, nil if it did not
}

// recomputations counts the handles, so that programs without any are not asked.
var recomputations atomic.Int64

// forgetRecomputations lets go of what nodes needed that libtorch has freed.
func forgetRecomputations() {
	for recomputations.Load() > 0 {
		var ids [64]C.uint64_t
		n := int(C.gc_gone(&ids[0], C.size_t(len(ids))))
		for _, id := range ids[:n] {
			cgo.Handle(id).Delete()
		}
		recomputations.Add(-int64(n))
		if n < len(ids) {
			return
		}
	}
}

// goclipRecompute runs f for the node id: in the goroutine that called Backward or, with CUDA, in
// one on libtorch's own thread. It owns x and side. No panic may pass the C++ that called it.
//
//export goclipRecompute
func goclipRecompute(id C.uint64_t, x, side *C.gc_tensor, y **C.gc_tensor) (msg *C.char) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error:
			msg = C.CString(e.Error())
		default:
			msg = C.CString(fmt.Sprintf("panic: %v", e))
		}
	}()
	r := cgo.Handle(id).Value().(*recomputation)
	thread, mode := C.gc_adopt_thread(r.thread), C.gc_enter(0) // the thread of Backward waits for this one
	defer func() { C.gc_enter(mode); C.gc_adopt_thread(thread) }()
	s := newScope(r.mode, r.thread)
	defer s.close()
	s.casts = r.mode&C.GC_AUTOCAST != 0
	in, beside := own(x, s), (*Tensor)(nil)
	if side != nil {
		beside = own(side, s)
	}
	if r.noise != nil {
		now := RNGState(r.device)
		defer func() { restoreRNG(r.device, now) }()
		restoreRNG(r.device, r.noise)
	}
	*y = C.gc_retain(r.f(in, beside).handle("recompute"))
	return nil
}

// restoreRNG puts back what RNGState gave.
func restoreRNG(d Device, state []byte) {
	if err := SetRNGState(d, state); err != nil {
		panic(err)
	}
}

// aliasOf is [Scope.Alias] of a tensor that may be nil.
func (s *Scope) aliasOf(t *Tensor) *Tensor {
	if t == nil {
		return nil
	}
	return s.Alias(t)
}
