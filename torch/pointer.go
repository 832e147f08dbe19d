package torch

/*
#include "../csrc/goclip.h"
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Pointer returns a new at::Tensor* that shares t's memory, for another binding (gotorch's Tensor.T is
// one). The caller owns it and gives it back with [FreePointer].
func (t *Tensor) Pointer() unsafe.Pointer {
	p := C.gc_to_pointer(t.local("pointer"))
	runtime.KeepAlive(t)
	return p
}

// FreePointer deletes an at::Tensor* that [Tensor.Pointer] made.
func FreePointer(p unsafe.Pointer) { C.gc_free_pointer(p) }

// FromPointer returns a tensor that shares the memory of the at::Tensor* p, which stays its owner's. The
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

// FromMemory shares n numbers that lie at memory, outside Go's, as a tensor (n) on the CPU that the
// garbage collector frees. When nothing shares them any more, done, a C function, is called with
// context, on any thread.
func FromMemory(memory unsafe.Pointer, dtype DType, n int, done, context unsafe.Pointer) (t *Tensor, err error) {
	defer catch(&err)
	if memory == nil || done == nil {
		misuse("from_memory", "the memory, or what is called when it is done with, is nil")
	}
	var out *C.gc_tensor
	check("from_memory", C.gc_from_memory(memory, C.int32_t(dtype), C.int64_t(n), (*[0]byte)(done), context, &out))
	return own(out, nil), nil
}
