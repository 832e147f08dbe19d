package nn

import (
	"reflect"

	"github.com/goclip/goclip/torch"
)

// Module is a layer that maps one tensor to another.
type Module interface {
	Forward(x *torch.Tensor) *torch.Tensor
}

// Sequential applies modules one after the other. The keys of its parameters begin with "0", "1",
// ..., as torch.nn.Sequential's do; modules without parameters count.
type Sequential []Module

// Forward returns the last module's result of the one before's, and so on; with no modules it is x.
func (s Sequential) Forward(x *torch.Tensor) *torch.Tensor {
	for _, m := range s {
		x = m.Forward(x)
	}
	return x
}

// Func is a module without parameters. Any method of [torch.Tensor] that takes nothing else makes
// one: nn.Func((*torch.Tensor).Exp).
type Func func(x *torch.Tensor) *torch.Tensor

// Forward is f(x).
func (f Func) Forward(x *torch.Tensor) *torch.Tensor { return f(x) }

// Activations for a [Sequential]. They keep the shape.
var (
	GELU    = Func((*torch.Tensor).Gelu) // exact, not the tanh approximation
	ReLU    = Func((*torch.Tensor).Relu)
	SiLU    = Func((*torch.Tensor).Silu)
	Sigmoid = Func((*torch.Tensor).Sigmoid)
	Tanh    = Func((*torch.Tensor).Tanh)
)

// Dropout puts 0 in place of a share P of the elements in training and divides the others by 1-P.
// Else it changes nothing.
type Dropout struct {
	P        float64 `torch:"-"`
	training bool
}

// NewDropout is off until [SetTraining].
func NewDropout(p float64) *Dropout { return &Dropout{P: p} }

// SetTraining switches the dropout on or off.
func (d *Dropout) SetTraining(on bool) { d.training = on }

// Forward keeps the shape.
func (d *Dropout) Forward(x *torch.Tensor) *torch.Tensor {
	if !d.training || d.P == 0 {
		return x
	}
	return x.Dropout(d.P)
}

// SetTraining calls SetTraining(on) of every module below model that has such a method, and leaves
// to that method what is below it. A model may so implement its own SetTraining by
// SetTraining(model, on).
func SetTraining(model any, on bool) { setTraining(reflect.ValueOf(model), on, true) }

func setTraining(v reflect.Value, on, top bool) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return
		}
		if m, ok := v.Interface().(interface{ SetTraining(on bool) }); ok && !top {
			m.SetTraining(on)
			return
		}
		if v.Kind() == reflect.Pointer {
			top = false
		}
		if _, ok := v.Interface().(*torch.Tensor); ok {
			return
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			setTraining(v.Index(i), on, false)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() && field.Tag.Get("torch") != "-" {
				setTraining(v.Field(i), on, false)
			}
		}
	}
}
