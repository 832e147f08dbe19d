// Package nn holds layers and the walk over a model's parameters.
//
// # Models
//
// A model is a plain struct. Each exported field carries its state-dict key as a tag, and "-" marks
// configuration:
//
//	type MLP struct {
//		Fc1 *nn.Linear `torch:"fc1"`
//		Fc2 *nn.Linear `torch:"fc2"`
//	}
//
// [Params] yields what an optimiser trains, [State] what is saved, loaded and moved. They differ by
// the buffers, which Forward computes and no gradient reaches: `torch:"running_mean,buffer"`.
// [SetTraining] reaches every layer that behaves differently in training.
//
// # Layers
//
// Constructors initialise as the layers of torch.nn do. They draw from libtorch's default
// generator, so that after [torch.ManualSeed] a layer has the very numbers that it has in Python
// after torch.manual_seed. [Parameter] alone leaves its memory as it is, for weights that are
// loaded.
//
// Forward runs inside [torch.Do]. Constructors and Forward panic with *[torch.Error] if a shape
// does not fit.
package nn

import (
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"

	"github.com/goclip/goclip/torch"
)

// Params yields every parameter under model with its state-dict key, in the order of declaration. A
// nil parameter (an absent bias) is left out, and so is a nil module. A tensor that several fields share,
// a tied weight, is one parameter, under its first key. An exported field without a tag panics with
// *torch.Error, so that a forgotten tag never loses a weight; the tag "-" marks configuration.
func Params(model any) iter.Seq2[string, *torch.Tensor] {
	return func(yield func(string, *torch.Tensor) bool) {
		seen := map[*torch.Tensor]bool{}
		walk(reflect.ValueOf(model), "", false, func(key string, t *torch.Tensor) bool {
			if seen[t] {
				return true
			}
			seen[t] = true
			return yield(key, t)
		})
	}
}

// State is [Params] with the buffers, each where it is declared, and tied weights under all their keys:
// the state dict.
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
	case reflect.Func: // a [Func] has no parameters
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
				misuse("field %s.%s has no `torch` tag", v.Type(), field.Name)
			case option != "" && option != "buffer":
				misuse("field %s.%s: the only option of a `torch` tag is buffer, not %s", v.Type(), field.Name, option)
			case option == "buffer" && !buffers:
				continue
			}
			if !walk(v.Field(i), join(key, tag), buffers, yield) {
				return false
			}
		}
	case reflect.Invalid: // nil holds none
	default:
		misuse("%q: a %s holds no parameters", key, v.Type())
	}
	return true
}

func misuse(format string, args ...any) {
	panic(&torch.Error{Op: "parameters", Msg: fmt.Sprintf(format, args...)})
}

// join leaves out an empty tag: the keys of such a field stand beside its neighbours'.
func join(prefix, key string) string {
	if prefix == "" || key == "" {
		return prefix + key
	}
	return prefix + "." + key
}

// Modules returns the modules of type M under model, such as *[BatchNorm2d], in the order of
// declaration. The fields are those that [Params] looks into.
func Modules[M any](model any) (all []M) {
	var find func(v reflect.Value)
	find = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if v.IsNil() {
				return
			}
			if m, ok := v.Interface().(M); ok {
				all = append(all, m)
				return
			}
			find(v.Elem())
		case reflect.Slice:
			for i := range v.Len() {
				find(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if field := v.Type().Field(i); field.IsExported() && field.Tag.Get("torch") != "-" && field.Type != reflect.TypeFor[*torch.Tensor]() {
					find(v.Field(i))
				}
			}
		}
	}
	find(reflect.ValueOf(model))
	return all
}
