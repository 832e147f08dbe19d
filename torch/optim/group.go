package optim

import (
	"fmt"
	"iter"
	"math"

	"github.com/goclip/goclip/torch"
)

// Param is a parameter under its state-dict key.
type Param struct {
	Name string
	T    *torch.Tensor
}

// Group is parameters that have the same weight decay and the same factor of the learning rate.
type Group struct {
	Params      []Param
	WeightDecay float64
	LRScale     float64 // of the learning rate; 0 stands for 1
}

// OneGroup is all parameters in one group, as of nn.Params(model).
func OneGroup(params iter.Seq2[string, *torch.Tensor], weightDecay float64) []Group {
	g := Group{WeightDecay: weightDecay}
	for name, t := range params {
		g.Params = append(g.Params, Param{name, t})
	}
	return []Group{g}
}

// oneType cuts each group into groups of one type: the fused operator reads all tensors of a list
// as the first one's type.
func oneType(groups []Group) (cut []Group) {
	for _, g := range groups {
		at := map[torch.DType]int{}
		for _, p := range g.Params {
			i, seen := at[p.T.DType()]
			if !seen {
				i = len(cut)
				at[p.T.DType()] = i
				cut = append(cut, Group{WeightDecay: g.WeightDecay, LRScale: g.LRScale})
			}
			cut[i].Params = append(cut[i].Params, p)
		}
	}
	return cut
}

// checkParams refuses what an optimiser's kernels, which run over a parameter's memory from end to
// end, would misread, and a parameter that a step would change twice.
func checkParams(op string, groups []Group) {
	names := map[*torch.Tensor]string{}
	for _, g := range groups {
		for _, p := range g.Params {
			if other, twice := names[p.T]; twice {
				panic(&torch.Error{Op: op, Msg: fmt.Sprintf("the parameters %s and %s are one tensor; name it once", other, p.Name)})
			}
			names[p.T] = p.Name
			if !p.T.IsContiguous() {
				panic(&torch.Error{Op: op, Msg: fmt.Sprintf("the parameter %s %s is not contiguous in memory", p.Name, p.T.Summary())})
			}
		}
	}
}

// checkOptions refuses what torch.optim refuses: a step by such numbers leads away from the minimum, or to NaN.
func checkOptions(op string, groups []Group, lr float64, betas ...float64) {
	checkNumber(op, "LR", lr, "0 or a positive number")
	for i, beta := range betas {
		if !(beta >= 0 && beta < 1) {
			panic(&torch.Error{Op: op, Msg: fmt.Sprintf("Beta%d %g is outside [0, 1)", i+1, beta)})
		}
	}
	for _, g := range groups {
		checkNumber(op, "WeightDecay", g.WeightDecay, "0 or a positive number")
		checkNumber(op, "LRScale", g.LRScale, "a positive number, or 0 for 1")
	}
}

// checkNumber refuses what is negative or not finite.
func checkNumber(op, name string, x float64, want string) {
	if !(x >= 0) || math.IsInf(x, 0) {
		panic(&torch.Error{Op: op, Msg: fmt.Sprintf("%s %g: must be %s", name, x, want)})
	}
}

// checkState refuses a parameter that has become another since the optimiser was made.
func checkState(op string, p Param, state *torch.Tensor) {
	if p.T.Numel() != state.Numel() || p.T.DType() != state.DType() {
		panic(&torch.Error{Op: op, Msg: fmt.Sprintf("the parameter %s was %s when the optimiser was made and is %s", p.Name,
			state.Summary(), p.T.Summary())})
	}
}
