package clip

import (
	"fmt"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// LockImage keeps the image tower's weights as they are, but for its last groups (Zhai et al., LiT, arXiv
// 2111.07991). It is what open_clip 3.3.0 does for --lock-image. With 0 groups the whole tower is locked; a count beyond the
// tower's leaves all of it learning. Nothing is computed backward below the first weight that learns. Counted from the
// top, the groups are
//
//   - of a [tower.ViT] the projection; the last block with ln_post; each block before it; the patches with the class
//     token, the positions and ln_pre. In no group is an attentional pool, which stays locked. Positions that the
//     config fixes learn with their group. Both is open_clip's way;
//   - of a [tower.TimmViT] what follows the norm (the pool map, the norm of the mean, timm's own projection), where there is
//     any; the last block with the norm; each block before it; the patches with the class token and the positions. A
//     projection behind timm's model always learns;
//   - of a [tower.Eva] the projection with the pool; the last block with the norm; each block
//     before it; the patches with the class token and the positions;
//   - of a [tower.ConvNeXt] the last LayerNorm; each block, the first of a stage with the
//     downsampling before it; the stem. The projection always learns;
//   - of a [tower.FastViT] the last convolution with the projection; each block, the first of a stage with the
//     downsampling before it; the stem;
//   - of a [tower.Swin] the last block with the norm; each block, the first of a stage with the merging before it; the
//     patches. The projection always learns;
//   - of a [tower.ResNet] the attention pool; layer4, layer3, layer2, layer1; the stem. open_clip has no groups here and
//     fails unless the count is 0.
//
// A locked ResNet, or another tower with batch normalisation, still counts batches into its running statistics and normalises with the batch's, unless
// freezeBNStats: then the normalisations of the locked groups compute in training as in evaluation. The other towers
// have no such statistics, and it changes nothing.
//
// Each call stands in place of the one before. An optimiser is made after it.
func (m *Model) LockImage(unlockedGroups int, freezeBNStats bool) error {
	if unlockedGroups < 0 {
		return fmt.Errorf("clip: %d unlocked groups of the image tower: must be 0 or more", unlockedGroups)
	}
	return lock(m.Visual, unlockedGroups, freezeBNStats)
}

// LockText is [Model.LockImage] of the text tower, what open_clip 3.3.0 does for --lock-text. Counted from the top, the groups are
//
//   - of a [tower.Text] the projection, where there is one; the last block with ln_final; each block before it; the
//     embeddings. Normalisations are locked with their group, whatever freezeLayerNorm says: open_clip fails where it
//     is false;
//   - of a [tower.Roberta] the last layer with the pooler; each layer before it; the embeddings. The projection always
//     learns, and so does each LayerNorm unless freezeLayerNorm. Dropout stays on in training, in locked layers too;
//   - of a [tower.M2M100] and a [tower.MT5] the last layer with the norm behind it; each layer before it; the embeddings.
//     The projection always learns. open_clip has no groups of a BERT and an M2M100, and fails unless the count is 0.
func (m *Model) LockText(unlockedLayers int, freezeLayerNorm bool) error {
	if unlockedLayers < 0 {
		return fmt.Errorf("clip: %d unlocked layers of the text tower: must be 0 or more", unlockedLayers)
	}
	return lock(m.Text, unlockedLayers, freezeLayerNorm)
}

// lock locks a tower by its own rules, by its groups or, where it offers neither, as a whole.
func lock(t Tower, unlocked int, freezeNorm bool) error {
	switch t := t.(type) {
	case tower.Locker:
		t.Lock(unlocked, freezeNorm)
	case tower.Grouper:
		tower.LockAllBut(unlocked, t.Groups())
	default:
		if unlocked > 0 {
			return fmt.Errorf("clip: %d groups to unlock: a %T has no groups (tower.Grouper)", unlocked, t)
		}
		tower.Group{t}.Learn(false)
	}
	return nil
}

// Depths tells, by the keys of [Model.Parameters], how far below the top of its tower a parameter's group is: 0 for the
// last group of [Model.LockImage] and of [Model.LockText], 1 for the one before it. Depth 0 have also the parameters that
// are above all groups or in none: a projection that always learns, an attentional pool, the temperature.
func (m *Model) Depths() (image, text map[string]int) {
	keys := map[*torch.Tensor]string{}
	for key, p := range m.Parameters() {
		keys[p] = key
	}
	of := func(t Tower) map[string]int {
		depths := map[string]int{}
		g, ok := t.(tower.Grouper)
		if !ok {
			return depths
		}
		groups := g.Groups()
		for i, g := range groups {
			for _, p := range nn.Params([]any(g)) {
				depths[keys[p]] = len(groups) - 1 - i
			}
		}
		return depths
	}
	return of(m.Visual), of(m.Text)
}

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
