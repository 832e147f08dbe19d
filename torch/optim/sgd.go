package optim

import (
	"iter"

	"github.com/goclip/goclip/torch"
)

// SGDOptions are the constants of stochastic gradient descent, named as in torch.optim.SGD. The
// zero values are PyTorch's defaults, but for the learning rate.
type SGDOptions struct {
	LR        float64
	Momentum  float64
	Dampening float64 // of the momentum
	Nesterov  bool    // takes a momentum and no dampening
}

// SGD is stochastic gradient descent with momentum (Sutskever et al., ICML 2013), and weight decay
// as a term of the gradient.
type SGD struct {
	options SGDOptions
	groups  []*sgdGroup
}

type sgdGroup struct {
	Group
	velocity []*torch.Tensor // nil until the first step
}

var (
	opAddScaled     = torch.NewOp("aten::add.Tensor")
	opAddScaledInto = torch.NewOp("aten::add_.Tensor")
)

// NewSGD starts without momentum. It panics with *[torch.Error] if Nesterov is asked for without
// momentum or with dampening, if a parameter is there twice, and of constants that torch.optim refuses.
func NewSGD(groups []Group, o SGDOptions) *SGD {
	if o.Nesterov && (o.Momentum <= 0 || o.Dampening != 0) {
		panic(&torch.Error{Op: "sgd", Msg: "Nesterov momentum requires a momentum and zero dampening"})
	}
	checkParams("sgd", groups)
	checkOptions("sgd", groups, o.LR)
	checkNumber("sgd", "Momentum", o.Momentum, "0 or a positive number")
	d := &SGD{options: o}
	for _, g := range groups {
		d.groups = append(d.groups, &sgdGroup{Group: g, velocity: make([]*torch.Tensor, len(g.Params))})
	}
	return d
}

// SetLR sets the learning rate of the steps that follow.
func (d *SGD) SetLR(lr float64) { d.options.LR = lr }

// LR returns what [SGD.SetLR] set.
func (d *SGD) LR() float64 { return d.options.LR }

// Step updates every parameter that has a gradient.
func (d *SGD) Step() error {
	return torch.NoGrad(func(s *torch.Scope) {
		for _, g := range d.groups {
			g.step(s, d.options)
		}
	})
}

// step is torch/optim/sgd.py's _single_tensor_sgd.
func (g *sgdGroup) step(s *torch.Scope, o SGDOptions) {
	if g.LRScale != 0 {
		o.LR *= g.LRScale
	}
	for i, grad := range torch.Grads(s, tensors(g.Params)) {
		if grad == nil {
			continue
		}
		p := s.Alias(g.Params[i].T)
		if g.WeightDecay != 0 {
			grad = opAddScaled.Call(grad, p, g.WeightDecay)
		}
		if o.Momentum != 0 {
			grad = g.momentum(i, grad, o)
		}
		opAddScaledInto.Run(s, p, grad, -o.LR)
	}
}

// momentum counts grad into the velocity of parameter i, and returns what the parameter moves by.
func (g *sgdGroup) momentum(i int, grad *torch.Tensor, o SGDOptions) *torch.Tensor {
	if g.velocity[i] == nil {
		g.velocity[i] = grad.Clone().Keep()
	} else {
		checkState("sgd", g.Params[i], g.velocity[i])
		opAddScaledInto.Run(nil, grad.Borrow(g.velocity[i]).MulInPlace(o.Momentum), grad, 1-o.Dampening)
	}
	velocity := grad.Borrow(g.velocity[i])
	if o.Nesterov {
		return opAddScaled.Call(grad, velocity, o.Momentum)
	}
	return velocity
}

// ZeroGrad removes the gradients of all parameters.
func (d *SGD) ZeroGrad() { torch.ZeroGrad(d.Parameters()) }

// Parameters is every tensor that the optimiser updates.
func (d *SGD) Parameters() []*torch.Tensor {
	var all []*torch.Tensor
	for _, g := range d.groups {
		all = append(all, tensors(g.Params)...)
	}
	return all
}

// Free frees the velocities. The parameters stay; no step may follow.
func (d *SGD) Free() {
	for _, t := range d.State() {
		t.Free()
	}
	d.groups = nil
}

// State yields "momentum_buffer.KEY" for each parameter KEY that has one: those that were updated
// with a momentum.
func (d *SGD) State() iter.Seq2[string, *torch.Tensor] {
	return func(yield func(string, *torch.Tensor) bool) {
		for _, g := range d.groups {
			for i, p := range g.Params {
				if g.velocity[i] != nil && !yield("momentum_buffer."+p.Name, g.velocity[i]) {
					return
				}
			}
		}
	}
}

func tensors(params []Param) []*torch.Tensor {
	ts := make([]*torch.Tensor, len(params))
	for i, p := range params {
		ts[i] = p.T
	}
	return ts
}
