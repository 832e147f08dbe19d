package torch

// Operators that make, copy, move and overwrite tensors.

var (
	opTo         = NewOp("aten::to.dtype_layout")
	opContiguous = NewOp("aten::contiguous")
	opClone      = NewOp("aten::clone")
	opDetach     = NewOp("aten::detach")
	opCopy       = NewOp("aten::copy_")
	opClamp      = NewOp("aten::clamp_")
	opFill       = NewOp("aten::fill_.Scalar")
	opMulInto    = NewOp("aten::mul_.Scalar")
	opAddInto    = NewOp("aten::add_.Scalar")
	opArange     = NewOp("aten::arange")
	opZeros      = NewOp("aten::zeros")
	opOnes       = NewOp("aten::ones")
	opEmpty      = NewOp("aten::empty.memory_format")
	opFromFile   = NewOp("aten::from_file")
	opSet        = NewOp("aten::set_.source_Tensor")
	opRand       = NewOp("aten::rand")
	opRandn      = NewOp("aten::randn")
	opNormal     = NewOp("aten::normal_")
	opUniform    = NewOp("aten::uniform_")
)

// To converts to a type and moves to a device: (...) -> (...). t itself comes back, as another
// handle, when nothing changes.
func (t *Tensor) To(d Device, dtype DType) *Tensor { return opTo.Call(t, dtype, nil, d) }

// Contiguous is t with its elements one behind the other in memory: (...) -> (...). It copies only
// if they are not.
func (t *Tensor) Contiguous() *Tensor { return opContiguous.Call(t) }

// Clone returns a copy, through which gradients flow: (...) -> (...).
func (t *Tensor) Clone() *Tensor { return opClone.Call(t) }

// Detach shares t's memory and is a leaf that requires no gradient: (...) -> (...).
func (t *Tensor) Detach() *Tensor { return opDetach.Call(t) }

// In place: they overwrite t, of any shape, and return it. On a tensor that requires a gradient
// they need [NoGrad], as in Python.

// CopyFrom overwrites t with u, broadcast to the shape of t and converted to its type.
func (t *Tensor) CopyFrom(u *Tensor) *Tensor { opCopy.Run(nil, t, u); return t }

// ClampInPlace makes every element at least min and at most max.
func (t *Tensor) ClampInPlace(min, max float64) *Tensor { opClamp.Run(nil, t, min, max); return t }

// Fill sets every element to v.
func (t *Tensor) Fill(v float64) *Tensor { opFill.Run(nil, t, v); return t }

// MulInPlace multiplies every element by v.
func (t *Tensor) MulInPlace(v float64) *Tensor { opMulInto.Run(nil, t, v); return t }

// AddInPlace adds v to every element.
func (t *Tensor) AddInPlace(v int) *Tensor { opAddInto.Run(nil, t, v); return t }

// NormalInPlace draws every element from the normal distribution.
func (t *Tensor) NormalInPlace(mean, std float64) *Tensor { opNormal.Run(nil, t, mean, std); return t }

// UniformInPlace draws every element from [from, to).
func (t *Tensor) UniformInPlace(from, to float64) *Tensor { opUniform.Run(nil, t, from, to); return t }

// Factories. The result has the given shape, none for a scalar, and belongs to s or, if s is nil,
// to the garbage collector.

// Zeros is full of 0.
func Zeros(s *Scope, d Device, dtype DType, shape ...int) *Tensor {
	return opZeros.In(s, shape, dtype, nil, d)
}

// Ones is full of 1.
func Ones(s *Scope, d Device, dtype DType, shape ...int) *Tensor {
	return opOnes.In(s, shape, dtype, nil, d)
}

// Empty is full of what lies in its memory.
func Empty(s *Scope, d Device, dtype DType, shape ...int) *Tensor {
	return opEmpty.In(s, shape, dtype, nil, d)
}

// Randn is float32 from the standard normal distribution.
func Randn(s *Scope, d Device, shape ...int) *Tensor { return opRandn.In(s, shape, Float32, nil, d) }

// Rand is float32 from [0, 1).
func Rand(s *Scope, d Device, shape ...int) *Tensor { return opRand.In(s, shape, Float32, nil, d) }

// Arange is 0, 1, ..., n-1 as int64: (n).
func Arange(s *Scope, d Device, n int) *Tensor { return opArange.In(s, n, Int64, nil, d) }

// FromFile maps the first n float32 numbers of a file as a tensor that the garbage collector frees.
// What is written into it stays out of the file.
func FromFile(path string, n int) (t *Tensor, err error) {
	err = NoGrad(func(s *Scope) { t = opFromFile.In(s, path, false, n, Float32, nil, CPU).Keep() })
	return t, err
}

// ShareStorage has t be the numbers of source, which is contiguous, from offset on, in row-major
// order, of the given shape, and gives back its own memory. t stays as it is if source has fewer.
func (t *Tensor) ShareStorage(source *Tensor, offset int, shape ...int) {
	n := 1
	for _, d := range shape {
		if offset < 0 || d < 0 || d > 0 && n > source.Numel()/d {
			misuse("share", "the tensor has %d numbers, none of the shape %v from %d on", source.Numel(), shape, offset)
		}
		n *= d
	}
	// Views are made first: set_ with a shape and strides throws after it has given t the shape, which then claims
	// memory that t does not have.
	flat := source.View(-1)
	defer flat.Free()
	part := flat.Narrow(0, offset, n)
	defer part.Free()
	part = part.View(shape...)
	defer part.Free()
	opSet.Run(nil, t, part)
}

// Like-factories take scope and device from t, and nothing else.

// ArangeLike is [Arange] in the scope and on the device of t.
func ArangeLike(t *Tensor, n int) *Tensor {
	d := t.Device()
	return Arange(t.scope, d, n)
}

// RandLike is [Rand] in the scope and on the device of t.
func RandLike(t *Tensor, shape ...int) *Tensor {
	d := t.Device()
	return Rand(t.scope, d, shape...)
}

// OnesLike is float32 [Ones] in the scope and on the device of t.
func OnesLike(t *Tensor, shape ...int) *Tensor {
	d := t.Device()
	return Ones(t.scope, d, Float32, shape...)
}

// FromSliceLike is [FromSlice] in the scope and on the device of t. It does not wait for what a GPU
// is doing: CUDA takes the numbers into memory of its own at once.
func FromSliceLike[T Element](t *Tensor, data []T, shape ...int) *Tensor {
	d := t.Device()
	return opTo.Call(FromSlice(t.scope, data, shape...), dtypeOf[T](), nil, d, nil, true)
}
