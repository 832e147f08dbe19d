package torch

// #include "../csrc/goclip.h"
import "C"

import "errors"

var opSplitLinear = NewOp("goclip::linear")

// BFloat16x3 is nil if this machine can compute float32 products as three of bfloat16 on AMX:
// [PackBFloat16x3] and [Scope.BFloat16x3] then work. Otherwise it says why not. It asks the
// processor, then the system for its permission, and compares a product with float64's.
func BFloat16x3() error {
	msg := C.gc_bf16x3()
	if msg == nil {
		return nil
	}
	defer C.gc_free_message(msg)
	return errors.New(C.GoString(msg))
}

// BFloat16x3 lets [Tensor.Linear] compute float32 products in this scope, and their gradients, as
// three of bfloat16, within 3 2^-16 of the terms' size of float32's. It needs [BFloat16x3]. Products
// of few rows stay as they are.
func (s *Scope) BFloat16x3() {
	s.here("bf16x3")
	if err := BFloat16x3(); err != nil {
		misuse("bf16x3", "%v", err)
	}
	s.mode |= C.GC_BF16X3
}

// splits reports whether [Scope.BFloat16x3] was called.
func (s *Scope) splits() bool { return s != nil && s.mode&C.GC_BF16X3 != 0 }
