package torch

// The operators that the models use, one line each. Names, argument order and semantics are PyTorch's.

var (
	opAdd         = NewOp("aten::add.Tensor")
	opAddScalar   = NewOp("aten::add.Scalar")
	opSub         = NewOp("aten::sub.Tensor")
	opMul         = NewOp("aten::mul.Tensor")
	opMulScalar   = NewOp("aten::mul.Scalar")
	opDiv         = NewOp("aten::div.Tensor")
	opPow         = NewOp("aten::pow.Tensor_Scalar")
	opNeg         = NewOp("aten::neg")
	opExp         = NewOp("aten::exp")
	opLog         = NewOp("aten::log")
	opSqrt        = NewOp("aten::sqrt")
	opAbs         = NewOp("aten::abs")
	opSplit       = NewOp("aten::split_with_sizes")
	opUnbind      = NewOp("aten::unbind.int")
	opSilu        = NewOp("aten::silu")
	opSigmoid     = NewOp("aten::sigmoid")
	opLogSigmoid  = NewOp("aten::log_sigmoid")
	opRelu        = NewOp("aten::relu")
	opGelu        = NewOp("aten::gelu")
	opSoftmax     = NewOp("aten::softmax.int")
	opLogSoftmax  = NewOp("aten::log_softmax.int")
	opTanh        = NewOp("aten::tanh")
	opErfinv      = NewOp("aten::erfinv")
	opDropout     = NewOp("aten::dropout")
	opLinear      = NewOp("aten::linear")
	opMatmul      = NewOp("aten::matmul")
	opLayerNorm   = NewOp("aten::layer_norm")
	opBatchNorm   = NewOp("aten::batch_norm")
	opAvgPool2d   = NewOp("aten::avg_pool2d")
	opEmbedding   = NewOp("aten::embedding")
	opConv2d      = NewOp("aten::conv2d")
	opSDPA        = NewOp("aten::scaled_dot_product_attention")
	opCrossEntr   = NewOp("aten::cross_entropy_loss")
	opReshape     = NewOp("aten::reshape")
	opView        = NewOp("aten::view")
	opExpand      = NewOp("aten::expand")
	opPermute     = NewOp("aten::permute")
	opTranspose   = NewOp("aten::transpose.int")
	opT           = NewOp("aten::t")
	opFlatten     = NewOp("aten::flatten.using_ints")
	opUnflatten   = NewOp("aten::unflatten.int")
	opUnsqueeze   = NewOp("aten::unsqueeze")
	opSqueeze     = NewOp("aten::squeeze.dim")
	opSelect      = NewOp("aten::select.int")
	opNarrow      = NewOp("aten::narrow")
	opCat         = NewOp("aten::cat")
	opStack       = NewOp("aten::stack")
	opGather      = NewOp("aten::gather")
	opIndex       = NewOp("aten::index.Tensor")
	opIndexSelect = NewOp("aten::index_select")
	opArgmax      = NewOp("aten::argmax")
	opTopk        = NewOp("aten::topk")
	opSum         = NewOp("aten::sum")
	opSumDim      = NewOp("aten::sum.dim_IntList")
	opMean        = NewOp("aten::mean")
	opMeanDim     = NewOp("aten::mean.dim")
	opMax         = NewOp("aten::max")
	opMaxDim      = NewOp("aten::max.dim")
	opEq          = NewOp("aten::eq.Tensor")
	opLe          = NewOp("aten::le.Tensor")
	opEqScalar    = NewOp("aten::eq.Scalar")
	opNeScalar    = NewOp("aten::ne.Scalar")
	opMaskedFill  = NewOp("aten::masked_fill.Scalar")
	opIsFinite    = NewOp("aten::isfinite")
	opAll         = NewOp("aten::all")
	opNorm        = NewOp("aten::linalg_vector_norm")
	opClampMin    = NewOp("aten::clamp_min")
	opTo          = NewOp("aten::to.dtype_layout")
	opContiguous  = NewOp("aten::contiguous")
	opClone       = NewOp("aten::clone")
	opDetach      = NewOp("aten::detach")
	opCopy        = NewOp("aten::copy_")
	opClamp       = NewOp("aten::clamp_")
	opFill        = NewOp("aten::fill_.Scalar")
	opMulInto     = NewOp("aten::mul_.Scalar")
	opAddInto     = NewOp("aten::add_.Scalar")
	opArange      = NewOp("aten::arange")
	opZeros       = NewOp("aten::zeros")
	opOnes        = NewOp("aten::ones")
	opEmpty       = NewOp("aten::empty.memory_format")
	opFromFile    = NewOp("aten::from_file")
	opSetStorage  = NewOp("aten::set_.source_Tensor_storage_offset")
	opRand        = NewOp("aten::rand")
	opRandn       = NewOp("aten::randn")
	opNormal      = NewOp("aten::normal_")
	opUniform     = NewOp("aten::uniform_")
	opLinear1d    = NewOp("aten::upsample_linear1d")
	opBicubic2dAA = NewOp("aten::_upsample_bicubic2d_aa")
)

