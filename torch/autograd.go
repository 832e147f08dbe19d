package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_grads
#cgo nocallback gc_grads
#cgo nocallback gc_set_grad
#cgo noescape gc_clear_grads
#cgo nocallback gc_clear_grads
#cgo nocallback gc_set_requires_grad
#cgo nocallback gc_requires_grad
*/
import "C"

import "runtime"

// Backward adds the gradients of the scalar t to the gradients of the tensors that require them,
// and frees the graph.
func (t *Tensor) Backward() { t.BackwardFrom(nil) }

// BackwardFrom is [Tensor.Backward] from a tensor of any shape whose own gradient is given.
func (t *Tensor) BackwardFrom(gradient *Tensor) {
	c := t.local("backward")
	var g *C.gc_tensor
	if gradient != nil {
		g = gradient.local("backward")
	}
	check("backward", C.gc_backward(c, g, 0), t, gradient)
	runtime.KeepAlive(t)
	runtime.KeepAlive(gradient)
}

// Gradients returns the gradients of the scalar t for inputs, nil for one that t does not depend
// on. Nothing is added to the inputs' own gradients. The results belong to the scope of t.
func Gradients(t *Tensor, inputs ...*Tensor) []*Tensor {
	outs := []*C.gc_tensor{t.local("grad")}
	ins := handles("grad", inputs)
	grads := make([]*C.gc_tensor, len(ins)+1)
	check("grad", C.gc_grad(&outs[0], nil, 1, first(ins), C.size_t(len(ins)), 0, &grads[0]), t)
	runtime.KeepAlive(t)
	runtime.KeepAlive(inputs)
	return wrap(grads[:len(ins)], t.scope)
}

// Grad returns the gradient that [Tensor.Backward] left in t, nil if there is none. It belongs to the
// scope of t.
func (t *Tensor) Grad() *Tensor {
	t.handle("grad")
	return Grads(t.scope, []*Tensor{t})[0]
}

// Grads is [Tensor.Grad] of many tensors in one crossing, into the scope s.
func Grads(s *Scope, ts []*Tensor) []*Tensor {
	if s != nil {
		s.here("grads")
	}
	hs := handles("grads", ts)
	grads := make([]*C.gc_tensor, len(hs)+1)
	check("grads", C.gc_grads(first(hs), C.size_t(len(hs)), &grads[0]))
	runtime.KeepAlive(ts)
	return wrap(grads[:len(hs)], s)
}

// SetGrad replaces the gradient of t; nil removes it.
func (t *Tensor) SetGrad(grad *Tensor) {
	var g *C.gc_tensor
	if grad != nil {
		g = grad.local("set_grad")
	}
	check("set_grad", C.gc_set_grad(t.local("set_grad"), g), t, grad)
	runtime.KeepAlive(t)
	runtime.KeepAlive(grad)
}

// ZeroGrad removes the gradients of ts, so that the next Backward starts from zero.
func ZeroGrad(ts []*Tensor) {
	hs := handles("zero_grad", ts)
	check("zero_grad", C.gc_clear_grads(first(hs), C.size_t(len(hs))))
	runtime.KeepAlive(ts)
}

// SetRequiresGrad says whether [Tensor.Backward] computes a gradient for t. It returns t.
func (t *Tensor) SetRequiresGrad(on bool) *Tensor {
	flag := C.int(0)
	if on {
		flag = 1
	}
	check("requires_grad_", C.gc_set_requires_grad(t.local("requires_grad_"), flag), t)
	return t
}

// RequiresGrad reports whether [Tensor.Backward] reaches t.
func (t *Tensor) RequiresGrad() bool {
	on := C.gc_requires_grad(t.local("requires_grad")) != 0
	runtime.KeepAlive(t)
	return on
}

func handles(op string, ts []*Tensor) []*C.gc_tensor {
	hs := make([]*C.gc_tensor, len(ts))
	for i, t := range ts {
		hs[i] = t.local(op)
	}
	return hs
}

func first(hs []*C.gc_tensor) **C.gc_tensor {
	if len(hs) == 0 {
		return nil
	}
	return &hs[0]
}

// wrap owns each handle that is there.
func wrap(hs []*C.gc_tensor, s *Scope) []*Tensor {
	ts := make([]*Tensor, len(hs))
	for i, h := range hs {
		if h != nil {
			ts[i] = own(h, s)
		}
	}
	return ts
}

// Set makes t, a tensor without a scope, stand for u's memory from now on, as param.data = u does;
// whether it requires a gradient stays. Moving a parameter to another device is its use. Aliases of
// t follow.
func (t *Tensor) Set(u *Tensor) {
	grad := t.RequiresGrad()
	switch {
	case t.scope != nil || t.of != nil:
		misuse("set", "the tensor belongs to a scope; only one without, such as a parameter, can be set")
	case grad && !u.DType().floating():
		misuse("set", "the tensor requires a gradient, which numbers of type %s cannot have", u.DType())
	}
	fresh := u.Detach().Keep()
	c := fresh.c
	fresh.cleanup.Stop()
	fresh.c = nil
	t.Free()
	t.c, t.scope = c, nil
	t.cleanup = runtime.AddCleanup(t, freeHandle, c)
	t.SetRequiresGrad(grad)
}
