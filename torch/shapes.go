package torch

// Operators that arrange elements. Those that can share t's memory do, as PyTorch's views.

var (
	opSplit       = NewOp("aten::split_with_sizes")
	opUnbind      = NewOp("aten::unbind.int")
	opReshape     = NewOp("aten::reshape")
	opView        = NewOp("aten::view")
	opExpand      = NewOp("aten::expand")
	opPermute     = NewOp("aten::permute")
	opTranspose   = NewOp("aten::transpose.int")
	opT           = NewOp("aten::t")
	opFlatten     = NewOp("aten::flatten.using_ints")
	opUnsqueeze   = NewOp("aten::unsqueeze")
	opSqueeze     = NewOp("aten::squeeze.dim")
	opSelect      = NewOp("aten::select.int")
	opNarrow      = NewOp("aten::narrow")
	opCat         = NewOp("aten::cat")
	opStack       = NewOp("aten::stack")
	opGather      = NewOp("aten::gather")
	opIndex       = NewOp("aten::index.Tensor")
	opIndexSelect = NewOp("aten::index_select")
)

// Reshape has the same elements in the same order: (...) -> shape, in which one size may be -1. It
// copies if it must.
func (t *Tensor) Reshape(shape ...int) *Tensor { return opReshape.Call(t, shape) }

// View is [Tensor.Reshape] that never copies: it fails where t's memory does not allow it.
func (t *Tensor) View(shape ...int) *Tensor { return opView.Call(t, shape) }

// Expand repeats dimensions of size 1, and new ones in front, without copying: (3, 1) -> (2, 3, 4);
// -1 keeps a size.
func (t *Tensor) Expand(shape ...int) *Tensor { return opExpand.Call(t, shape) }

// Permute reorders the dimensions: (B, T, W) -> (T, B, W) by 1, 0, 2.
func (t *Tensor) Permute(dims ...int) *Tensor { return opPermute.Call(t, dims) }

// Transpose exchanges two dimensions: (B, T, W) -> (B, W, T) by 1, 2.
func (t *Tensor) Transpose(a, b int) *Tensor { return opTranspose.Call(t, a, b) }

// T returns the transpose of a matrix: (n, m) -> (m, n).
func (t *Tensor) T() *Tensor { return opT.Call(t) }

// Flatten makes one dimension of those from from to to: (B, H, W, C) -> (B, H*W, C) by 1, 2.
func (t *Tensor) Flatten(from, to int) *Tensor { return opFlatten.Call(t, from, to) }

// Unsqueeze puts in a dimension of size 1: (B, W) -> (B, 1, W) at 1.
func (t *Tensor) Unsqueeze(dim int) *Tensor { return opUnsqueeze.Call(t, dim) }

// Squeeze takes out a dimension of size 1, and leaves one of another size: (B, 1, W) -> (B, W) at
// 1.
func (t *Tensor) Squeeze(dim int) *Tensor { return opSqueeze.Call(t, dim) }

// Select is one position of dim, which goes: (B, T, W) -> (B, W) along 1.
func (t *Tensor) Select(dim, index int) *Tensor { return opSelect.Call(t, dim, index) }

// Narrow is n positions of dim from start on: (B, T, W) -> (B, n, W) along 1.
func (t *Tensor) Narrow(dim, start, n int) *Tensor { return opNarrow.Call(t, dim, start, n) }

// Unbind is every [Tensor.Select] along dim: (3, B, W) -> three of (B, W) along 0.
func (t *Tensor) Unbind(dim int) []*Tensor { return opUnbind.All(nil, t, dim) }

// Split cuts t into parts of the given sizes along dim, whose sum is that of t.
func (t *Tensor) Split(dim int, sizes ...int) []*Tensor { return opSplit.All(nil, t, sizes, dim) }

// Gather takes along dim what the int64 ids name, of the same number of dimensions: (n, m), (n, k)
// -> (n, k) along 1.
func (t *Tensor) Gather(dim int, ids *Tensor) *Tensor { return opGather.Call(t, dim, ids) }

// IndexSelect takes positions of dim that the int64 i (k) names: (n, m) -> (k, m) along 0.
func (t *Tensor) IndexSelect(dim int, i *Tensor) *Tensor { return opIndexSelect.Call(t, dim, i) }

// Index is t[i0, i1, ...] with int64 tensors that are broadcast together; nil takes a whole
// dimension.
func (t *Tensor) Index(indices ...*Tensor) *Tensor { return opIndex.Call(t, OptTensors(indices)) }

// Cat joins tensors along dim: (n, W), (m, W) -> (n+m, W) along 0.
func Cat(dim int, ts ...*Tensor) *Tensor { return opCat.Call(ts, dim) }

// Stack joins tensors along a new dimension: two of (W) -> (2, W) at 0.
func Stack(dim int, ts ...*Tensor) *Tensor { return opStack.Call(ts, dim) }
