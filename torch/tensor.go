package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_from_host
#cgo nocallback gc_from_host
#cgo noescape gc_to_host
#cgo nocallback gc_to_host
#cgo noescape gc_write
#cgo nocallback gc_write
#cgo nocallback gc_dims
#cgo noescape gc_shape
#cgo nocallback gc_shape
#cgo nocallback gc_dtype
#cgo noescape gc_device
#cgo nocallback gc_device
#cgo noescape gc_item
#cgo nocallback gc_item
#cgo nocallback gc_retain
*/
import "C"

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	_ "github.com/goclip/goclip/csrc" // the C++ behind the header
)

// Tensor is a handle on a libtorch tensor. Its [Scope] frees it or, without one, the garbage collector.
type Tensor struct {
	c        *C.gc_tensor // nil once freed: using it then panics with a sentence
	scope    *Scope
	slot     int  // where the scope lists it
	borrowed bool // an alias: somebody else frees c
	cleanup  runtime.Cleanup
	packed   *packed // what Pack prepared, nil without
}

// own wraps a handle that this package now owns.
func own(c *C.gc_tensor, s *Scope) *Tensor {
	t := &Tensor{c: c, scope: s}
	if s != nil {
		s.add(t)
	} else {
		t.cleanup = runtime.AddCleanup(t, freeHandle, c)
	}
	return t
}

func freeHandle(c *C.gc_tensor) { C.gc_free(&c, 1) }

// handle is the C handle of t for the operator op.
func (t *Tensor) handle(op string) *C.gc_tensor {
	if t == nil {
		misuse(op, "a tensor is nil")
	}
	if t.c == nil {
		misuse(op, "a tensor was used after it was freed: its Do has returned, or Free was called; Keep moves one out")
	}
	return t.c
}

// FromSlice copies data into a new tensor of the given shape on the CPU. It belongs to s or, if s is nil, to the
// garbage collector. It panics with *Error when the shape does not fit the data.
func FromSlice[T Element](s *Scope, data []T, shape ...int) *Tensor {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*dtypeOf[T]().Size())
	return FromBytes(s, bytes, dtypeOf[T](), shape...)
}

// ToSlice copies the elements out in row-major order. The element type must be the tensor's: [Tensor.To] converts.
func ToSlice[T Element](t *Tensor) []T {
	dst := make([]T, t.Numel())
	CopyInto(dst, t)
	return dst
}

// CopyInto is [ToSlice] into memory that the caller has; len(dst) must be the tensor's Numel.
func CopyInto[T Element](dst []T, t *Tensor) {
	if want, have := dtypeOf[T](), t.DType(); want != have {
		misuse("to_slice", "the tensor is %s, not %s", t, want)
	}
	if len(dst) != t.Numel() {
		misuse("to_slice", "the tensor %s has %d elements, the slice %d", t, t.Numel(), len(dst))
	}
	if len(dst) == 0 {
		return
	}
	hostReads.Add(1)
	check("to_slice", C.gc_to_host(t.c, unsafe.Pointer(&dst[0]), C.size_t(len(dst)*t.DType().Size())), t)
	runtime.KeepAlive(t)
}

var hostReads atomic.Int64

// HostReads counts how often the process has read numbers out of tensors: [Tensor.Item], [ToSlice] and their like. Those of a tensor on a
// GPU wait until it has done all that it was given.
func HostReads() int64 { return hostReads.Load() }

// Shape is the size of each dimension.
func (t *Tensor) Shape() []int {
	c := t.handle("shape")
	dims := make([]int, int(C.gc_dims(c))+1)
	C.gc_shape(c, (*C.int64_t)(unsafe.Pointer(&dims[0]))) // int is int64 on every platform libtorch is built for
	runtime.KeepAlive(t)
	return dims[:len(dims)-1]
}

// Dim is the number of dimensions.
func (t *Tensor) Dim() int {
	n := int(C.gc_dims(t.handle("dim")))
	runtime.KeepAlive(t)
	return n
}

