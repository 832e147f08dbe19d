// Package optim holds the AdamW optimiser and gradient clipping.
//
// Steps run inside their own torch.NoGrad and return an error. An optimiser belongs to one goroutine.
package optim

import (
	"fmt"
	"iter"
	"math"

	"github.com/goclip/goclip/torch"
)

// AdamWOptions are the constants of AdamW (Loshchilov and Hutter, arXiv 1711.05101), named as in torch.optim.AdamW.
type AdamWOptions struct {
	LR, Beta1, Beta2, Eps float64
}

// Param is a parameter under its state-dict key.
type Param struct {
	Name string
	T    *torch.Tensor
}

// Group is parameters that share a weight decay and a share of the learning rate.
type Group struct {
	Params      []Param
	WeightDecay float64
	LRScale     float64 // of the learning rate; 0 stands for 1
}

// AdamW is Adam with decoupled weight decay.
type AdamW struct {
	options AdamWOptions
	groups  []*group
	plain   bool // the elementary operators in place of the fused one: the test of it
}

type group struct {
	Group
	tensors          []*torch.Tensor
	expAvg, expAvgSq []*torch.Tensor
	steps            []*torch.Tensor // float32 scalars, as torch.optim keeps them
}

var opFusedAdamW = torch.NewOp("aten::_fused_adamw_")

// NewAdamW starts with moments of zero.
func NewAdamW(groups []Group, o AdamWOptions) *AdamW {
	a := &AdamW{options: o}
	for _, g := range groups {
		if len(g.Params) == 0 {
			continue
		}
		state := &group{Group: g}
		for _, p := range g.Params {
			state.tensors = append(state.tensors, p.T)
			state.expAvg = append(state.expAvg, torch.Zeros(nil, p.T.Device(), p.T.DType(), p.T.Shape()...))
			state.expAvgSq = append(state.expAvgSq, torch.Zeros(nil, p.T.Device(), p.T.DType(), p.T.Shape()...))
			state.steps = append(state.steps, torch.Zeros(nil, p.T.Device(), torch.Float32))
		}
		a.groups = append(a.groups, state)
	}
	return a
}

// SetLR sets the learning rate of the steps that follow.
func (a *AdamW) SetLR(lr float64) { a.options.LR = lr }

// Step updates every parameter that has a gradient.
func (a *AdamW) Step() error {
	return torch.NoGrad(func(s *torch.Scope) {
		for _, g := range a.groups {
			o := a.options
			if g.LRScale != 0 {
				o.LR *= g.LRScale
			}
			g.step(s, o, a.plain)
		}
	})
}

func (g *group) step(s *torch.Scope, o AdamWOptions, plain bool) {
	var params, grads, m, v, steps []*torch.Tensor
	for i, grad := range torch.Grads(s, g.tensors) {
		if grad == nil {
			continue
		}
		params, grads = append(params, s.Alias(g.tensors[i])), append(grads, grad)
		m, v = append(m, s.Alias(g.expAvg[i])), append(v, s.Alias(g.expAvgSq[i]))
		steps = append(steps, s.Alias(g.steps[i]).CopyFrom(s.Alias(g.steps[i]).AddScalar(1)))
	}
	if len(params) == 0 {
		return
	}
	if plain {
		for i, p := range params {
			plainStep(p, grads[i], m[i], v[i], steps[i].Item(), o, g.WeightDecay)
		}
		return
	}
	opFusedAdamW.Run(s, params, grads, m, v, []*torch.Tensor{}, steps, o.LR, o.Beta1, o.Beta2, g.WeightDecay, o.Eps,
		false /* amsgrad */, false /* maximize */)
}

// plainStep is the update as torch/optim/adamw.py's single-tensor path writes it.
func plainStep(p, grad, m, v *torch.Tensor, step float64, o AdamWOptions, decay float64) {
	p.MulInPlace(1 - o.LR*decay)
	m.CopyFrom(m.MulScalar(o.Beta1).Add(grad.MulScalar(1 - o.Beta1)))
	v.CopyFrom(v.MulScalar(o.Beta2).Add(grad.Mul(grad).MulScalar(1 - o.Beta2)))
	correction1, correction2 := 1-math.Pow(o.Beta1, step), 1-math.Pow(o.Beta2, step)
	denominator := v.Sqrt().MulScalar(1 / math.Sqrt(correction2)).AddScalar(o.Eps)
	p.CopyFrom(p.Sub(m.Div(denominator).MulScalar(o.LR / correction1)))
}

// ZeroGrad removes the gradients of all parameters.
func (a *AdamW) ZeroGrad() {
	for _, g := range a.groups {
		torch.ZeroGrad(g.tensors)
	}
}

// Parameters is every tensor that the optimiser updates.
func (a *AdamW) Parameters() []*torch.Tensor {
	var all []*torch.Tensor
	for _, g := range a.groups {
		all = append(all, g.tensors...)
	}
	return all
}

// State yields the optimiser's tensors: "exp_avg.KEY", "exp_avg_sq.KEY" and "step.KEY" for each parameter KEY.
func (a *AdamW) State() iter.Seq2[string, *torch.Tensor] {
	return func(yield func(string, *torch.Tensor) bool) {
		for _, g := range a.groups {
			for i, p := range g.Params {
				if !yield("exp_avg."+p.Name, g.expAvg[i]) || !yield("exp_avg_sq."+p.Name, g.expAvgSq[i]) ||
					!yield("step."+p.Name, g.steps[i]) {
					return
				}
			}
		}
	}
}

// ClipGradNorm scales the gradients of ts down so that their common Euclidean norm is at most max, as
// torch.nn.utils.clip_grad_norm_ does, and returns the norm before. A max of 0 or less clips nothing.
func ClipGradNorm(ts []*torch.Tensor, max float64) (norm float64, err error) {
	err = torch.NoGrad(func(s *torch.Scope) {
		var grads []*torch.Tensor
		for _, g := range torch.Grads(s, ts) {
			if g != nil {
				grads = append(grads, g)
			}
		}
		if len(grads) == 0 {
			return
		}
		norms := opForeachNorm.All(s, grads, 2.0)
		norm = torch.Stack(0, norms...).Reshape(-1, 1).Norm(0).Item()
		if scale := max / (norm + 1e-6); max > 0 && scale < 1 {
			opForeachMul.Run(s, grads, scale)
		}
	})
	if err != nil {
		err = fmt.Errorf("optim: clip gradients: %w", err)
	}
	return norm, err
}

// ScaleGrads multiplies the gradients of ts by a factor.
func ScaleGrads(ts []*torch.Tensor, factor float64) error {
	err := torch.NoGrad(func(s *torch.Scope) {
		var grads []*torch.Tensor
		for _, g := range torch.Grads(s, ts) {
			if g != nil {
				grads = append(grads, g)
			}
		}
		if len(grads) > 0 {
			opForeachMul.Run(s, grads, factor)
		}
	})
	if err != nil {
		err = fmt.Errorf("optim: scale gradients: %w", err)
	}
	return err
}

var (
	opForeachNorm = torch.NewOp("aten::_foreach_norm.Scalar")
	opForeachMul  = torch.NewOp("aten::_foreach_mul_.Scalar")
)
