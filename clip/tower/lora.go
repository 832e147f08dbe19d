package tower

import "github.com/goclip/goclip/torch/nn"

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
