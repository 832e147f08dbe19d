// Package tilemodel is for tests: AMX's tile instructions on a processor that has none.
//
// Such a processor raises an invalid-opcode fault at each, and the system the signal SIGILL. The handler here decodes
// the instruction and does what Intel's manual says, so the program's own instructions run, with their registers, their
// addresses and their tile configuration. It is some hundred times slower than AMX.
package tilemodel

// #cgo CXXFLAGS: -std=c++17 -O2 -Wall
// void goclip_tile_model_on(int on);
import "C"

import (
	"testing"

	"golang.org/x/sys/cpu"
)

// On has goclip's products use tile instructions until the test ends: the processor's where there are some, the model's
// elsewhere. It skips the test where the processor lacks the vector instructions beside them.
func On(t testing.TB) {
	t.Helper()
	switch {
	case cpu.X86.HasAMXBF16:
		return
	case !cpu.X86.HasAVX512BF16 || !cpu.X86.HasAVX512DQ || !cpu.X86.HasAVX512BW || !cpu.X86.HasAVX512VL:
		t.Skip("the processor has no AVX-512 with bfloat16, which the products need beside AMX")
	}
	C.goclip_tile_model_on(1)
	t.Cleanup(func() { C.goclip_tile_model_on(0) })
}
