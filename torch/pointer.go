package torch

/*
#include "../csrc/goclip.h"
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Pointer is a new at::Tensor* that shares t's memory, for another binding (gotorch's Tensor.T is
// one). The caller owns it and gives it back with [FreePointer].
func (t *Tensor) Pointer() unsafe.Pointer {
	p := C.gc_to_pointer(t.local("pointer"))
	runtime.KeepAlive(t)
	return p
}

// FreePointer deletes an at::Tensor* that [Tensor.Pointer] made.
func FreePointer(p unsafe.Pointer) { C.gc_free_pointer(p) }

// FromPointer is a tensor that shares the memory of the at::Tensor* p, which stays its owner's. The
// result belongs to s or, if s is nil, to the garbage collector.
func FromPointer(s *Scope, p unsafe.Pointer) *Tensor {
	switch {
	case p == nil:
		misuse("from_pointer", "the pointer is nil")
	case s != nil:
		s.here("from_pointer")
	}
	var out *C.gc_tensor
	check("from_pointer", C.gc_from_pointer(p, &out))
	return own(out, s)
}
