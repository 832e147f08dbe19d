package loss

import (
	"fmt"

	"github.com/goclip/goclip/torch"
)

// Pairs are what a loss compares: the K pairs of this process among the N of all processes. Image i belongs to text i.
// Each process has the same K, and the same fields that are not nil.
type Pairs struct {
	Images, Texts *torch.Tensor // (K, E) normalised features, of any float type
	Scale         *torch.Tensor // () the factor, exp(logit_scale)
	Bias          *torch.Tensor // () SigLIP's; nil without. The softmax of Contrastive does not change with it
	// (K) int64: images of equal ids are the same image, texts of equal ids the same caption, and so each is a match of
	// the other's partner too, not a false negative. nil: all differ.
	ImageIDs, TextIDs *torch.Tensor
	Teacher           *Teacher // for distillation; nil without
}

// Teacher is what another model makes of the same pairs.
type Teacher struct {
	Images, Texts *torch.Tensor // (K, E') normalised features
	Scale         *torch.Tensor // () its factor, exp(logit_scale)
}

// Gatherer joins the processes that train together. nil stands for one process.
type Gatherer interface {
	Rank() int // of this process, from 0
	Size() int // how many processes there are
	// AllGather joins the (K, ...) of every process to (N, ...) in the order of ranks, in the scope of t. It panics with
	// *torch.Error.
	AllGather(t *torch.Tensor) *torch.Tensor
}

// Gradient is a loss and its gradients, all float32, or float64 for float64 features. The gradients of the features are
// complete; of the others each process has a share.
type Gradient struct {
	Loss          *torch.Tensor // () this process's share: the sum over processes is the loss
	Images, Texts *torch.Tensor // (K, E) the gradient of the loss of all processes with respect to this process's features
	Scale, Bias   *torch.Tensor // () this process's part of the gradients with respect to Pairs.Scale and .Bias: sum them over processes; Bias may be nil
}

// check panics with a *torch.Error that names the field that does not fit.
func (p *Pairs) check(op string, g Gatherer, tile int) {
	refuse := func(format string, args ...any) {
		panic(&torch.Error{Op: op, Msg: fmt.Sprintf(format, args...)})
	}
	if tile < 0 {
		refuse("a tile has %d rows; 0 chooses", tile)
	}
	if g != nil && (g.Rank() < 0 || g.Rank() >= g.Size()) {
		refuse("the rank %d must be below %d, the number of processes", g.Rank(), g.Size())
	}
	features := func(name string, images, texts, scale *torch.Tensor) {
		if images == nil || texts == nil || scale == nil {
			refuse("%s lack Images, Texts or Scale", name)
		}
		i, t := images.Shape(), texts.Shape()
		if len(i) != 2 || len(t) != 2 || i[0] != t[0] || i[1] != t[1] || i[0] == 0 {
			refuse("%s have images %v and texts %v, which should both be (K, E)", name, i, t)
		}
		if scale.Dim() != 0 {
			refuse("%s have the scale %v, which should be one number, ()", name, scale.Shape())
		}
	}
	features("the pairs", p.Images, p.Texts, p.Scale)
	k := p.Images.Size(0)
	if p.Teacher != nil {
		features("the teacher's pairs", p.Teacher.Images, p.Teacher.Texts, p.Teacher.Scale)
		if n := p.Teacher.Images.Size(0); n != k {
			refuse("the teacher has %d pairs of %d", n, k)
		}
	}
	if p.Bias != nil && p.Bias.Dim() != 0 {
		refuse("the bias is %v, which should be one number, ()", p.Bias.Shape())
	}
	for name, ids := range map[string]*torch.Tensor{"ImageIDs": p.ImageIDs, "TextIDs": p.TextIDs} {
		if ids != nil && (ids.DType() != torch.Int64 || ids.Dim() != 1 || ids.Size(0) != k) {
			refuse("%s are %s, which should be int64[%d]", name, ids.Summary(), k)
		}
	}
}

// result makes the gradients, all zeros, in the scope of the features.
func (p *Pairs) result() Gradient {
	like := p.Images.Detach() // in the mode of the features' scope; a gradient itself records none
	dtype := computeType(like)
	zeros := func(shape []int) *torch.Tensor { return opNewZeros.Call(like, shape, dtype) }
	r := Gradient{Loss: zeros(nil), Images: zeros(like.Shape()), Texts: zeros(like.Shape()), Scale: zeros(nil)}
	if p.Bias != nil {
		r.Bias = zeros(nil)
	}
	return r
}

// computeType is what logits of these features are computed in. Features rounded to half precision lose little, logits of
// half precision much: at a scale of 100 a bfloat16 logit is rounded by up to 0.25.
func computeType(features *torch.Tensor) torch.DType {
	if features.DType() == torch.Float64 {
		return torch.Float64
	}
	return torch.Float32
}
