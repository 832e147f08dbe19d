package checkpoint

import (
	"fmt"
	"strings"
)

// global is a name of Python's that a pickle may mention. Those with a call may be called, which makes a value of the
// arguments here, in Go; the others are types and stand for themselves.
type global struct {
	name  string
	dtype DType // of a storage type or of a dtype
	call  func(u *unpickler, args tuple) (any, error)
	class bool // of TorchScript
}

// globals is all that a pickle may name, beside TorchScript's classes.
var globals = func() map[string]*global {
	g := map[string]*global{}
	call := func(f func(u *unpickler, args tuple) (any, error), names ...string) {
		for _, name := range names {
			g[name] = &global{name: name, call: f}
		}
	}
	call(rebuildTensor, "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3")
	call(first, "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state", "torch.Size",
		"torch.jit._pickle.build_intlist", "torch.jit._pickle.build_tensorlist", "torch.jit._pickle.build_doublelist",
		"torch.jit._pickle.build_boollist", "torch.jit._pickle.restore_type_tag")
	call(rebuildSubclass, "torch._tensor._rebuild_from_type_v2")
	call(makeDict, "collections.OrderedDict", "collections.Counter")
	call(ignored, "torch.device", "torch.serialization._get_layout", "_codecs.encode", "builtins.set", "builtins.bytearray", "builtins.complex")
	call(nil, "torch.Tensor", "torch.nn.parameter.Parameter", "torch.storage.UntypedStorage", "torch.storage._UntypedStorage",
		"torch.UntypedStorage", "torch.storage.TypedStorage", "torch.storage._TypedStorage")
	for name, d := range map[string]DType{
		"Double": F64, "Float": F32, "Half": F16, "BFloat16": BF16, "Long": I64, "Int": I32, "Short": I16, "Char": I8, "Byte": U8, "Bool": Bool,
	} {
		for _, module := range []string{"torch.", "torch.cuda."} {
			g[module+name+"Storage"] = &global{name: module + name + "Storage", dtype: d}
		}
	}
	for d, t := range dtypes {
		g["torch."+t.String()] = &global{name: "torch." + t.String(), dtype: d}
	}
	return g
}()

func (u *unpickler) global(module, name string) {
	if module == "__builtin__" { // Python 2's
		module = "builtins"
	}
	full := module + "." + name
	if g, ok := globals[full]; ok {
		u.push(g)
		return
	}
	if u.classes && strings.HasPrefix(full, "__torch__.") {
		u.charge(valueCost + len(full))
		u.push(&global{name: full, class: true})
		return
	}
	if module == "torch" && (strings.HasSuffix(name, "Storage") || strings.HasPrefix(name, "uint") || strings.HasPrefix(name, "complex") || strings.HasPrefix(name, "float")) {
		u.fail("it has a tensor of the type %s, which goclip does not read", printable(full))
	}
	u.fail("its pickle tries to call %s; goclip never runs code of a file: save the model's state_dict() alone, or as safetensors", printable(full))
}

func (u *unpickler) call() {
	args, okArgs := u.pop().(tuple)
	g, ok := u.pop().(*global)
	if !ok || !okArgs || g.call == nil {
		u.fail("its pickle calls something that is not a function that goclip knows, at byte %d", u.pos)
	}
	v, err := g.call(u, args)
	if err != nil {
		panic(fault{fmt.Errorf("%s: %w", g.name, err)})
	}
	u.push(v)
}

// newObject makes an object of a TorchScript class, whose attributes follow by build, or an OrderedDict.
func (u *unpickler) newObject() {
	args, okArgs := u.pop().(tuple)
	g, ok := u.pop().(*global)
	switch {
	case ok && okArgs && g.class && len(args) == 0:
		u.charge(valueCost)
		u.push(&object{class: g.name})
	case ok && okArgs && g.name == "collections.OrderedDict" && len(args) == 0:
		u.charge(valueCost)
		u.push(&dict{})
	default:
		u.fail("its pickle makes an object of something that is not a class that goclip knows, at byte %d", u.pos)
	}
}

// build gives an object its attributes. Those of a state_dict (_metadata, the modules' versions) and of a tensor go.
func (u *unpickler) build() {
	state := u.pop()
	switch to := u.top().(type) {
	case *object:
		d, ok := state.(*dict)
		if !ok || to.state != nil {
			u.fail("its pickle gives an object of %s a state that is not a dict of attributes", printable(to.class))
		}
		to.state = d
	case *dict, *tensor:
	default:
		u.fail("its pickle sets attributes of something that has none, at byte %d", u.pos)
	}
}

// first is for calls that dress their first argument: a parameter is its tensor, a typed list its list.
func first(_ *unpickler, args tuple) (any, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("it lacks its argument")
	}
	return args[0], nil
}

// rebuildSubclass is for tensors with Python attributes: the function that makes it, its class, its arguments.
func rebuildSubclass(u *unpickler, args tuple) (any, error) {
	if len(args) >= 3 {
		f, ok := args[0].(*global)
		inner, okToo := args[2].(tuple)
		if ok && okToo && strings.HasPrefix(f.name, "torch._utils._rebuild_") {
			return f.call(u, inner)
		}
	}
	return nil, fmt.Errorf("it makes no tensor")
}

// makeDict is OrderedDict() or, as Python 2 wrote it, OrderedDict([[key, value], ...]).
func makeDict(u *unpickler, args tuple) (any, error) {
	u.charge(valueCost)
	d := &dict{}
	if len(args) == 0 {
		return d, nil
	}
	switch from := args[0].(type) {
	case *dict:
		return from, nil
	case *list:
		u.charge(valueCost * len(from.items))
		d.keys, d.values = make([]any, 0, len(from.items)), make([]any, 0, len(from.items))
		for _, item := range from.items {
			pair, _ := sequence(item)
			if len(pair) != 2 {
				return nil, fmt.Errorf("its list holds something that is not a pair")
			}
			d.keys, d.values = append(d.keys, pair[0]), append(d.values, pair[1])
		}
		return d, nil
	}
	return nil, fmt.Errorf("its argument is not a list of pairs")
}

// ignored makes nothing: no weight depends on it.
func ignored(*unpickler, tuple) (any, error) { return opaque{}, nil }
