package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// maxDims is libtorch's limit (at::kVmapNumLevels and the dimensions of a TensorIterator).
const maxDims = 64

// storage is a run of bytes that tensors look into.
type storage struct {
	key   string
	dtype DType // "" of an untyped one
	size  int64 // in bytes, as the pickle says
	data  []byte
	root  *storage // of a view, as PyTorch before 0.4 wrote them
	from  int64    // where the view begins in root
}

// bytes is the storage's data, once it has been found.
func (s *storage) bytes() ([]byte, error) {
	from, root := int64(0), s
	if s.root != nil {
		from, root = s.from, s.root
	}
	if from+s.size > int64(len(root.data)) {
		return nil, fmt.Errorf("its storage %s of %d bytes is not in the file", printable(root.key), from+s.size)
	}
	return root.data[from : from+s.size], nil
}

// tensor is a strided view of a storage, as in libtorch. Counts are in elements.
type tensor struct {
	storage *storage
	dtype   DType
	offset  int64
	shape   []int64
	strides []int64
	numel   int64
	rows    []byte // the elements in row-major order, once asked for
}

// sizeOf is the number of elements of a shape times unit, or an error if a size is negative or the product, empty
// dimensions left out, goes beyond an int64.
func sizeOf(shape []int64, unit int64) (int64, error) {
	n, empty := unit, false
	for _, d := range shape {
		switch {
		case d < 0:
			return 0, fmt.Errorf("its shape %v has a negative size", shape)
		case d == 0:
			empty = true
		case n > math.MaxInt64/d:
			return 0, fmt.Errorf("its shape %v is too large", shape)
		default:
			n *= d
		}
	}
	if empty {
		return 0, nil
	}
	return n, nil
}

// rebuildTensor is torch._utils._rebuild_tensor(storage, offset, size, stride), of which the versions 2 and 3 add
// requires_grad, hooks and metadata, and version 3 a dtype before the last, since its storage has none.
func rebuildTensor(u *unpickler, args tuple) (any, error) {
	if len(args) < 4 {
		return nil, errors.New("a tensor lacks its storage, offset, shape or strides")
	}
	s, ok := args[0].(*storage)
	offset, okOffset := args[1].(int64)
	if !ok || !okOffset {
		return nil, errors.New("a tensor's storage or offset is of a wrong kind")
	}
	u.charge(memoCost)
	t := &tensor{storage: s, dtype: s.dtype, offset: offset}
	for _, arg := range args[min(len(args), 6):] {
		switch a := arg.(type) {
		case *global:
			t.dtype = a.dtype
		case *dict: // torch._utils.set_tensor_metadata: bits that say how to take the elements
			if len(a.keys) > 0 {
				return nil, errors.New("a tensor is saved as the negative or conjugate of its storage: save a clone of it")
			}
		}
	}
	if t.dtype == "" {
		return nil, errors.New("a tensor's storage is untyped, and no type is given")
	}
	var err error
	if t.shape, err = u.integers(args[2]); err != nil {
		return nil, err
	}
	if t.strides, err = u.integers(args[3]); err != nil {
		return nil, err
	}
	return t, t.check()
}

func (u *unpickler) integers(v any) ([]int64, error) {
	from, ok := sequence(v)
	if !ok {
		return nil, errors.New("a tensor's shape or strides are no tuple")
	}
	if len(from) > maxDims {
		return nil, fmt.Errorf("a tensor has %d dimensions, more than %d", len(from), maxDims)
	}
	u.charge(8 * len(from))
	out := make([]int64, len(from))
	for i, x := range from {
		n, ok := x.(int64)
		if !ok {
			return nil, errors.New("a tensor's shape or strides are no integers")
		}
		out[i] = n
	}
	return out, nil
}

// check proves that every element lies inside the storage.
func (t *tensor) check() error {
	if len(t.shape) != len(t.strides) {
		return fmt.Errorf("a tensor of %d dimensions has %d strides", len(t.shape), len(t.strides))
	}
	size := int64(t.dtype.Size())
	var err error
	if t.numel, err = sizeOf(t.shape, size); err != nil {
		return fmt.Errorf("a tensor: %w", err)
	}
	t.numel /= size
	last, have := t.offset, t.storage.size/size // the last element's place must be below have
	outside := func() error {
		return fmt.Errorf("a tensor of shape %v, strides %v and offset %d goes beyond its storage of %d elements", t.shape, t.strides, t.offset, have)
	}
	if slices.ContainsFunc(t.strides, func(n int64) bool { return n < 0 }) || t.offset < 0 || t.offset > have {
		return outside()
	}
	if t.numel == 0 {
		return nil
	}
	for i, n := range t.shape {
		if n > 1 && t.strides[i] > (have-last)/(n-1) {
			return outside()
		}
		if n > 1 {
			last += (n - 1) * t.strides[i]
		}
	}
	if last >= have {
		return outside()
	}
	return nil
}

// data is the tensor's elements in row-major order: a part of the storage where they lie so, a copy otherwise, for
// which left bytes may be taken.
func (t *tensor) data(left *int) ([]byte, error) {
	if t.rows != nil {
		return t.rows, nil
	}
	all, err := t.storage.bytes()
	if err != nil {
		return nil, err
	}
	size := int64(t.dtype.Size())
	if t.numel == 0 {
		return []byte{}, nil
	}
	// The last dimensions lie in order up to outer: runs of run elements, to be placed one after the other.
	outer, run := len(t.shape), int64(1)
	for outer > 0 && (t.shape[outer-1] == 1 || t.strides[outer-1] == run) {
		outer--
		run *= t.shape[outer]
	}
	if outer == 0 {
		t.rows = all[t.offset*size:][: t.numel*size : t.numel*size]
		return t.rows, nil
	}
	if t.numel*size > int64(*left) {
		return nil, fmt.Errorf("a tensor of shape %v and strides %v unfolds to %d bytes, more than the file has", t.shape, t.strides, t.numel*size)
	}
	*left -= int(t.numel * size)
	t.rows = make([]byte, 0, t.numel*size)
	at, index := t.offset, make([]int64, outer)
	for {
		t.rows = append(t.rows, all[at*size:][:run*size]...)
		d := outer - 1
		for ; d >= 0; d-- {
			at += t.strides[d]
			if index[d]++; index[d] < t.shape[d] {
				break
			}
			at -= t.shape[d] * t.strides[d]
			index[d] = 0
		}
		if d < 0 {
			return t.rows, nil
		}
	}
}
