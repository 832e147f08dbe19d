package tower

import "github.com/goclip/goclip/torch/nn"

// layers are the groups of a transformer: what embeds, each block, and with the last one what follows it.
func layers[B any](embedding Group, blocks []B, after ...any) []Group {
	groups := []Group{embedding}
	for _, b := range blocks {
		groups = append(groups, Group{b})
	}
	last := len(groups) - 1
	groups[last] = append(groups[last], after...)
	return groups
}

func (v *ViT) Groups() []Group {
	stem := Group{v.Conv1, v.ClassEmbedding, v.PositionalEmbedding, v.LnPre}
	return append(layers(stem, v.Transformer.Blocks, v.LnPost), Group{v.Proj})
}

func (v *ViT) Lock(unlocked int, _ bool) {
	Group{v.AttnPool}.Learn(false)
	LockAllBut(unlocked, v.Groups())
}

func (v *TimmViT) Groups() []Group {
	groups := layers(Group{v.Patches, v.Stem, v.MBConvs, v.NaFlex, v.ClassToken, v.Positions, v.NormPre}, v.Blocks, v.Norm)
	if v.AttnPool != nil || v.NormPooled != nil || v.Head != nil {
		groups = append(groups, Group{v.AttnPool, v.NormPooled, v.Head})
	}
	return groups
}

func (v *TimmViT) Lock(unlocked int, freezeBNStats bool) {
	lockWithStatistics(v, unlocked, freezeBNStats)
}

func (r *ResNet) Groups() []Group {
	stem := Group{r.Conv1, r.Bn1, r.Conv2, r.Bn2, r.Conv3, r.Bn3}
	return []Group{stem, {r.Layer1}, {r.Layer2}, {r.Layer3}, {r.Layer4}, {r.AttnPool}}
}

func (r *ResNet) Lock(unlocked int, freezeBNStats bool) {
	lockWithStatistics(r, unlocked, freezeBNStats)
}

// lockWithStatistics locks a tower that has batch normalisations.
func lockWithStatistics(t Grouper, unlocked int, freeze bool) {
	LockAllBut(unlocked, t.Groups())
	for _, bn := range nn.Modules[*nn.BatchNorm2d](t) {
		bn.Frozen = freeze && !bn.Weight.RequiresGrad()
	}
}

func (t *Text) Groups() []Group {
	groups := layers(Group{t.TokenEmbedding, t.PositionalEmbedding, t.ClassEmbedding}, t.Transformer.Blocks, t.LnFinal)
	if t.Projection != nil || t.ProjectionBias != nil {
		groups = append(groups, Group{t.Projection, t.ProjectionBias})
	}
	return groups
}

func (t *Text) Lock(unlocked int, _ bool) { LockAllBut(unlocked, t.Groups()) }

func (r *Roberta) Groups() []Group {
	return layers(Group{r.Words, r.Positions, r.TokenTypes, r.Ln}, r.Layers, r.Head.Pooler, r.Head.Norm, r.Head.Mapping)
}

func (r *Roberta) Lock(unlocked int, freezeLayerNorm bool) {
	LockAllBut(unlocked, r.Groups())
	if freezeLayerNorm {
		return
	}
	Group{r.Ln}.Learn(true)
	for _, l := range r.Layers {
		Group{l.AttentionLn, l.OutputLn}.Learn(true)
	}
}

func (t *Transformer) Adapted() (all []Adapted) {
	for _, b := range t.Blocks {
		all = append(all, Adapted{b.Attn.InWeight, &b.Attn.InLoRA, 3}, adaptLinear(b.Attn.Out, 1), adaptLinear(b.MLP.Fc, 1), adaptLinear(b.MLP.Proj, 1))
	}
	return all
}

func (v *ViT) Adapted() []Adapted  { return v.Transformer.Adapted() }
func (t *Text) Adapted() []Adapted { return t.Transformer.Adapted() }

func (v *TimmViT) Adapted() (all []Adapted) {
	for _, b := range v.Blocks {
		all = append(all, adaptLinear(b.QKV, 3), adaptLinear(b.Out, 1))
		if b.GLU != nil {
			all = append(all, adaptLinear(b.GLU.W0, 1), adaptLinear(b.GLU.W1, 1), adaptLinear(b.GLU.W2, 1))
		} else {
			all = append(all, adaptLinear(b.MLP.Fc1, 1), adaptLinear(b.MLP.Fc2, 1))
		}
	}
	return all
}

func (v *Swin) Adapted() (all []Adapted) {
	for _, stage := range v.Stages {
		for _, b := range stage.Blocks {
			all = append(all, adaptLinear(b.QKV, 3), adaptLinear(b.Out, 1), adaptLinear(b.MLP.Fc1, 1), adaptLinear(b.MLP.Fc2, 1))
		}
	}
	return all
}

func (v *Eva) Adapted() (all []Adapted) {
	for _, b := range v.Blocks {
		a := b.Attn
		if a.QKV != nil {
			all = append(all, adaptLinear(a.QKV, 3), adaptLinear(a.Out, 1), adaptLinear(b.MLP.Fc1, 1), adaptLinear(b.MLP.Fc2, 1))
			continue
		}
		for _, l := range []*nn.Linear{a.Q, a.K, a.V, a.Out, b.GLU.Gate, b.GLU.Fc1, b.GLU.Fc2} {
			all = append(all, adaptLinear(l, 1))
		}
	}
	return all
}

func (r *Roberta) Adapted() (all []Adapted) {
	for _, layer := range r.Layers {
		for _, l := range []*nn.Linear{layer.Query, layer.Key, layer.Value, layer.AttentionOut, layer.Intermediate, layer.Output} {
			all = append(all, adaptLinear(l, 1))
		}
	}
	return all
}
