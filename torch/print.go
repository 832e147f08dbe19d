package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_grad_fn
#cgo nocallback gc_grad_fn
*/
import "C"

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
)

// How PyTorch prints tensors (torch/_tensor_str.py, the default options): four digits, lines of 80
// columns, and of more than 1000 elements the first and last three along each dimension.
const (
	printPrecision = 4
	printThreshold = 1000
	printEdge      = 3
	printWidth     = 80
	printIndent    = len("tensor(")
)

// String is t with its numbers, as Python's print(t) shows it: "tensor([[1., 2.]])". It reads t, so
// that on a GPU it waits for what the device was given. [Tensor.Summary] is the type and the shape
// alone.
func (t *Tensor) String() (text string) {
	if t == nil || t.root().c == nil {
		return t.Summary()
	}
	var failed error
	defer func() {
		if failed != nil {
			text = t.Summary() // a sparse or a nested one, and what else has no rows of numbers
		}
	}()
	defer catch(&failed)
	return t.print()
}

func (t *Tensor) print() string {
	shape, dtype, device := t.Shape(), t.DType(), t.Device()
	var suffixes []string
	if device != CPU {
		suffixes = append(suffixes, "device='"+device.String()+"'")
	}
	numbers := "[]"
	if t.Numel() == 0 {
		if len(shape) != 1 {
			suffixes = append(suffixes, "size="+tuple(shape))
		}
		if dtype != Float32 {
			suffixes = append(suffixes, "dtype=torch."+dtype.String())
		}
	} else {
		if dtype != Float32 && dtype != Int64 && dtype != Bool {
			suffixes = append(suffixes, "dtype=torch."+dtype.String())
		}
		numbers = t.numbers(shape)
	}
	if name := t.gradFn(); name != "" {
		suffixes = append(suffixes, "grad_fn=<"+name+">")
	} else if t.RequiresGrad() {
		suffixes = append(suffixes, "requires_grad=True")
	}
	var b strings.Builder
	b.WriteString("tensor(" + numbers)
	line := b.Len() - strings.LastIndex(b.String(), "\n") + 1
	for _, suffix := range suffixes {
		if line+len(suffix)+2 > printWidth {
			b.WriteString(",\n" + strings.Repeat(" ", printIndent) + suffix)
			line = printIndent + len(suffix)
		} else {
			b.WriteString(", " + suffix)
			line += len(suffix) + 2
		}
	}
	return b.String() + ")"
}

// gradFn is the name of the node that computed t, "" for a leaf.
func (t *Tensor) gradFn() string {
	var name *C.char
	check("grad_fn", C.gc_grad_fn(t.local("grad_fn"), &name))
	runtime.KeepAlive(t)
	if name == nil {
		return ""
	}
	defer C.gc_free_message(name)
	full := C.GoString(name)
	return full[strings.LastIndex(full, ":")+1:]
}

func tuple(shape []int) string {
	parts := make([]string, len(shape))
	for i, n := range shape {
		parts[i] = strconv.Itoa(n)
	}
	if len(parts) == 1 {
		return "(" + parts[0] + ",)"
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// numbers is the elements in brackets. Only those that are shown are read.
func (t *Tensor) numbers(shape []int) (text string) {
	s := newScope(C.GC_NO_GRAD, C.gc_thread())
	defer s.close()
	x := s.Alias(t).shown(shape)
	p := printer{shape: x.Shape(), full: shape, short: product(shape) > printThreshold}
	p.read(x)
	p.measure()
	return p.block(0, 0, printIndent)
}

// shown is the elements of t that are printed: all, or the first and last along each dimension.
func (t *Tensor) shown(shape []int) *Tensor {
	if product(shape) <= printThreshold {
		return t
	}
	for dim, n := range shape {
		if n > 2*printEdge {
			t = Cat(dim, t.Narrow(dim, 0, printEdge), t.Narrow(dim, n-printEdge, printEdge))
		}
	}
	return t
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// printer lays out the numbers of a tensor of the shape full, of which it has those of shape.
type printer struct {
	shape, full []int
	short       bool // whether there is an ellipsis
	words       []string
	floats      []float64 // of a floating type, else nil
	width       int
}

func (p *printer) read(t *Tensor) {
	switch dtype := t.DType(); {
	case dtype.floating():
		p.floats = ToSlice[float64](t.To(CPU, Float64))
	case dtype == Bool:
		for _, b := range ToSlice[bool](t) {
			p.words = append(p.words, map[bool]string{true: "True", false: "False"}[b])
		}
	default:
		for _, n := range ToSlice[int64](t.To(CPU, Int64)) {
			p.words = append(p.words, strconv.FormatInt(n, 10))
		}
	}
}

// measure writes each number separately, with the digits that all of them call for, and finds the
// width of the widest.
func (p *printer) measure() {
	whole, low, high := true, math.Inf(1), 0.
	for _, v := range p.floats {
		if a := math.Abs(v); a != 0 && !math.IsInf(v, 0) && !math.IsNaN(v) {
			whole = whole && v == math.Ceil(v)
			low, high = min(low, a), max(high, a)
		}
	}
	scientific := high > 0 && (high/low > 1000 || high > 1e8 || low < 1e-4)
	p.width = 1
	for _, v := range p.floats {
		word, finite := "", !math.IsInf(v, 0) && !math.IsNaN(v)
		switch {
		case math.IsNaN(v):
			word = "nan"
		case math.IsInf(v, 0):
			word = strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(v, 'g', -1, 64), "+"))
		case scientific:
			word = strconv.FormatFloat(v, 'e', printPrecision, 64)
		case whole:
			word = strconv.FormatFloat(v, 'f', 0, 64) + "."
		default:
			word = strconv.FormatFloat(v, 'f', printPrecision, 64)
		}
		if finite && v != 0 {
			p.width = max(p.width, len(word))
		}
		p.words = append(p.words, word)
	}
	if p.floats == nil {
		for _, word := range p.words {
			p.width = max(p.width, len(word))
		}
	}
}

// block is the part of dimension dim that begins at the element offset.
func (p *printer) block(dim, offset, indent int) string {
	if dim == len(p.shape) {
		return fmt.Sprintf("%*s", p.width, p.words[offset])
	}
	n, step := p.shape[dim], product(p.shape[dim+1:])
	last := dim == len(p.shape)-1
	var parts []string
	for i := range n {
		if p.short && p.full[dim] > n && i == printEdge {
			parts = append(parts, map[bool]string{true: " ...", false: "..."}[last])
		}
		parts = append(parts, p.block(dim+1, offset+i*step, indent+1))
	}
	margin := strings.Repeat(" ", indent+1)
	if !last {
		return "[" + strings.Join(parts, ","+strings.Repeat("\n", len(p.shape)-dim-1)+margin) + "]"
	}
	per := max(1, (printWidth-indent)/(p.width+2))
	var lines []string
	for len(parts) > per {
		lines, parts = append(lines, strings.Join(parts[:per], ", ")), parts[per:]
	}
	return "[" + strings.Join(append(lines, strings.Join(parts, ", ")), ",\n"+margin) + "]"
}
