package train

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch/optim"
)

// parameterGroups is open_clip 3.3.0's rule (open_clip_train/main.py): weight decay for all but
// gains, biases and the temperature. Embeddings and positions do decay.
func parameterGroups(m *clip.Model, decay float64) []optim.Group {
	plain, decayed := optim.Group{}, optim.Group{WeightDecay: decay}
	for key, p := range m.Parameters() {
		if !p.RequiresGrad() {
			continue // a locked tower's, or fixed positions
		}
		param := optim.Param{Name: key, T: p}
		if p.Dim() < 2 || strings.Contains(key, "bn") || strings.Contains(key, "ln") || strings.Contains(key, "bias") || strings.Contains(key, "logit_scale") {
			plain.Params = append(plain.Params, param)
		} else {
			decayed.Params = append(decayed.Params, param)
		}
	}
	return []optim.Group{plain, decayed}
}

// decayByLayer parts groups by learning rate: a parameter's is the whole one times decay^depth,
// depth being that of [clip.Model.Depths]. It is open_clip's (open_clip_train/optim.py
// layer_decay_param_groups), after Clark et al., arXiv 2003.10555. A decay of 0 or 1 changes
// nothing. The largest learning rate comes first.
func decayByLayer(m *clip.Model, groups []optim.Group, image, text float64) []optim.Group {
	off := func(decay float64) bool { return decay == 0 || decay == 1 }
	if off(image) && off(text) {
		return groups
	}
	imageDepths, textDepths := m.Depths()
	scale := func(key string) float64 {
		if depth, ok := imageDepths[key]; ok && !off(image) {
			return math.Pow(image, float64(depth))
		}
		if depth, ok := textDepths[key]; ok && !off(text) {
			return math.Pow(text, float64(depth))
		}
		return 1
	}
	var scaled []optim.Group
	for _, g := range groups {
		for _, p := range g.Params {
			s := scale(p.Name)
			i := slices.IndexFunc(scaled, func(o optim.Group) bool { return o.LRScale == s && o.WeightDecay == g.WeightDecay })
			if i < 0 {
				i = len(scaled)
				scaled = append(scaled, optim.Group{WeightDecay: g.WeightDecay, LRScale: s})
			}
			scaled[i].Params = append(scaled[i].Params, p)
		}
	}
	slices.SortStableFunc(scaled, func(a, b optim.Group) int { return cmp.Compare(b.LRScale, a.LRScale) })
	return scaled
}

// tokenTravel is how far an entry of a token's embedding can go in a run by that rate: the standard
// deviation that CLIP draws the embeddings with (open_clip/transformer.py, init_parameters; BERT's
// and RoBERTa's is the same).
const tokenTravel = 0.02

// tokenSteps bounds the rate of a very short run, by its steps: 2e-3 is the highest that was tried.
const tokenSteps = 20

// tokenLR is the peak learning rate of the token embeddings in a run of so many steps. A few
// images make a few steps, and no step of Adam moves a weight by much more than the learning
// rate: at 1e-5, what the captions' new words mean would never be learned. A rate that is higher
// for all weights changes what the model makes of everything else. But the rows of the words belong
// to these words alone: the other words' have no gradient and stay, but for the weight decay, 0.2%
// over such a run. So they may go as far as they are long; by the cosine schedule that is half the
// peak times the steps. In a run of 4,000 steps it is 1e-5 again. docs/finetuning.md has what it
// brings.
func (c *Config) tokenLR(steps int) float64 {
	switch c.TokenLR {
	case TokenLRSame:
		return c.LR
	case TokenLRAuto:
		return max(c.LR, 2*tokenTravel/float64(max(steps, tokenSteps)))
	}
	return c.TokenLR
}

// scaleTokens gives the token embeddings among groups a group of their own, whose learning rate is
// that of the group they were in times scale.
func scaleTokens(groups []optim.Group, scale float64) []optim.Group {
	if scale == 1 {
		return groups
	}
	var scaled []optim.Group
	for _, g := range groups {
		words, rest := g, g
		words.Params = slices.DeleteFunc(slices.Clone(g.Params), func(p optim.Param) bool { return !isWord(p) })
		rest.Params = slices.DeleteFunc(slices.Clone(g.Params), isWord)
		scaled = append(scaled, rest)
		if len(words.Params) > 0 {
			if words.LRScale == 0 {
				words.LRScale = 1
			}
			words.LRScale *= scale
			scaled = append(scaled, words)
		}
	}
	return scaled
}

// isWord tells the token embeddings: CLIP's, or a Hugging Face tower's, of a RoBERTa or of an M2M100 and mT5.
func isWord(p optim.Param) bool {
	return slices.ContainsFunc([]string{"token_embedding.weight", "word_embeddings.weight", "embed_tokens.weight"},
		func(name string) bool { return strings.HasSuffix(p.Name, name) })
}

// towerParameters counts the weights that learn, the temperature and the bias of the logits left
// out.
func towerParameters(m *clip.Model) int {
	n := 0
	for key, p := range m.Parameters() {
		if p.RequiresGrad() && !strings.HasPrefix(key, "logit_") {
			n += p.Numel()
		}
	}
	return n
}
