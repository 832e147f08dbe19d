package torch

// Operators, one line each: arithmetic, activations, products, normalisations, reductions. Names,
// argument order and meaning are PyTorch's. Shapes stand before and after an arrow; "..." is any
// number of dimensions.

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
	opLinear1d    = NewOp("aten::upsample_linear1d")
	opBicubic2dAA = NewOp("aten::_upsample_bicubic2d_aa")
	opSin         = NewOp("aten::sin")
	opCos         = NewOp("aten::cos")
	opClampBoth   = NewOp("aten::clamp")
	opMaximum     = NewOp("aten::maximum")
	opMinimum     = NewOp("aten::minimum")
	opWhere       = NewOp("aten::where.self")
	opLt          = NewOp("aten::lt.Tensor")
	opGt          = NewOp("aten::gt.Tensor")
	opVar         = NewOp("aten::var.correction")
	opMse         = NewOp("aten::mse_loss")
)

// Arithmetic, element by element. The shapes of t and u are broadcast together: (3, 1) and (4) ->
// (3, 4).

// Add is t + u.
func (t *Tensor) Add(u *Tensor) *Tensor { return opAdd.Call(t, u) }

// AddScalar is t + v: (...) -> (...).
func (t *Tensor) AddScalar(v float64) *Tensor { return opAddScalar.Call(t, v) }

// Sub is t - u.
func (t *Tensor) Sub(u *Tensor) *Tensor { return opSub.Call(t, u) }

// Mul is t * u; of bool tensors it is true where both are.
func (t *Tensor) Mul(u *Tensor) *Tensor { return opMul.Call(t, u) }

// MulScalar is t * v: (...) -> (...).
func (t *Tensor) MulScalar(v float64) *Tensor { return opMulScalar.Call(t, v) }

// Div is t / u.
func (t *Tensor) Div(u *Tensor) *Tensor { return opDiv.Call(t, u) }

// Pow is t to the power of exponent: (...) -> (...).
func (t *Tensor) Pow(exponent float64) *Tensor { return opPow.Call(t, exponent) }

// Maximum returns the larger of t and u.
func (t *Tensor) Maximum(u *Tensor) *Tensor { return opMaximum.Call(t, u) }

// Minimum returns the smaller of t and u.
func (t *Tensor) Minimum(u *Tensor) *Tensor { return opMinimum.Call(t, u) }

// Where is t where the bool tensor condition is true, and else u.
func (t *Tensor) Where(condition, u *Tensor) *Tensor { return opWhere.Call(condition, t, u) }

// Functions of each element: (...) -> (...).

// Neg is -t.
func (t *Tensor) Neg() *Tensor { return opNeg.Call(t) }

// Exp is e to the power of t.
func (t *Tensor) Exp() *Tensor { return opExp.Call(t) }

// Log returns the natural logarithm.
func (t *Tensor) Log() *Tensor { return opLog.Call(t) }

// Sqrt returns the square root.
func (t *Tensor) Sqrt() *Tensor { return opSqrt.Call(t) }

// Abs returns the absolute value.
func (t *Tensor) Abs() *Tensor { return opAbs.Call(t) }

// Sin returns the sine of radians.
func (t *Tensor) Sin() *Tensor { return opSin.Call(t) }

// Cos returns the cosine of radians.
func (t *Tensor) Cos() *Tensor { return opCos.Call(t) }

// Tanh returns the hyperbolic tangent.
func (t *Tensor) Tanh() *Tensor { return opTanh.Call(t) }

// Erfinv is the inverse of the error function.
func (t *Tensor) Erfinv() *Tensor { return opErfinv.Call(t) }

// ClampMin is at least min.
func (t *Tensor) ClampMin(min float64) *Tensor { return opClampMin.Call(t, min) }

// Clamp is at least min and at most max.
func (t *Tensor) Clamp(min, max float64) *Tensor { return opClampBoth.Call(t, min, max) }

// Sigmoid is 1 / (1 + exp(-t)).
func (t *Tensor) Sigmoid() *Tensor { return opSigmoid.Call(t) }

// LogSigmoid returns the logarithm of [Tensor.Sigmoid].
func (t *Tensor) LogSigmoid() *Tensor { return opLogSigmoid.Call(t) }

// Relu is max(t, 0).
func (t *Tensor) Relu() *Tensor { return opRelu.Call(t) }

// Silu is t * sigmoid(t).
func (t *Tensor) Silu() *Tensor { return opSilu.Call(t) }

// Comparisons, element by element with broadcasting, to bool tensors.

// Eq is t == u.
func (t *Tensor) Eq(u *Tensor) *Tensor { return opEq.Call(t, u) }

// Le is t <= u.
func (t *Tensor) Le(u *Tensor) *Tensor { return opLe.Call(t, u) }

