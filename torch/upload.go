package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_upload
#cgo nocallback gc_upload
#cgo nocallback gc_arrive
#cgo nocallback gc_free_event
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Upload is data on its way to a device.
type Upload struct {
	tensor  *Tensor
	arrived *C.gc_event // nil once it has, and for the CPU
}

// NewUpload begins to copy data to a device, as a tensor of the given shape, and returns at once:
// data may then change. To CUDA it goes through page-locked memory and on a stream of its own,
// beside what the device computes. It may be called in any goroutine.
func NewUpload[T Element](data []T, d Device, shape ...int) (u *Upload, err error) {
	defer catch(&err)
	if d.Type != "cuda" {
		return &Upload{tensor: FromSlice(nil, data, shape...)}, nil
	}
	dims := make([]int64, len(shape)+1)
	for i, n := range shape {
		dims[i] = int64(n)
	}
	u = &Upload{}
	var out *C.gc_tensor
	check("upload", C.gc_upload(unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data)*dtypeOf[T]().Size()), C.int32_t(dtypeOf[T]()),
		(*C.int64_t)(&dims[0]), C.int32_t(len(shape)), C.int32_t(d.Index), &out, &u.arrived))
	u.tensor = own(out, nil)
	return u, nil
}

// Tensor returns what was uploaded, without a scope; the upload owns it. What the device is given to do
// from now on in this goroutine's [Do] waits for it, and this goroutine does not. Call it in that
// Do.
func (u *Upload) Tensor() *Tensor {
	if u.arrived != nil {
		check("upload", C.gc_arrive(u.arrived, u.tensor.handle("upload")), u.tensor)
		runtime.KeepAlive(u.tensor)
		C.gc_free_event(u.arrived)
		u.arrived = nil
	}
	return u.tensor
}

// Free frees the tensor, arrived or not.
func (u *Upload) Free() {
	if u.arrived != nil {
		C.gc_free_event(u.arrived)
		u.arrived = nil
	}
	u.tensor.Free()
}