// Arithmetic, element by element with broadcasting.

func (t *Tensor) Add(u *Tensor) *Tensor        { return opAdd.Call(t, u) }
func (t *Tensor) AddScalar(v float64) *Tensor  { return opAddScalar.Call(t, v) }
func (t *Tensor) Sub(u *Tensor) *Tensor        { return opSub.Call(t, u) }
func (t *Tensor) Mul(u *Tensor) *Tensor        { return opMul.Call(t, u) }
func (t *Tensor) MulScalar(v float64) *Tensor  { return opMulScalar.Call(t, v) }
func (t *Tensor) Div(u *Tensor) *Tensor        { return opDiv.Call(t, u) }
func (t *Tensor) Pow(exponent float64) *Tensor { return opPow.Call(t, exponent) }
func (t *Tensor) Neg() *Tensor                 { return opNeg.Call(t) }
func (t *Tensor) Exp() *Tensor                 { return opExp.Call(t) }
func (t *Tensor) Log() *Tensor                 { return opLog.Call(t) }
func (t *Tensor) Sqrt() *Tensor                { return opSqrt.Call(t) }
func (t *Tensor) Abs() *Tensor                 { return opAbs.Call(t) }
func (t *Tensor) Sigmoid() *Tensor             { return opSigmoid.Call(t) }
func (t *Tensor) Silu() *Tensor                { return opSilu.Call(t) }
func (t *Tensor) LogSigmoid() *Tensor          { return opLogSigmoid.Call(t) }
func (t *Tensor) Relu() *Tensor                { return opRelu.Call(t) }
func (t *Tensor) ClampMin(min float64) *Tensor { return opClampMin.Call(t, min) }
func (t *Tensor) Eq(u *Tensor) *Tensor         { return opEq.Call(t, u) }
func (t *Tensor) Le(u *Tensor) *Tensor         { return opLe.Call(t, u) }
func (t *Tensor) IsFinite() *Tensor            { return opIsFinite.Call(t) }
func (t *Tensor) Softmax(dim int) *Tensor      { return opSoftmax.Call(t, dim) }
func (t *Tensor) LogSoftmax(dim int) *Tensor   { return opLogSoftmax.Call(t, dim) }
func (t *Tensor) Tanh() *Tensor                { return opTanh.Call(t) }
func (t *Tensor) Erfinv() *Tensor              { return opErfinv.Call(t) }
func (t *Tensor) EqScalar(v int) *Tensor       { return opEqScalar.Call(t, v) }
func (t *Tensor) NeScalar(v int) *Tensor       { return opNeScalar.Call(t, v) }

// MaskedFill puts v where the bool tensor mask, broadcast to t, is true.
func (t *Tensor) MaskedFill(mask *Tensor, v float64) *Tensor { return opMaskedFill.Call(t, mask, v) }

// Dropout puts 0 in place of a share p of the elements, drawn anew, and divides the others by 1-p.
func (t *Tensor) Dropout(p float64) *Tensor { return opDropout.Call(t, p, true) }

// Gelu is the exact Gaussian error linear unit, x * Phi(x), not the tanh approximation.
func (t *Tensor) Gelu() *Tensor { return opGelu.Call(t) }

// GeluTanh is GELU's tanh approximation (Hendrycks and Gimpel, arXiv 1606.08415).
func (t *Tensor) GeluTanh() *Tensor { return opGelu.Call(t, "tanh") }

