package torch

// #include "../csrc/goclip.h"
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrDeviceLost is what errors.Is finds in an [Error] after which CUDA does nothing more in this
// process: an illegal access, an assertion on the device, a fault of its memory. Every later call
// fails with the same words. Memory of the device is no longer given back, because that ends a
// process; [LiveTensors] counts it as freed. Say what happened and leave with os.Exit, so that a
// supervisor starts again.
var ErrDeviceLost = errors.New("the CUDA device is lost to this process")

// lost are CUDA's words for the errors that stay (cudaGetErrorString).
var lost = []string{
	"device-side assert triggered", "an illegal memory access was encountered", "an illegal instruction was encountered",
	"misaligned address", "invalid program counter", "operation not supported on global/shared address space",
	"hardware stack error", "unspecified launch failure", "the launch timed out and was terminated",
	"uncorrectable ECC error encountered", "uncorrectable NVLink error detected during the execution",
}

// Is makes an Error of CUDA's one of [ErrDeviceLost].
func (e *Error) Is(target error) bool {
	_, said, cuda := strings.Cut(e.Msg, "CUDA error: ")
	return target == ErrDeviceLost && cuda && slices.ContainsFunc(lost, func(words string) bool { return strings.HasPrefix(said, words) })
}

// Error is what an operator panics with, and what [Do] returns.
type Error struct {
	Op     string   // "linear"
	Msg    string   // libtorch's first line, or a sentence of this package
	Inputs []string // "float32[4 512]", for each tensor among the arguments
}

// Error reads "torch: linear(float32[4 512], float32[512 768]): mat1 and mat2 shapes cannot be
// multiplied".
func (e *Error) Error() string {
	return fmt.Sprintf("torch: %s(%s): %s", e.Op, strings.Join(e.Inputs, ", "), e.Msg)
}

// assertion is how libtorch begins when it finds something that it never expects, which is always
// an argument here.
const assertion = "INTERNAL ASSERT FAILED at "

// sentence is the first line of libtorch's message, without the advice to report what is no bug of
// PyTorch's.
func sentence(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	condition, rest, asserted := strings.Cut(first, assertion)
	if !asserted {
		return first
	}
	if _, said, ok := strings.Cut(rest, "report a bug to PyTorch."); ok && strings.TrimSpace(said) != "" {
		return strings.TrimSpace(said)
	}
	return "the arguments do not fit the operator: libtorch expects " + strings.TrimSpace(strings.TrimSuffix(condition, " "))
}

// takeMessage makes an Error of a message from C and frees it.
func takeMessage(op string, msg *C.char, inputs ...*Tensor) *Error {
	text := C.GoString(msg)
	C.gc_free_message(msg)
	e := &Error{Op: op, Msg: sentence(text)}
	if e.Is(ErrDeviceLost) {
		C.gc_lose_device()
	}
	for _, t := range inputs {
		if t != nil && t.root().c != nil {
			e.Inputs = append(e.Inputs, t.Summary())
		}
	}
	return e
}

// check panics when a C function returned a message.
func check(op string, msg *C.char, inputs ...*Tensor) {
	if msg != nil {
		panic(takeMessage(op, msg, inputs...))
	}
}

// misuse panics with an Error that libtorch did not write.
func misuse(op, format string, args ...any) {
	panic(&Error{Op: op, Msg: fmt.Sprintf(format, args...)})
}

// catch turns the panic of an operator into an error and lets every other panic pass.
func catch(err *error) {
	switch e := recover().(type) {
	case nil:
	case *Error:
		*err = e
	default:
		panic(e)
	}
}
