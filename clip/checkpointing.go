package clip

import (
	"fmt"

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

// SetGradCheckpointing says whether training keeps only each block's input and computes the block again in the backward
// pass (Chen et al., arXiv 1604.06174): memory for activations falls to a block's, and a step costs one more forward of the blocks.
// Gradients are the same, dropout's noise included. Blocks are those of [Vision], [TimmViT], [Text] and [Roberta]; a
// [ResNet] has none, and is refused when on is true. It is open_clip's set_grad_checkpointing, which does nothing in a
// ResNet.
func (m *Model) SetGradCheckpointing(on bool) error {
	if _, ok := m.Visual.(*ResNet); ok && on {
		return fmt.Errorf("clip: %s has a ResNet for a picture tower, which gradient checkpointing is not made for: only transformers have blocks to compute again", m.Name)
	}
	m.Visual.setGradCheckpointing(on)
	m.Text.setGradCheckpointing(on)
	return nil
}

func (v *Vision) setGradCheckpointing(on bool)  { v.Transformer.checkpointing.on = on }
func (t *Text) setGradCheckpointing(on bool)    { t.Transformer.checkpointing.on = on }
func (v *TimmViT) setGradCheckpointing(on bool) { v.checkpointing.on = on }
func (r *Roberta) setGradCheckpointing(on bool) { r.checkpointing.on = on }
func (r *ResNet) setGradCheckpointing(bool)     {}