// quickGelu is the factor in [Tensor.QuickGelu].
const quickGelu = 1.702

// QuickGelu is x * sigmoid(1.702 x), the activation of OpenAI's models (openai/CLIP clip/model.py). It is computed as
// silu(1.702 x) / 1.702, of which the backward pass needs one tensor and not two.
func (t *Tensor) QuickGelu() *Tensor { return t.MulScalar(quickGelu).Silu().MulScalar(1 / quickGelu) }

// Products.

// Linear is t @ weight^T + bias: (..., in) -> (..., out), with weight (out, in); bias may be nil. Of a weight (out, ...) all that
// is behind out is in: a convolution's on windows that are rows already.
func (t *Tensor) Linear(weight, bias *Tensor) *Tensor {
	if weight.packedFor(t, bias, false) {
		return weight.packed.linear(t)
	}
	if weight.Dim() > 2 {
		weight = t.Borrow(weight).Flatten(1, -1)
	}
	return opLinear.Call(t, weight, bias)
}

// LinearGelu is Linear and then [Tensor.Gelu], in one pass where the weight is packed ([Tensor.Pack]).
func (t *Tensor) LinearGelu(weight, bias *Tensor) *Tensor {
	if weight.packedFor(t, bias, false) {
		return weight.packed.linearGelu(t)
	}
	return t.Linear(weight, bias).Gelu()
}

// LinearQuickGelu is Linear and then [Tensor.QuickGelu], in one pass where the weight is packed ([Tensor.PackQuickGelu]).
func (t *Tensor) LinearQuickGelu(weight, bias *Tensor) *Tensor {
	if weight.packedFor(t, bias, true) {
		return weight.packed.linearQuickGelu(t)
	}
	return t.Linear(weight, bias).QuickGelu()
}

// MatMul is the matrix product, batched over leading dimensions.
func (t *Tensor) MatMul(u *Tensor) *Tensor { return opMatmul.Call(t, u) }

// Conv2d is the convolution of (B, C, H, W) with weight (O, C, K, K), with padding zeros on each side; bias may be nil.
func (t *Tensor) Conv2d(weight, bias *Tensor, stride, padding int) *Tensor {
	return opConv2d.Call(t, weight, bias, []int{stride, stride}, []int{padding, padding})
}

// AvgPool2d is the mean over squares of k x k that do not overlap: (B, C, H, W) -> (B, C, H/k, W/k), rounded down.
func (t *Tensor) AvgPool2d(k int) *Tensor { return opAvgPool2d.Call(t, []int{k, k}) }

// BatchNorm normalises each channel of (B, C, H, W). weight, bias, mean and variance are (C). With training it takes the
// batch's own statistics and moves mean and variance towards them by momentum; else it takes mean and variance.
func (t *Tensor) BatchNorm(weight, bias, mean, variance *Tensor, training bool, momentum, eps float64) *Tensor {
	return opBatchNorm.Call(t, weight, bias, mean, variance, training, momentum, eps, true)
}

// LayerNorm normalises over the last dimension. weight and bias have its size.
func (t *Tensor) LayerNorm(weight, bias *Tensor, eps float64) *Tensor {
	return opLayerNorm.Call(t, weight.Shape(), weight, bias, eps)
}

// Embedding takes the rows of weight that the int64 ids t name: (...) -> (..., W).
func (t *Tensor) Embedding(weight *Tensor) *Tensor { return opEmbedding.Call(weight, t) }

// ScaledDotProductAttention is softmax(q k^T / sqrt(d)) v over (B, heads, T, d). With causal, position i sees j <= i.
func ScaledDotProductAttention(q, k, v *Tensor, causal bool) *Tensor {
	return opSDPA.Call(q, k, v, nil, 0.0, causal)
}

// MaskedAttention is [ScaledDotProductAttention] with mask, which broadcasts to (B, heads, T, T): bool, true where a
// query sees a key, or numbers that are added to the products. nil masks nothing. dropout is the share of the attention
// weights that becomes 0.
func MaskedAttention(q, k, v, mask *Tensor, dropout float64) *Tensor {
	return opSDPA.Call(q, k, v, mask, dropout, false)
}

// CrossEntropy is the mean over rows of -log softmax(t)[i, target[i]]: (N, C), (N) int64 -> ().
func (t *Tensor) CrossEntropy(target *Tensor) *Tensor { return opCrossEntr.Call(t, target) }

