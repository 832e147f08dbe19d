package checkpoint

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxNesting bounds containers in containers. TorchScript's CLIP nests 8 deep.
const maxNesting = 64

// copySlack is what tensors that are not in row-major order may take beyond the file's size.
const copySlack = 8 << 20

// weights lists the tensors of what a torch.save file holds; the package comment tells the rule.
func (f *File) weights(root any, fileSize int, left *int) error {
	f.metadata = map[string]string{}
	w := walker{file: f, left: left, copies: fileSize + copySlack}
	var err error
	if top, ok := root.(*dict); ok {
		w.scalars(top)
		if inner := top.wrapped(); inner != nil {
			err = w.walk("", inner, 0)
		} else {
			err = w.fields("", top.withoutOptimiser(), 0)
		}
	} else {
		if o, ok := root.(*object); ok && o.state != nil {
			w.scalars(o.state)
		}
		err = w.walk("", root, 0)
	}
	if err == nil && len(f.names) == 0 {
		err = errors.New("it holds no weights: there is no tensor in it")
	}
	return err
}

// wrapped is the dict of weights inside a training checkpoint, nil if d is the weights itself.
func (d *dict) wrapped() any {
	for _, name := range []string{"state_dict", "model_state_dict", "model"} {
		for i, key := range d.keys {
			if inner, ok := d.values[i].(*dict); ok && key == name {
				return inner
			}
		}
	}
	return nil
}

func (d *dict) withoutOptimiser() *dict {
	n := len(d.keys)
	kept := &dict{keys: make([]any, 0, n), values: make([]any, 0, n)}
	for i, key := range d.keys {
		if name, ok := key.(string); ok && strings.HasPrefix(strings.ToLower(name), "optim") {
			if _, tensor := d.values[i].(*tensor); !tensor {
				continue
			}
		}
		kept.keys, kept.values = append(kept.keys, key), append(kept.values, d.values[i])
	}
	return kept
}

// walker turns nested containers into names. Containers that share parts unfold: each step is charged.
type walker struct {
	file   *File
	left   *int
	copies int // bytes that copies may take
}

func (w *walker) scalars(d *dict) {
	for i, key := range d.keys {
		name, ok := key.(string)
		if !ok {
			continue
		}
		switch v := d.values[i].(type) {
		case string:
			w.file.metadata[name] = v
		case bool, int64, float64:
			w.file.metadata[name] = fmt.Sprint(v)
		}
	}
}

func (w *walker) walk(name string, v any, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("its containers are nested deeper than %d", maxNesting)
	}
	switch v := v.(type) {
	case *tensor:
		return w.tensor(name, v)
	case *dict:
		return w.fields(name, v, depth)
	case *object:
		if v.state == nil {
			return nil
		}
		return w.fields(name, v.state, depth)
	}
	if items, ok := sequence(v); ok {
		return w.items(name, items, depth)
	}
	return nil
}

func (w *walker) fields(name string, d *dict, depth int) error {
	if err := charge(w.left, valueCost+len(d.values)); err != nil {
		return err
	}
	for i, v := range d.values {
		if !holds(v) {
			continue
		}
		var key string
		switch k := d.keys[i].(type) {
		case string:
			key = k
		case int64:
			key = strconv.FormatInt(k, 10)
		default:
			return fmt.Errorf("something under %q lies under a key that is neither a string nor a number", name)
		}
		if err := w.join(name, key, v, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) items(name string, items []any, depth int) error {
	if err := charge(w.left, valueCost+len(items)); err != nil {
		return err
	}
	for i, v := range items {
		if !holds(v) {
			continue
		}
		if err := w.join(name, strconv.Itoa(i), v, depth); err != nil {
			return err
		}
	}
	return nil
}

// holds says whether v is a tensor or may hold one.
func holds(v any) bool {
	switch v.(type) {
	case *tensor, *dict, *object, tuple, *list:
		return true
	}
	return false
}

func (w *walker) join(name, key string, v any, depth int) error {
	if name != "" {
		key = name + "." + key
	}
	if err := charge(w.left, len(key)); err != nil {
		return err
	}
	return w.walk(key, v, depth+1)
}

func (w *walker) tensor(name string, t *tensor) error {
	if name == "" {
		return errors.New("it holds a single tensor without a name, not a model's weights")
	}
	if err := charge(w.left, tableCost+8*len(t.shape)); err != nil {
		return err
	}
	data, err := t.data(&w.copies)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	e := Entry{Name: name, DType: t.dtype, Shape: make([]int, len(t.shape)), Data: data}
	for i, n := range t.shape {
		e.Shape[i] = int(n)
	}
	return w.file.add(e)
}