// Lt is t < u.
func (t *Tensor) Lt(u *Tensor) *Tensor { return opLt.Call(t, u) }

// Gt is t > u.
func (t *Tensor) Gt(u *Tensor) *Tensor { return opGt.Call(t, u) }

// EqScalar is t == v: (...) -> (...).
func (t *Tensor) EqScalar(v int) *Tensor { return opEqScalar.Call(t, v) }

// NeScalar is t != v: (...) -> (...).
func (t *Tensor) NeScalar(v int) *Tensor { return opNeScalar.Call(t, v) }

// IsFinite is true where an element is neither NaN nor an infinity: (...) -> (...).
func (t *Tensor) IsFinite() *Tensor { return opIsFinite.Call(t) }

// Softmax is exp(t) divided by its sum along dim: (...) -> (...).
func (t *Tensor) Softmax(dim int) *Tensor { return opSoftmax.Call(t, dim) }

// LogSoftmax returns the logarithm of [Tensor.Softmax]: (...) -> (...).
func (t *Tensor) LogSoftmax(dim int) *Tensor { return opLogSoftmax.Call(t, dim) }

// MaskedFill puts v where the bool tensor mask, broadcast to t, is true: (...) -> (...).
func (t *Tensor) MaskedFill(mask *Tensor, v float64) *Tensor { return opMaskedFill.Call(t, mask, v) }

// Dropout puts 0 in place of a share p of the elements, drawn again, and divides the others by 1-p:
// (...) -> (...).
func (t *Tensor) Dropout(p float64) *Tensor { return opDropout.Call(t, p, true) }

// Gelu returns the exact Gaussian error linear unit, x * Phi(x), not the tanh approximation.
func (t *Tensor) Gelu() *Tensor { return opGelu.Call(t) }

// GeluTanh is GELU's tanh approximation (Hendrycks and Gimpel, arXiv 1606.08415).
func (t *Tensor) GeluTanh() *Tensor { return opGelu.Call(t, "tanh") }

// quickGelu is the factor in [Tensor.QuickGelu].
const quickGelu = 1.702

// QuickGelu is x * sigmoid(1.702 x), the activation of OpenAI's models (openai/CLIP clip/model.py).
// It is computed as silu(1.702 x) / 1.702, of which the backward pass needs one tensor and not two.
func (t *Tensor) QuickGelu() *Tensor { return t.MulScalar(quickGelu).Silu().MulScalar(1 / quickGelu) }

// Products.

// Linear is t @ weight^T + bias: (..., in) -> (..., out), with weight (out, in); bias may be nil.
// Of a weight (out, ...) all that is behind out is in: a convolution's on windows that are rows
// already.
func (t *Tensor) Linear(weight, bias *Tensor) *Tensor {
	if weight.packedFor(t, bias, false) {
		return weight.packed.linear(t)
	}
	t.handle("linear")
	weight.handle("linear")
	if weight.Dim() > 2 {
		weight = t.Borrow(weight).Flatten(1, -1)
	}
	if t.scope.splits() {
		return opSplitLinear.Call(t, weight, bias)
	}
	return opLinear.Call(t, weight, bias)
}

// LinearGelu is Linear and then [Tensor.Gelu], in one pass where the weight is packed
// ([Tensor.Pack]). next is the weight that multiplies the result, or nil, as for [Tensor.AddLayerNorm].
func (t *Tensor) LinearGelu(weight, bias, next *Tensor) *Tensor {
	return t.linearThen(thenGelu, weight, bias, next)
}

// LinearGeluTanh is [Tensor.LinearGelu] with [Tensor.GeluTanh].
func (t *Tensor) LinearGeluTanh(weight, bias, next *Tensor) *Tensor {
	return t.linearThen(thenGeluTanh, weight, bias, next)
}

// LinearQuickGelu is [Tensor.LinearGelu] with [Tensor.QuickGelu] and [Tensor.PackQuickGelu].
func (t *Tensor) LinearQuickGelu(weight, bias, next *Tensor) *Tensor {
	return t.linearThen(thenQuickGelu, weight, bias, next)
}

func (t *Tensor) linearThen(a activation, weight, bias, next *Tensor) *Tensor {
	if weight.packedFor(t, bias, a == thenQuickGelu) {
		return weight.packed.linearThen(a, t, next)
	}
	return a.of(t.Linear(weight, bias))
}

// MatMul returns the matrix product, batched over leading dimensions: (..., n, k), (..., k, m) -> (...,
// n, m).
func (t *Tensor) MatMul(u *Tensor) *Tensor { return opMatmul.Call(t, u) }

