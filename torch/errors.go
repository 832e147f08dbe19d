package torch

// #include "../csrc/goclip.h"
import "C"

import (
	"fmt"
	"strings"
)

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