// Normalize divides by the Euclidean norm over dim, at least 1e-12, as torch.nn.functional.normalize does.
func (t *Tensor) Normalize(dim int) *Tensor { return t.Div(t.Norm(dim).ClampMin(1e-12)) }

// Norm is the Euclidean norm over dim, which stays with size 1.
func (t *Tensor) Norm(dim int) *Tensor { return opNorm.Call(t, 2.0, []int{dim}, true) }

// Shapes.

func (t *Tensor) Reshape(shape ...int) *Tensor           { return opReshape.Call(t, shape) }
func (t *Tensor) View(shape ...int) *Tensor              { return opView.Call(t, shape) }
func (t *Tensor) Expand(shape ...int) *Tensor            { return opExpand.Call(t, shape) }
func (t *Tensor) Permute(dims ...int) *Tensor            { return opPermute.Call(t, dims) }
func (t *Tensor) Transpose(a, b int) *Tensor             { return opTranspose.Call(t, a, b) }
func (t *Tensor) T() *Tensor                             { return opT.Call(t) }
func (t *Tensor) Flatten(from, to int) *Tensor           { return opFlatten.Call(t, from, to) }
func (t *Tensor) Unflatten(dim int, s ...int) *Tensor    { return opUnflatten.Call(t, dim, s) }
func (t *Tensor) Unsqueeze(dim int) *Tensor              { return opUnsqueeze.Call(t, dim) }
func (t *Tensor) Squeeze(dim int) *Tensor                { return opSqueeze.Call(t, dim) }
func (t *Tensor) Select(dim, index int) *Tensor          { return opSelect.Call(t, dim, index) }
func (t *Tensor) Narrow(dim, start, n int) *Tensor       { return opNarrow.Call(t, dim, start, n) }
func (t *Tensor) Unbind(dim int) []*Tensor               { return opUnbind.All(nil, t, dim) }
func (t *Tensor) Gather(dim int, ids *Tensor) *Tensor    { return opGather.Call(t, dim, ids) }
func (t *Tensor) IndexSelect(dim int, i *Tensor) *Tensor { return opIndexSelect.Call(t, dim, i) }

// Index is t[i0, i1, ...] with int64 tensors that are broadcast together; nil takes a whole dimension.
func (t *Tensor) Index(indices ...*Tensor) *Tensor { return opIndex.Call(t, OptTensors(indices)) }

// Split cuts t into parts of the given sizes along dim.
func (t *Tensor) Split(dim int, sizes ...int) []*Tensor { return opSplit.All(nil, t, sizes, dim) }

// Cat joins tensors along dim.
func Cat(dim int, ts ...*Tensor) *Tensor { return opCat.Call(ts, dim) }

// Stack joins tensors along a new dimension.
func Stack(dim int, ts ...*Tensor) *Tensor { return opStack.Call(ts, dim) }

// Reductions.

func (t *Tensor) Sum() *Tensor            { return opSum.Call(t) }
func (t *Tensor) SumDim(dim int) *Tensor  { return opSumDim.Call(t, []int{dim}) }
func (t *Tensor) Mean() *Tensor           { return opMean.Call(t) }
func (t *Tensor) MeanDim(dim int) *Tensor { return opMeanDim.Call(t, []int{dim}) }
func (t *Tensor) Max() *Tensor            { return opMax.Call(t) }
func (t *Tensor) All() *Tensor            { return opAll.Call(t) }
func (t *Tensor) Argmax(dim int) *Tensor  { return opArgmax.Call(t, dim) }

// MaxDim returns the largest values along dim; the gradient goes to the first of equals.
func (t *Tensor) MaxDim(dim int) *Tensor { return opMaxDim.Call(t, dim) }

// TopK returns the k largest values along dim and their int64 positions, in no particular order if sorted is false.
func (t *Tensor) TopK(k, dim int, sorted bool) (values, indices *Tensor) {
	out := opTopk.All(nil, t, k, dim, true, sorted)
	return out[0], out[1]
}

// Resampling, with pixel centres at half integers (align_corners=False).

// ResizeLinear maps (B, C, L) to (B, C, n).
func (t *Tensor) ResizeLinear(n int) *Tensor { return opLinear1d.Call(t, []int{n}, false, nil) }