// Conv2d returns a convolution with weight (O, C/groups, K, K), and padding zeros on each side: (B, C, H,
// W) -> (B, O, H', W'). bias is (O) or nil. The channels of each of the groups, 1 for all of them,
// are computed from those of the same group; with C groups the convolution is depthwise.
func (t *Tensor) Conv2d(weight, bias *Tensor, stride, padding, groups int) *Tensor {
	return opConv2d.Call(t, weight, bias, []int{stride, stride}, []int{padding, padding}, []int{1, 1}, groups)
}

// AvgPool2d returns the mean over squares of k x k that do not overlap: (B, C, H, W) -> (B, C, H/k,
// W/k), rounded down.
func (t *Tensor) AvgPool2d(k int) *Tensor { return opAvgPool2d.Call(t, []int{k, k}) }

// BatchNorm normalises each channel of (B, C, H, W). weight, bias, mean and variance are (C). With
// training it takes the batch's own statistics and moves mean and variance towards them by
// momentum; else it takes mean and variance.
func (t *Tensor) BatchNorm(weight, bias, mean, variance *Tensor, training bool, momentum, eps float64) *Tensor {
	return opBatchNorm.Call(t, weight, bias, mean, variance, training, momentum, eps, true)
}

// LayerNorm normalises the last dimension: (..., W) -> (..., W). weight and bias are (W).
func (t *Tensor) LayerNorm(weight, bias *Tensor, eps float64) *Tensor {
	return opLayerNorm.Call(t, weight.Shape(), weight, bias, eps)
}

// Embedding takes the rows of weight that the int64 ids t name: (...) -> (..., W).
func (t *Tensor) Embedding(weight *Tensor) *Tensor { return opEmbedding.Call(weight, t) }

// MseLoss is the mean of the squared differences from target, of the shape of t: (...) -> ().
func (t *Tensor) MseLoss(target *Tensor) *Tensor { return opMse.Call(t, target) }

// MaskedAttention is [ScaledDotProductAttention] with mask, which broadcasts to (B, heads, T, T):
// bool, true where a query sees a key, or numbers that are added to the products. nil masks
// nothing. dropout is the fraction of the attention weights that becomes 0.
func MaskedAttention(q, k, v, mask *Tensor, dropout float64) *Tensor {
	return opSDPA.Call(q, k, v, mask, dropout, false)
}

// CrossEntropy returns the mean over rows of -log softmax(t)[i, target[i]]: (N, C), (N) int64 -> ().
func (t *Tensor) CrossEntropy(target *Tensor) *Tensor { return opCrossEntr.Call(t, target) }

// Normalize divides by the Euclidean norm along dim, at least 1e-12, as
// torch.nn.functional.normalize does: (...) -> (...).
func (t *Tensor) Normalize(dim int) *Tensor { return t.Div(t.Norm(dim).ClampMin(1e-12)) }

// Norm returns the Euclidean norm along dim, which stays with size 1: (..., n) -> (..., 1) along the
// last.
func (t *Tensor) Norm(dim int) *Tensor { return opNorm.Call(t, 2.0, []int{dim}, true) }

// Reductions.

// Sum returns the sum of all elements: (...) -> ().
func (t *Tensor) Sum() *Tensor { return opSum.Call(t) }

// SumDim returns the sum along dim, which goes: (n, m) -> (m) along 0.
func (t *Tensor) SumDim(dim int) *Tensor { return opSumDim.Call(t, []int{dim}) }

// Mean is the mean of all elements: (...) -> ().
func (t *Tensor) Mean() *Tensor { return opMean.Call(t) }

// MeanDim returns the mean along dim, which goes: (n, m) -> (m) along 0.
func (t *Tensor) MeanDim(dim int) *Tensor { return opMeanDim.Call(t, []int{dim}) }

// VarDim returns the variance along dim, which goes, with n-1 below the line: (n, m) -> (m) along 0.
func (t *Tensor) VarDim(dim int) *Tensor { return opVar.Call(t, []int{dim}) }

// Max returns the largest element: (...) -> ().
func (t *Tensor) Max() *Tensor { return opMax.Call(t) }

// MaxDim returns the largest values along dim, which goes; the gradient goes to the first of equals: (n,
// m) -> (m) along 0.
func (t *Tensor) MaxDim(dim int) *Tensor { return opMaxDim.Call(t, dim) }

// Argmax returns the int64 position of the largest value along dim, which goes: (n, m) -> (m) along 0.
func (t *Tensor) Argmax(dim int) *Tensor { return opArgmax.Call(t, dim) }

// All is true if every element is: (...) -> () bool.
func (t *Tensor) All() *Tensor { return opAll.Call(t) }

// TopK returns the k largest values along dim and their int64 positions, in no particular order if
// sorted is false: (..., n) -> (..., k) along the last.
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
