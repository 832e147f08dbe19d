package clip

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
	"github.com/goclip/goclip/torch/nn"
)

// LoRAOptions are those of low-rank adaptation (Hu et al., arXiv 2106.09685).
type LoRAOptions struct {
	Rank  int     // of the product that each weight learns
	Alpha float64 // the product is multiplied by Alpha / Rank
	Seed  uint64  // of the random half of it; the other half is zero, so that nothing changes at first
	Image bool    // adapt the image tower
	Text  bool    // adapt the text tower
}

// AddLoRA freezes the towers that o names and gives each matrix of their blocks, those of attention and of the MLP, a
// product of low rank to learn: queries, keys and values have one each. [Model.Parameters] has it from then on, under the
// weight's key with lora_A and lora_B in place of weight; [Model.Save] and [Model.SaveHuggingFace] write the weights with
// the products added, so that what they write is a plain model. A tower that is no [tower.Adapter],
// such as a ResNet, is refused.
//
// It comes after the weights were read, and before an optimiser is made.
func (m *Model) AddLoRA(o LoRAOptions) error {
	switch {
	case o.Rank < 1:
		return fmt.Errorf("clip: LoRA rank %d: must be at least 1", o.Rank)
	case o.Alpha <= 0:
		return fmt.Errorf("clip: LoRA alpha %g: must be positive", o.Alpha)
	case m.lora != nil:
		return errors.New("clip: the model has LoRA already")
	case !o.Image && !o.Text:
		return errors.New("clip: LoRA needs a tower; name the image tower, the text tower or both")
	}
	var all []tower.Adapted
	for _, t := range []struct {
		tower Tower
		adapt bool
	}{{m.Visual, o.Image}, {m.Text, o.Text}} {
		if !t.adapt {
			continue
		}
		of, ok := t.tower.(tower.Adapter)
		if !ok {
			return fmt.Errorf("clip: %s has a %s for a tower, which LoRA is not made for: only transformers have the matrices it adapts", m.Name, towerName(t.tower))
		}
		all = append(all, of.Adapted()...)
	}
	if o.Image {
		tower.Group{m.Visual}.Learn(false)
	}
	if o.Text {
		tower.Group{m.Text}.Learn(false)
	}
	m.lora = map[*torch.Tensor]*nn.LoRA{}
	err := torch.NoGrad(func(s *torch.Scope) {
		state := torch.RNGState(torch.CPU)
		torch.ManualSeed(o.Seed)
		for _, a := range all {
			l := nn.NewLoRA(a.Weight, o.Rank, a.Parts, o.Alpha)
			l.Initialize(s)
			*a.LoRA, m.lora[a.Weight] = l, l
		}
		_ = torch.SetRNGState(torch.CPU, state) // libtorch's own bytes: it takes them back
	})
	if err != nil {
		return fmt.Errorf("clip: LoRA: %w", err)
	}
	return nil
}

// IsLoRA tells the keys of low-rank products among those of [Model.State]. What such a product is added to is a weight of
// the model, and no checkpoint has it.
func IsLoRA(key string) bool {
	return strings.HasSuffix(key, ".lora_A") || strings.HasSuffix(key, ".lora_B")
}

// entry is a tensor of the state as a checkpoint has it: a weight with its low-rank product added.
func (m *Model) entry(key string, p *torch.Tensor, dtype torch.DType) (e checkpoint.Entry, err error) {
	l := m.lora[p]
	if l == nil {
		return checkpoint.FromTensor(key, p, dtype)
	}
	var merged *torch.Tensor
	if err = torch.NoGrad(func(s *torch.Scope) { merged = l.Merged(s, p).Keep() }); err != nil {
		return e, err
	}
	defer merged.Free()
	return checkpoint.FromTensor(key, merged, dtype)
}

// Adapted reports whether p is a weight that a low-rank product is added to.
func (m *Model) Adapted(p *torch.Tensor) bool { return m.lora[p] != nil }