// Size is the size of dimension d; a negative d counts from the end.
func (t *Tensor) Size(d int) int {
	shape := t.Shape()
	if d < 0 {
		d += len(shape)
	}
	if d < 0 || d >= len(shape) {
		misuse("size", "%s has no dimension %d", t, d)
	}
	return shape[d]
}

// Numel is the number of elements.
func (t *Tensor) Numel() int {
	n := 1
	for _, d := range t.Shape() {
		n *= d
	}
	return n
}

// DType is the type of the elements.
func (t *Tensor) DType() DType {
	d := DType(C.gc_dtype(t.handle("dtype")))
	runtime.KeepAlive(t)
	return d
}

// Device is where the tensor lives.
func (t *Tensor) Device() Device {
	var kind, index C.int32_t
	C.gc_device(t.handle("device"), &kind, &index)
	runtime.KeepAlive(t)
	if kind == deviceCUDA {
		return Device{Type: "cuda", Index: int(index)}
	}
	return CPU
}

// Item is the only element of t as a number.
func (t *Tensor) Item() float64 {
	var v C.double
	hostReads.Add(1)
	check("item", C.gc_item(t.handle("item"), &v), t)
	runtime.KeepAlive(t)
	return float64(v)
}

// String is the type and the shape, "float32[4 512]".
func (t *Tensor) String() string {
	if t == nil || t.c == nil {
		return "freed tensor"
	}
	return fmt.Sprintf("%s%v", t.DType(), t.Shape())
}

// Keep moves t out of its scope: the garbage collector frees it. It returns t. An alias becomes an owner.
func (t *Tensor) Keep() *Tensor { return t.moveTo(nil) }

// moveTo gives t to another scope, or to the garbage collector.
func (t *Tensor) moveTo(s *Scope) *Tensor {
	c := t.handle("keep")
	if t.borrowed {
		t.c, t.borrowed = C.gc_retain(c), false
	} else if t.scope == s {
		return t
	} else if t.scope != nil {
		t.scope.drop(t)
	} else {
		t.cleanup.Stop()
	}
	t.scope = s
	if s != nil {
		s.add(t)
	} else {
		t.cleanup = runtime.AddCleanup(t, freeHandle, t.c)
	}
	return t
}

// Free frees t now. It may be called twice.
func (t *Tensor) Free() {
	if t.c == nil {
		return
	}
	c := t.c
	t.c = nil
	if t.borrowed {
		return
	}
	if t.scope == nil {
		t.cleanup.Stop()
	} else {
		t.scope.drop(t)
	}
	freeHandle(c)
}

// FromBytes is [FromSlice] for elements of any type, given as their little-endian bytes.
func FromBytes(s *Scope, data []byte, dtype DType, shape ...int) *Tensor {
	dims := make([]int64, len(shape)+1) // one more, so that &dims[0] stands for a scalar too
	for i, d := range shape {
		dims[i] = int64(d)
	}
	var out *C.gc_tensor
	check("from_slice", C.gc_from_host(unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data)), C.int32_t(dtype),
		(*C.int64_t)(&dims[0]), C.int32_t(len(shape)), &out))
	return own(out, s)
}

// ToBytes copies the elements out as bytes, in row-major order.
func ToBytes(t *Tensor) []byte {
	dst := make([]byte, t.Numel()*t.DType().Size())
	if len(dst) > 0 {
		hostReads.Add(1)
		check("to_bytes", C.gc_to_host(t.c, unsafe.Pointer(&dst[0]), C.size_t(len(dst))), t)
	}
	runtime.KeepAlive(t)
	return dst
}

// WriteBytes copies little-endian elements over those of t, which is contiguous and on the CPU, from the byte offset on.
// The threads of libtorch's kernels share the work, so that a large file is copied as fast as memory goes.
func (t *Tensor) WriteBytes(offset int, data []byte) {
	check("write", C.gc_write(t.handle("write"), C.size_t(offset), unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))), t)
	runtime.KeepAlive(t)
}
