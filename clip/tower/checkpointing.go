package tower

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// checkpointing says how a tower runs its blocks. The zero value keeps what the backward pass needs.
type checkpointing struct {
	on       bool
	training bool
}

// block is forward(x, side), a block of a tower whose parameters are those of module: its temporaries die with the block
// or, with gradient checkpointing in training, are computed again in the backward pass. side is a mask, a position or nil.
func (c checkpointing) block(module any, forward func(x, side *torch.Tensor) *torch.Tensor, x, side *torch.Tensor) *torch.Tensor {
	if !c.on || !c.training {
		return torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return forward(x, side) }, x)
	}
	var params []*torch.Tensor
	for _, p := range nn.Params(module) {
		params = append(params, p)
	}
	return torch.Recompute(forward, x, side, params...)
}

func (v *ViT) SetGradCheckpointing(on bool)     { v.Transformer.checkpointing.on = on }
func (t *Text) SetGradCheckpointing(on bool)    { t.Transformer.checkpointing.on = on }
func (v *TimmViT) SetGradCheckpointing(on bool) { v.checkpointing.on = on }
func (r *Roberta) SetGradCheckpointing(on bool) { r.checkpointing.on = on }
