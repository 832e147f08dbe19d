package loss

import (
	"math"

	"github.com/goclip/goclip/torch"
)

var (
	opAmax    = torch.NewOp("aten::amax")
	opMaximum = torch.NewOp("aten::maximum")
	opSubInto = torch.NewOp("aten::sub.out")
	opAddCMul = torch.NewOp("aten::addcmul_")
)

// softmax is what the softmax of n rows of logits needs, gathered tile by tile: the log-sum-exp of row i is max_i + log(sum_i).
// The two are kept apart because max_i is one of the logits and its difference from another is exact, which the rounded
// log-sum-exp's would not be: at 100 a float32 is rounded by 4e-6.
type softmax struct {
	max     *torch.Tensor // (n) in the type of the logits
	sum     *torch.Tensor // (n) float64: of exp(logit - max)
	inverse *torch.Tensor // (n) a factor over sum, in the type of the logits
}

func (t *tiles) softmax(n int) softmax {
	d := t.scale.Device()
	return softmax{max: opNewFull.Call(t.scale, []int{n}, math.Inf(-1)), sum: torch.Zeros(t.scope, d, torch.Float64, n)}
}

// add takes in a tile whose rows (dim 1) or columns (dim 0) are parts of those that are summed. work is overwritten.
func (x *softmax) add(s *torch.Scope, part span, logits, work *torch.Tensor, dim int) {
	top, sum := part.of(s.Alias(x.max)), part.of(s.Alias(x.sum))
	higher := opMaximum.Call(top, opAmax.Call(logits, []int{dim}))
	opSubInto.Run(s, logits, higher.Unsqueeze(dim), 1, work)
	opExp.Run(s, work)
	opMul.Run(s, sum, top.Sub(higher).Exp()) // exp(-inf) = 0 the first time
	opAdd.Run(s, sum, work.SumDim(dim))
	top.CopyFrom(higher)
}

// logSumExp is (n) float64.
func (x *softmax) logSumExp() *torch.Tensor { return x.sum.Log().Add(x.max) }

// gather is the sums of all processes.
func (x *softmax) gather(g Gatherer) softmax {
	device, dtype := x.max.Device(), x.max.DType()
	all := g.AllGather(torch.Stack(1, x.max.To(device, torch.Float64), x.sum)) // (N, 2) float64 holds a float32 exactly
	return softmax{max: all.Select(1, 0).Contiguous().To(device, dtype), sum: all.Select(1, 1)}
}

// finish is called when all tiles have been taken in; probabilities are then multiplied by factor.
func (x *softmax) finish(factor float64) {
	x.inverse = x.sum.Pow(-1).MulScalar(factor).To(x.max.Device(), x.max.DType())
}

// probabilities sets out to the sum of two softmaxes of a tile, over its rows and over its columns. logits are overwritten.
func probabilities(s *torch.Scope, at block, rows, cols *softmax, logits, out *torch.Tensor) {
	opSubInto.Run(s, logits, at.rows.of(s.Alias(rows.max)).Unsqueeze(1), 1, out)
	opExp.Run(s, out)
	opMul.Run(s, out, at.rows.of(s.Alias(rows.inverse)).Unsqueeze(1))
	opSub.Run(s, logits, at.cols.of(s.Alias(cols.max)))
	opExp.Run(s, logits)
	opAddCMul.Run(s, out, logits, at.cols.of(s.Alias(cols.inverse)))
}
