package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_from_host
#cgo nocallback gc_from_host
#cgo noescape gc_to_host
#cgo nocallback gc_to_host
#cgo noescape gc_write
#cgo nocallback gc_write
#cgo noescape gc_shape
#cgo nocallback gc_shape
#cgo noescape gc_dtype
#cgo nocallback gc_dtype
#cgo noescape gc_device
#cgo nocallback gc_device
#cgo nocallback gc_is_contiguous
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

// Tensor is a handle on a libtorch tensor. Its [Scope] frees it or, without one, the garbage
// collector.
type Tensor struct {
	c       *C.gc_tensor // nil in an alias and once freed: using it then panics with a sentence
	of      *Tensor      // whose alias this is: it has the handle and frees it; nil for an owner
	scope   *Scope
	slot    int // where the scope lists an owner
	cleanup runtime.Cleanup
	packed  *packed // what Pack prepared, nil without
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

// root is t or, of an alias, the tensor that it is an alias of.
func (t *Tensor) root() *Tensor {
	if t.of != nil {
		return t.of
	}
	return t
}

// handle is the C handle of t for the operator op. Who does not tell C of t's owner calls local.
func (t *Tensor) handle(op string) *C.gc_tensor {
	if t == nil {
		misuse(op, "a tensor is nil")
	}
	c := t.root().c
	if c == nil {
		misuse(op, "a tensor was used after it was freed: its Do has returned, or Free was called; Keep moves one out")
	}
	return c
}

// local is handle, on the thread of t's scope alone.
func (t *Tensor) local(op string) *C.gc_tensor {
	c := t.handle(op)
	if t.scope != nil {
		t.scope.here(op)
	}
	return c
}

// owner is the thread that t belongs to, 0 for a tensor that is everybody's.
func (t *Tensor) owner() C.uint32_t {
	if t.scope == nil {
		return 0
	}
	return t.scope.owner
}

// FromSlice copies data into a new tensor of the given shape on the CPU. It belongs to s or, if s
// is nil, to the garbage collector. It panics with *Error when the shape does not fit the data.
func FromSlice[T Element](s *Scope, data []T, shape ...int) *Tensor {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*dtypeOf[T]().Size())
	return FromBytes(s, bytes, dtypeOf[T](), shape...)
}

// ToSlice copies the elements out in row-major order. The element type must be the tensor's:
// [Tensor.To] converts.
func ToSlice[T Element](t *Tensor) []T {
	if want, have := dtypeOf[T](), t.DType(); want != have {
		misuse("to_slice", "the tensor is %s, not %s", t.Summary(), want)
	}
	dst := make([]T, t.Numel())
	if len(dst) > 0 {
		hostReads.Add(1)
		check("to_slice", C.gc_to_host(t.local("to_slice"), unsafe.Pointer(&dst[0]), C.size_t(len(dst)*t.DType().Size())), t)
		runtime.KeepAlive(t)
	}
	return dst
}

var hostReads atomic.Int64

// HostReads counts how often the process has read numbers out of tensors: [Tensor.Item], [ToSlice]
// and their like. Those of a tensor on a GPU wait until it has done all that it was given.
func HostReads() int64 { return hostReads.Load() }

// Shape returns the size of each dimension.
func (t *Tensor) Shape() []int {
	var sizes [8]C.int64_t
	n := t.sizes("shape", sizes[:])
	shape := make([]int, n)
	if n > len(sizes) {
		more := make([]C.int64_t, n)
		t.sizes("shape", more)
		for i, size := range more {
			shape[i] = int(size)
		}
		return shape
	}
	for i := range shape {
		shape[i] = int(sizes[i])
	}
	return shape
}

// sizes fills sizes from the front and returns how many dimensions there are.
func (t *Tensor) sizes(op string, sizes []C.int64_t) int {
	var n C.int32_t
	check(op, C.gc_shape(t.handle(op), t.owner(), &sizes[0], C.int32_t(len(sizes)), &n))
	runtime.KeepAlive(t)
	return int(n)
}

// Dim returns the number of dimensions.
func (t *Tensor) Dim() int {
	var sizes [1]C.int64_t
	return t.sizes("dim", sizes[:])
}

// Size returns the size of dimension d; a negative d counts from the end.
func (t *Tensor) Size(d int) int {
	shape := t.Shape()
	if d < 0 {
		d += len(shape)
	}
	if d < 0 || d >= len(shape) {
		misuse("size", "%s has no dimension %d", t.Summary(), d)
	}
	return shape[d]
}

