package clip

import "github.com/goclip/goclip/torch"

type Pairs struct {
	Images, Texts     *torch.Tensor
	Scale             *torch.Tensor
	Bias              *torch.Tensor
	ImageIDs, TextIDs *torch.Tensor
	Teacher           *Teacher
}
type Teacher struct{ Images, Texts, Scale *torch.Tensor }
type Gatherer interface {
	Rank() int
	Size() int
	AllGather(t *torch.Tensor) *torch.Tensor
}
type LossGradient struct {
	Loss          *torch.Tensor
	Images, Texts *torch.Tensor
	Scale, Bias   *torch.Tensor
}

func TiledContrastive(p Pairs, g Gatherer, tile int) LossGradient {
	i, t, s := p.Images.Detach().SetRequiresGrad(true), p.Texts.Detach().SetRequiresGrad(true), p.Scale.Detach().SetRequiresGrad(true)
	l := ContrastiveLoss(i, t, s)
	gs := torch.Gradients(l, i, t, s)
	return LossGradient{Loss: l.Detach(), Images: gs[0], Texts: gs[1], Scale: gs[2]}
}
func TiledSigmoid(p Pairs, g Gatherer, tile int) LossGradient {
	i, t, s, b := p.Images.Detach().SetRequiresGrad(true), p.Texts.Detach().SetRequiresGrad(true), p.Scale.Detach().SetRequiresGrad(true), p.Bias.Detach().SetRequiresGrad(true)
	l := SigmoidLoss(i, t, s, b)
	gs := torch.Gradients(l, i, t, s, b)
	return LossGradient{Loss: l.Detach(), Images: gs[0], Texts: gs[1], Scale: gs[2], Bias: gs[3]}
}
