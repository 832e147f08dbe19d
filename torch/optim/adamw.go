// Package optim holds the optimisers [AdamW] and [SGD], and gradient clipping.
//
// A step of training is ZeroGrad, a forward pass, Backward, Step. What returns an error runs in a
// [torch.NoGrad] of its own. What takes a scope panics with *[torch.Error], as operators do, and
// never waits for the device. An optimiser belongs to one goroutine.
package optim

import (
	"iter"
	"math"
	"slices"

	"github.com/goclip/goclip/torch"
)

// AdamWOptions are the constants of AdamW (Loshchilov and Hutter, arXiv 1711.05101), named as in
// torch.optim.AdamW.
type AdamWOptions struct {
	LR, Beta1, Beta2, Eps float64
}

// AdamWDefaults returns the constants of torch.optim.AdamW, with this learning rate.
func AdamWDefaults(lr float64) AdamWOptions {
	return AdamWOptions{LR: lr, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}
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

var (
	opFusedAdamW   = torch.NewOp("aten::_fused_adamw_")
	opFusedAdamWLR = torch.NewOp("aten::_fused_adamw_.tensor_lr")
	opForeachAdd   = torch.NewOp("aten::_foreach_add_.Scalar")
	opForeachSub   = torch.NewOp("aten::_foreach_sub_.List")
)

// NewAdamW starts with moments of zero. It panics with *[torch.Error] if a parameter is not
// contiguous, or is there twice, and of constants that torch.optim refuses.
func NewAdamW(groups []Group, o AdamWOptions) *AdamW {
	checkParams("adamw", groups)
	checkOptions("adamw", groups, o.LR, o.Beta1, o.Beta2)
	checkNumber("adamw", "Eps", o.Eps, "0 or a positive number")
	a := &AdamW{options: o}
	for _, g := range oneType(groups) {
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

// LR returns what [AdamW.SetLR] set.
func (a *AdamW) LR() float64 { return a.options.LR }

// Step updates every parameter that has a gradient.
func (a *AdamW) Step() error {
	return torch.NoGrad(func(s *torch.Scope) { a.StepIn(s, Decided{}) })
}

// Decided is what the device itself finds out about a step, so that nobody waits for it
// (torch/optim/adamw.py's names). Each is a float32 scalar on the parameters' device, or nil.
type Decided struct {
	LR        *torch.Tensor // takes the place of [AdamW.SetLR]'s
	GradScale *torch.Tensor // the gradients are divided by it, in place
	FoundInf  *torch.Tensor // at 1 the step changes nothing, at 0 it is a step
}

// StepIn is [AdamW.Step] in the scope s, which records no gradients.
func (a *AdamW) StepIn(s *torch.Scope, d Decided) {
	for _, g := range a.groups {
		o := a.options
		if g.LRScale != 0 {
			o.LR *= g.LRScale
		}
		g.step(s, o, d, a.plain)
	}
}

func (g *group) step(s *torch.Scope, o AdamWOptions, d Decided, plain bool) {
	var params, grads, m, v, steps []*torch.Tensor
	for i, grad := range torch.Grads(s, g.tensors) {
		if grad == nil {
			continue
		}
		checkState("adamw", g.Params[i], g.expAvg[i])
		params, grads = append(params, s.Alias(g.tensors[i])), append(grads, grad)
		m, v = append(m, s.Alias(g.expAvg[i])), append(v, s.Alias(g.expAvgSq[i]))
		steps = append(steps, s.Alias(g.steps[i]))
	}
	if len(params) == 0 {
		return
	}
	opForeachAdd.Run(s, steps, 1)
	if plain {
		for i, p := range params {
			plainStep(p, grads[i], m[i], v[i], steps[i].Item(), o, g.WeightDecay)
		}
		return
	}
	op, lr := opFusedAdamW, any(o.LR)
	if d.LR != nil {
		op, lr = opFusedAdamWLR, d.LR
		if g.LRScale != 0 {
			lr = d.LR.MulScalar(g.LRScale)
		}
	}
	op.Run(s, params, grads, m, v, []*torch.Tensor{}, steps, lr, o.Beta1, o.Beta2, g.WeightDecay, o.Eps,
		false /* amsgrad */, false /* maximize */, d.GradScale, d.FoundInf)
	if d.FoundInf != nil {
		opForeachSub.Run(s, steps, slices.Repeat([]*torch.Tensor{d.FoundInf}, len(steps)))
	}
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

// Free frees the moments, which are twice the parameters. The parameters stay; no step may follow.
func (a *AdamW) Free() {
	for _, t := range a.State() {
		t.Free()
	}
	a.groups = nil
}

// State yields the optimiser's tensors: "exp_avg.KEY", "exp_avg_sq.KEY" and "step.KEY" for each
// parameter KEY.
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
