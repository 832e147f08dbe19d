package clip

import (
	"fmt"

	"github.com/goclip/goclip/clip/tower"
)

// SetGradCheckpointing says whether training keeps only each block's input and computes the block again in the backward
// pass (Chen et al., arXiv 1604.06174): memory for activations falls to a block's, and a step costs one more forward of the blocks.
// Gradients are the same, dropout's noise included. A tower that is no
// [tower.Checkpointer], such as a ResNet, is refused when on is true. It is open_clip's set_grad_checkpointing, which does nothing in a
// ResNet.
func (m *Model) SetGradCheckpointing(on bool) error {
	towers := []Tower{m.Visual, m.Text}
	for _, t := range towers {
		if _, ok := t.(tower.Checkpointer); !ok && on {
			return fmt.Errorf("clip: %s has a %s for a tower, which gradient checkpointing is not made for: only transformers have blocks to compute again", m.Name, towerName(t))
		}
	}
	for _, t := range towers {
		if t, ok := t.(tower.Checkpointer); ok {
			t.SetGradCheckpointing(on)
		}
	}
	return nil
}
