package train

import (
	"slices"
	"strings"

	"github.com/goclip/goclip/torch/optim"
)

// tokenLRAuto is --token-embedding-lr for a rate that goes by the length of the run.
const tokenLRAuto = -1

// tokenTravel is how far an entry of a token's embedding can go in a run by that rate: the standard deviation that CLIP draws
// the embeddings with (open_clip/transformer.py, init_parameters; BERT's and RoBERTa's is the same).
const tokenTravel = 0.02

// tokenSteps bounds the rate of a very short run, by its steps: 2e-3 is the highest that was tried.
const tokenSteps = 20

// tokenLR is the peak learning rate of the token embeddings in a run of so many steps. A few pictures make a few steps, and no
// step of Adam moves a weight by much more than the learning rate: at 1e-5, what the captions' new words mean would never be
// learned. A rate that is higher for all weights changes what the model makes of everything else. But the rows of the words
// belong to these words alone: the other words' have no gradient and stay, but for the weight decay, 0.2% over such a run. So
// they may go as far as they are long; by the cosine schedule that is half the peak times the steps. In a run of 4,000 steps
// it is 1e-5 again. docs/finetuning.md has what it brings.
func (o *Options) tokenLR(steps int) float64 {
	switch o.TokenLR {
	case 0:
		return o.LR
	case tokenLRAuto:
		return max(o.LR, 2*tokenTravel/float64(max(steps, tokenSteps)))
	}
	return o.TokenLR
}

// scaleTokens gives the token embeddings among groups a group of their own, whose learning rate is that of the group they were
// in times scale. The embeddings are CLIP's (token_embedding.weight) or a Hugging Face tower's (word_embeddings.weight).
func scaleTokens(groups []optim.Group, scale float64) []optim.Group {
	if scale == 1 {
		return groups
	}
	var scaled []optim.Group
	for _, g := range groups {
		words, rest := g, g
		isWord := func(p optim.Param) bool {
			return strings.HasSuffix(p.Name, "token_embedding.weight") || strings.HasSuffix(p.Name, "word_embeddings.weight")
		}
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
