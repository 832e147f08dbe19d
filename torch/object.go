package torch

/*
#include "../csrc/goclip.h"
#cgo nocallback gc_free_object
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Object is an object of one of libtorch's C++ classes that operators make and take, such as the
// packed weights of quantized::linear_prepack. The garbage collector frees it; [LiveTensors] counts
// it.
type Object struct{ c *C.gc_object }

// Object runs the operator and returns its first result, an object.
func (o *Op) Object(args ...any) *Object {
	f := frames.Get().(*frame)
	defer f.release()
	n, spill := f.call(o, nil, args)
	var c *C.gc_object
	if n > 0 {
		c = objectOf(f.outs[0])
	}
	if c == nil {
		freeRest(f.outs[:min(n, maxOuts)], spill)
		misuse(o.short(), "returns no object")
	}
	freeRest(f.outs[1:min(n, maxOuts)], spill)
	object := &Object{c}
	runtime.AddCleanup(object, freeObject, c)
	return object
}

func freeObject(c *C.gc_object) { C.gc_free_object(c) }

func objectOf(v C.gc_value) *C.gc_object {
	if v.tag != C.GC_OBJECT {
		return nil
	}
	bits := v.bits
	return *(**C.gc_object)(unsafe.Pointer(&bits)) // an address of C's, kept as a number
}
