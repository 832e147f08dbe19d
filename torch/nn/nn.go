// Package nn holds the layers that CLIP is made of, and the walk over a model's parameters.
//
// A module is a plain struct whose fields carry their state-dict key as a tag, `torch:"ln_1"`. One walk serves all:
// [Params] for what an optimiser trains, [State] for what is saved, loaded and moved. They differ by the buffers, which a
// forward computes and no gradient reaches: `torch:"running_mean,buffer"`. Layers are tensor-level: their methods run
// inside torch.Do and panic with *torch.Error.
package nn

import (
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"

	"github.com/goclip/goclip/torch"
)

// Linear is x @ Weight^T + Bias with Weight (out, in) and Bias (out), which may be absent.
type Linear struct {
	Weight *torch.Tensor `torch:"weight"`
	Bias   *torch.Tensor `torch:"bias"`
	LoRA   *LoRA         `torch:""` // nil but in low-rank adaptation
}

// NewLinear allocates without initialising.
func NewLinear(in, out int) *Linear { return &Linear{Weight: Parameter(out, in), Bias: Parameter(out)} }

// Forward maps (..., in) to (..., out).
func (l *Linear) Forward(x *torch.Tensor) *torch.Tensor {
	return l.LoRA.Add(x.Linear(l.Weight, l.Bias), x)
}

// LayerNorm normalises the last dimension, of size W; Weight and Bias are (W).
type LayerNorm struct {
	Weight *torch.Tensor `torch:"weight"`
	Bias   *torch.Tensor `torch:"bias"`
	Eps    float64       `torch:"-"`
}

// NewLayerNorm has gain 1, bias 0 and PyTorch's epsilon 1e-5.
func NewLayerNorm(width int) *LayerNorm {
	ln := &LayerNorm{Weight: Parameter(width), Bias: Parameter(width), Eps: 1e-5}
	ln.Weight.Detach().Fill(1)
	ln.Bias.Detach().Fill(0)
	return ln
}

// Forward keeps the shape.
func (l *LayerNorm) Forward(x *torch.Tensor) *torch.Tensor {
	return x.LayerNorm(l.Weight, l.Bias, l.Eps)
}

// Weight is a lone tensor under the key "weight": an embedding's table, a convolution's kernel.
type Weight struct {
	Weight *torch.Tensor `torch:"weight"`
}

// Parameter is an uninitialised float32 tensor on the CPU that requires a gradient and belongs to the garbage collector.
func Parameter(shape ...int) *torch.Tensor {
	return torch.Empty(nil, torch.CPU, torch.Float32, shape...).SetRequiresGrad(true)
}

// Params yields every parameter under model with its state-dict key, in the order of declaration. A nil parameter (an
// absent bias) is left out, and so is a nil module. An exported field without a tag panics, so that a forgotten tag never
// loses a weight; the tag "-" marks configuration.
func Params(model any) iter.Seq2[string, *torch.Tensor] {
	return func(yield func(string, *torch.Tensor) bool) { walk(reflect.ValueOf(model), "", false, yield) }
}

// State is [Params] with the buffers, each where it is declared: the state dict.
func State(model any) iter.Seq2[string, *torch.Tensor] {
	return func(yield func(string, *torch.Tensor) bool) { walk(reflect.ValueOf(model), "", true, yield) }
}

func walk(v reflect.Value, key string, buffers bool, yield func(string, *torch.Tensor) bool) bool {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return true
		}
		if v.Kind() == reflect.Pointer { // an interface may hold a nil one
			if t, ok := v.Interface().(*torch.Tensor); ok {
				return yield(key, t)
			}
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			if !walk(v.Index(i), join(key, strconv.Itoa(i)), buffers, yield) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			tag, tagged := field.Tag.Lookup("torch")
			tag, option, _ := strings.Cut(tag, ",")
			switch {
			case !field.IsExported() || tag == "-":
				continue
			case !tagged:
				panic(fmt.Sprintf("nn: field %s.%s has no `torch` tag", v.Type(), field.Name))
			case option != "" && option != "buffer":
				panic(fmt.Sprintf("nn: field %s.%s: the only option of a `torch` tag is buffer, not %s", v.Type(), field.Name, option))
			case option == "buffer" && !buffers:
				continue
			}
			if !walk(v.Field(i), join(key, tag), buffers, yield) {
				return false
			}
		}
	default:
		panic(fmt.Sprintf("nn: %s: a %s holds no parameters", key, v.Type()))
	}
	return true
}

// join leaves out an empty tag: the keys of such a field stand beside its neighbours'.
func join(prefix, key string) string {
	if prefix == "" || key == "" {
		return prefix + key
	}
	return prefix + "." + key
}
