package clip

import (
	"fmt"

	"github.com/goclip/goclip/torch/nn"
)

// LockImage keeps the picture tower's weights as they are, but for its last groups (Zhai et al., LiT, arXiv
// 2111.07991). It is open_clip 3.3.0's --lock-image. With 0 groups the whole tower is locked; a count beyond the
// tower's leaves all of it learning. Nothing is computed backward below the first weight that learns. Counted from the
// top, the groups are
//
//   - of a [Vision] the projection; the last block with ln_post; each block before it; the patches with the class
//     token, the positions and ln_pre. In no group is an attentional pool, which stays locked. Positions that the
//     config fixes learn with their group. Both is open_clip's way;
//   - of a [TimmViT] the pool map, where there is one; the last block with the norm; each block before it; the patches
//     with the class token and the positions. The projection is no part of timm's model: it always learns;
//   - of a [ResNet] the attention pool; layer4, layer3, layer2, layer1; the stem. open_clip has no groups here and
//     fails unless the count is 0.
//
// A locked ResNet still counts batches into its running statistics and normalises with the batch's, unless
// freezeBNStats: then the normalisations of the locked groups compute in training as in evaluation. The other towers
// have no such statistics, and it changes nothing.
//
// Each call stands in place of the one before. An optimiser is made after it.
func (m *Model) LockImage(unlockedGroups int, freezeBNStats bool) error {
	if unlockedGroups < 0 {
		return fmt.Errorf("clip: %d unlocked groups of the picture tower: 0 or more are wanted", unlockedGroups)
	}
	m.Visual.lock(unlockedGroups, freezeBNStats)
	return nil
}

// LockText is [Model.LockImage] of the text tower, open_clip 3.3.0's --lock-text. Counted from the top, the groups are
//
//   - of a [Text] the projection, where there is one; the last block with ln_final; each block before it; the
//     embeddings. Normalisations are locked with their group, whatever freezeLayerNorm says: open_clip fails where it
//     is false;
//   - of a [Roberta] the last layer with the pooler; each layer before it; the embeddings. The projection always
//     learns, and so does each LayerNorm unless freezeLayerNorm. Dropout stays on in training, in locked layers too.
func (m *Model) LockText(unlockedLayers int, freezeLayerNorm bool) error {
	if unlockedLayers < 0 {
		return fmt.Errorf("clip: %d unlocked layers of the text tower: 0 or more are wanted", unlockedLayers)
	}
	m.Text.lock(unlockedLayers, freezeLayerNorm)
	return nil
}

// group is modules and parameters that are locked together; what is nil in it is absent.
type group []any

func (g group) learn(on bool) {
	for _, p := range nn.Params([]any(g)) {
		p.SetRequiresGrad(on)
	}
}

// lockAllBut lets the last unlocked of the groups learn, which go from the bottom to the top, and no other.
func lockAllBut(unlocked int, groups []group) {
	for i, g := range groups {
		g.learn(len(groups)-i <= unlocked)
	}
}

// layers are the groups of a transformer: what embeds, each block, and with the last one what follows it.
func layers[B any](embedding group, blocks []B, after ...any) []group {
	groups := []group{embedding}
	for _, b := range blocks {
		groups = append(groups, group{b})
	}
	last := len(groups) - 1
	groups[last] = append(groups[last], after...)
	return groups
}

func (v *Vision) lock(unlocked int, _ bool) {
	group{v.AttnPool}.learn(false)
	stem := group{v.Conv1, v.ClassEmbedding, v.PositionalEmbedding, v.LnPre}
	lockAllBut(unlocked, append(layers(stem, v.Transformer.Blocks, v.LnPost), group{v.Proj}))
}

func (v *TimmViT) lock(unlocked int, _ bool) {
	groups := layers(group{v.Patches, v.ClassToken, v.Positions}, v.Blocks, v.Norm)
	if v.AttnPool != nil {
		groups = append(groups, group{v.AttnPool})
	}
	lockAllBut(unlocked, groups)
}

func (r *ResNet) lock(unlocked int, freezeBNStats bool) {
	stem := group{r.Conv1, r.Bn1, r.Conv2, r.Bn2, r.Conv3, r.Bn3}
	lockAllBut(unlocked, []group{stem, {r.Layer1}, {r.Layer2}, {r.Layer3}, {r.Layer4}, {r.AttnPool}})
	for _, bn := range r.norms() {
		bn.Frozen = freezeBNStats && !bn.Weight.RequiresGrad()
	}
}

func (r *ResNet) norms() []*nn.BatchNorm2d {
	all := []*nn.BatchNorm2d{r.Bn1, r.Bn2, r.Bn3}
	for _, stage := range [][]*Bottleneck{r.Layer1, r.Layer2, r.Layer3, r.Layer4} {
		for _, b := range stage {
			all = append(all, b.Bn1, b.Bn2, b.Bn3)
			if b.Downsample != nil {
				all = append(all, b.Downsample.Bn)
			}
		}
	}
	return all
}

func (t *Text) lock(unlocked int, _ bool) {
	groups := layers(group{t.TokenEmbedding, t.PositionalEmbedding, t.ClassEmbedding}, t.Transformer.Blocks, t.LnFinal)
	if t.Projection != nil || t.ProjectionBias != nil {
		groups = append(groups, group{t.Projection, t.ProjectionBias})
	}
	lockAllBut(unlocked, groups)
}

func (r *Roberta) lock(unlocked int, freezeLayerNorm bool) {
	lockAllBut(unlocked, layers(group{r.Words, r.Positions, r.TokenTypes, r.Ln}, r.Layers, r.Pooler))
	if freezeLayerNorm {
		return
	}
	group{r.Ln}.learn(true)
	for _, l := range r.Layers {
		group{l.AttentionLn, l.OutputLn}.learn(true)
	}
}