// ResizeBicubic maps (B, C, H, W) to (B, C, height, width) with an antialiasing filter.
func (t *Tensor) ResizeBicubic(height, width int) *Tensor {
	return opBicubic2dAA.Call(t, []int{height, width}, false, nil, nil)
}

// Types, places, copies.

// To converts to a type and moves to a device; t itself comes back (as another handle) when nothing changes.
func (t *Tensor) To(d Device, dtype DType) *Tensor { return opTo.Call(t, dtype, nil, d) }
func (t *Tensor) Contiguous() *Tensor              { return opContiguous.Call(t) }
func (t *Tensor) Clone() *Tensor                   { return opClone.Call(t) }
func (t *Tensor) Detach() *Tensor                  { return opDetach.Call(t) }

// In place. They return t. On parameters they need a scope without gradients: s.Alias(p).

func (t *Tensor) CopyFrom(u *Tensor) *Tensor              { opCopy.Run(nil, t, u); return t }
func (t *Tensor) ClampInPlace(min, max float64) *Tensor   { opClamp.Run(nil, t, min, max); return t }
func (t *Tensor) Fill(v float64) *Tensor                  { opFill.Run(nil, t, v); return t }
func (t *Tensor) MulInPlace(v float64) *Tensor            { opMulInto.Run(nil, t, v); return t }
func (t *Tensor) AddInPlace(v int) *Tensor                { opAddInto.Run(nil, t, v); return t }
func (t *Tensor) NormalInPlace(mean, std float64) *Tensor { opNormal.Run(nil, t, mean, std); return t }
func (t *Tensor) UniformInPlace(from, to float64) *Tensor { opUniform.Run(nil, t, from, to); return t }

// Factories. s may be nil: the garbage collector then owns the tensor.

func Zeros(s *Scope, d Device, dtype DType, shape ...int) *Tensor {
	return opZeros.In(s, shape, dtype, nil, d)
}
func Ones(s *Scope, d Device, dtype DType, shape ...int) *Tensor {
	return opOnes.In(s, shape, dtype, nil, d)
}
func Empty(s *Scope, d Device, dtype DType, shape ...int) *Tensor {
	return opEmpty.In(s, shape, dtype, nil, d)
}

// FromFile maps the first n float32 numbers of a file as a tensor that the garbage collector frees. What is written into it
// stays out of the file.
func FromFile(path string, n int) (t *Tensor, err error) {
	err = NoGrad(func(s *Scope) { t = opFromFile.In(s, path, false, n, Float32, nil, CPU).Keep() })
	return t, err
}

// ShareStorage has t be the numbers of source from offset on, in row-major order, and gives back its own memory.
func (t *Tensor) ShareStorage(source *Tensor, offset int, shape ...int) {
	strides := make([]int, len(shape))
	for i, step := len(shape)-1, 1; i >= 0; i-- {
		strides[i], step = step, step*shape[i]
	}
	opSetStorage.Run(nil, t, source, offset, shape, strides)
}

func Randn(s *Scope, d Device, shape ...int) *Tensor { return opRandn.In(s, shape, Float32, nil, d) }
func Rand(s *Scope, d Device, shape ...int) *Tensor  { return opRand.In(s, shape, Float32, nil, d) }

// Arange is 0, 1, ..., n-1 as int64.
func Arange(s *Scope, d Device, n int) *Tensor { return opArange.In(s, n, Int64, nil, d) }

// ArangeLike is [Arange] in the scope and on the device of t.
func ArangeLike(t *Tensor, n int) *Tensor { return Arange(t.scope, t.Device(), n) }

// FromSliceLike is [FromSlice] in the scope and on the device of t. It does not wait for what a GPU is doing: CUDA takes the numbers into
// memory of its own at once.
func FromSliceLike[T Element](t *Tensor, data []T, shape ...int) *Tensor {
	return opTo.Call(FromSlice(t.scope, data, shape...), dtypeOf[T](), nil, t.Device(), nil, true)
}

// RandLike is uniform noise in [0, 1) in the scope and on the device of t.
func RandLike(t *Tensor, shape ...int) *Tensor { return Rand(t.scope, t.Device(), shape...) }
