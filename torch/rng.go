package torch

/*
#include "../csrc/goclip.h"
#cgo nocallback gc_manual_seed
#cgo noescape gc_rng_state
#cgo nocallback gc_rng_state
#cgo nocallback gc_set_rng_state
*/
import "C"

import "runtime"

// ManualSeed seeds the default generators of the CPU and of every CUDA device, as torch.manual_seed
// does.
func ManualSeed(seed uint64) { check("manual_seed", C.gc_manual_seed(C.uint64_t(seed))) }

// RNGState returns the state of a device's default generator, for [SetRNGState].
func RNGState(d Device) []byte {
	kind, index := d.code("rng_state")
	var out *C.gc_tensor
	check("rng_state", C.gc_rng_state(C.int32_t(kind), C.int32_t(index), &out))
	t := own(out, nil)
	defer t.Free()
	return ToSlice[uint8](t)
}

// SetRNGState restores what [RNGState] returned.
func SetRNGState(d Device, state []byte) (err error) {
	defer catch(&err)
	kind, index := d.code("set_rng_state")
	t := FromSlice(nil, state, len(state))
	defer t.Free()
	check("set_rng_state", C.gc_set_rng_state(C.int32_t(kind), C.int32_t(index), t.c))
	runtime.KeepAlive(t)
	return nil
}