const maxElements = 1 << 44

// Numel returns the number of elements.
func (t *Tensor) Numel() int {
	n := 1
	for _, d := range t.Shape() {
		if d > 0 && n > maxElements/d { // what Expand can make of one element
			misuse("numel", "%s has more elements than any memory", t.Summary())
		}
		n *= d
	}
	return n
}

// DType returns the type of the elements.
func (t *Tensor) DType() DType {
	var d C.int32_t
	check("dtype", C.gc_dtype(t.handle("dtype"), t.owner(), &d))
	runtime.KeepAlive(t)
	return DType(d)
}

// Device is where the tensor lives.
func (t *Tensor) Device() Device {
	var kind, index C.int32_t
	check("device", C.gc_device(t.handle("device"), t.owner(), &kind, &index))
	runtime.KeepAlive(t)
	if kind == deviceCUDA {
		return Device{Type: "cuda", Index: int(index)}
	}
	return CPU
}

// IsContiguous reports whether the elements lie in memory one behind the other, in row-major order.
func (t *Tensor) IsContiguous() bool {
	yes := C.gc_is_contiguous(t.local("is_contiguous")) != 0
	runtime.KeepAlive(t)
	return yes
}

// Item returns the only element of t as a number.
func (t *Tensor) Item() float64 {
	var v C.double
	hostReads.Add(1)
	check("item", C.gc_item(t.local("item"), &v), t)
	runtime.KeepAlive(t)
	return float64(v)
}

// Summary returns the type and the shape in one word, "float32[4 512]", for messages. [Tensor.String]
// has the numbers.
func (t *Tensor) Summary() (text string) {
	switch {
	case t == nil:
		return "nil"
	case t.root().c == nil:
		return "freed tensor"
	}
	var dtype C.int32_t
	var shape [64]C.int64_t
	var n C.int32_t
	c := t.root().c
	for _, msg := range []*C.char{C.gc_dtype(c, t.owner(), &dtype), C.gc_shape(c, t.owner(), &shape[0], C.int32_t(len(shape)), &n)} {
		if msg != nil {
			text = takeMessage("summary", msg).Msg
		}
	}
	runtime.KeepAlive(t)
	if text != "" {
		return text
	}
	return fmt.Sprintf("%s%v", DType(dtype), shape[:min(int(n), len(shape))])
}

// Keep moves t out of its scope: the garbage collector frees it. It returns t. An alias becomes a
// tensor of its own that shares the memory.
func (t *Tensor) Keep() *Tensor { return t.moveTo(nil) }

// moveTo gives t to another scope, or to the garbage collector.
func (t *Tensor) moveTo(s *Scope) *Tensor {
	c := t.local("keep")
	if t.of != nil {
		t.c = C.gc_retain(c)
		runtime.KeepAlive(t.of)
		t.of = nil
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

// Free frees t now, and ends an alias without freeing what it is an alias of. It may be called
// twice. No other goroutine may be using t.
func (t *Tensor) Free() {
	if t == nil || t.of != nil || t.c == nil {
		if t != nil {
			t.of = nil
		}
		return
	}
	if t.scope != nil {
		t.scope.here("free")
	}
	c := t.c
	t.c = nil
	t.packed.free()
	t.packed = nil
	if t.scope == nil {
		t.cleanup.Stop()
	} else {
		t.scope.drop(t)
	}
	freeHandle(c)
}

// FromBytes is [FromSlice] for elements of any type, given as their little-endian bytes.
func FromBytes(s *Scope, data []byte, dtype DType, shape ...int) *Tensor {
	if s != nil {
		s.here("from_slice")
	}
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
		check("to_bytes", C.gc_to_host(t.local("to_bytes"), unsafe.Pointer(&dst[0]), C.size_t(len(dst))), t)
	}
	runtime.KeepAlive(t)
	return dst
}

// WriteBytes copies little-endian elements over those of t, which is contiguous and on the CPU,
// from the byte offset on. The threads of libtorch's kernels share the work, so that a large file
// is copied as fast as memory goes.
func (t *Tensor) WriteBytes(offset int, data []byte) {
	check("write", C.gc_write(t.local("write"), C.size_t(offset), unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))), t)
	runtime.KeepAlive(t)
}
