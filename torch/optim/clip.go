package optim

import (
	"fmt"
	"slices"

	"github.com/goclip/goclip/torch"
)

var (
	opForeachNorm = torch.NewOp("aten::_foreach_norm.Scalar")
	opForeachMul  = torch.NewOp("aten::_foreach_mul_.Scalar")
)

// ClipGradNorm scales the gradients of ts down so that their common Euclidean norm is at most max,
// as torch.nn.utils.clip_grad_norm_ does, and returns the norm before. A max of 0 or less clips
// nothing. Where a step follows, [GradNorm] and [ClipScale] do the same in the step's own pass over
// the gradients.
func ClipGradNorm(ts []*torch.Tensor, max float64) (norm float64, err error) {
	err = torch.NoGrad(func(s *torch.Scope) {
		n := GradNorm(s, ts)
		if n == nil {
			return
		}
		norm = n.Item()
		if scale := max / (norm + clipEps); max > 0 && scale < 1 {
			opForeachMul.Run(s, gradients(s, ts), scale)
		}
	})
	if err != nil {
		err = fmt.Errorf("optim: clip gradients: %w", err)
	}
	return norm, err
}

// clipEps is what torch.nn.utils.clip_grad_norm_ adds to the norm.
const clipEps = 1e-6

// GradNorm returns the common Euclidean norm of the gradients of ts, () float32 on their device, or nil
// if there are none.
func GradNorm(s *torch.Scope, ts []*torch.Tensor) *torch.Tensor {
	grads := gradients(s, ts)
	if len(grads) == 0 {
		return nil
	}
	norm := torch.Stack(0, opForeachNorm.All(s, grads, 2.0)...).Reshape(-1, 1).Norm(0).Reshape()
	return norm.To(norm.Device(), torch.Float32)
}

// ClipScale returns what gradients of this norm () are divided by, for a norm of at most max afterwards:
// [Decided].GradScale.
func ClipScale(norm *torch.Tensor, max float64) *torch.Tensor {
	return norm.AddScalar(clipEps).MulScalar(1 / max).ClampMin(1)
}

// gradients is those that there are.
func gradients(s *torch.Scope, ts []*torch.Tensor) []*torch.Tensor {
	return slices.DeleteFunc(torch.Grads(s, ts), func(g *torch.Tensor) bool { return g == nil })
}
