package tower

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Roberta is a text tower of Hugging Face's (Liu et al., arXiv 1907.11692; transformers modeling_roberta.py), or the BERT
// that it goes back to (Devlin et al., 1810.04805; modeling_bert.py), whose positions begin at 0. Unlike CLIP's own it sees
// a text in both directions, normalises behind each branch, and has dropout in training.
type Roberta struct {
	Words      *nn.Weight      `torch:"transformer.embeddings.word_embeddings"`       // (V, W)
	Positions  *nn.Weight      `torch:"transformer.embeddings.position_embeddings"`   // (P, W)
	TokenTypes *nn.Weight      `torch:"transformer.embeddings.token_type_embeddings"` // (types, W)
	Ln         *nn.LayerNorm   `torch:"transformer.embeddings.LayerNorm"`
	Layers     []*RobertaLayer `torch:"transformer.encoder.layer"`
	Head       *EncoderHead    `torch:""`
	encoder
}

// RobertaLayer is a post-norm residual block.
type RobertaLayer struct {
	Query        *nn.Linear    `torch:"attention.self.query"`
	Key          *nn.Linear    `torch:"attention.self.key"`
	Value        *nn.Linear    `torch:"attention.self.value"`
	AttentionOut *nn.Linear    `torch:"attention.output.dense"`
	AttentionLn  *nn.LayerNorm `torch:"attention.output.LayerNorm"`
	Intermediate *nn.Linear    `torch:"intermediate.dense"`
	Output       *nn.Linear    `torch:"output.dense"`
	OutputLn     *nn.LayerNorm `torch:"output.LayerNorm"`
}

func newRoberta(c *Config) *Roberta {
	h, _ := c.Text.Encoder() // validate has found it
	w, norm := h.HiddenSize, &NormOptions{Eps: h.LayerNormEps}
	r := &Roberta{
		Words:      &nn.Weight{Weight: nn.Parameter(h.VocabSize, w)},
		Positions:  &nn.Weight{Weight: nn.Parameter(h.Positions, w)},
		TokenTypes: &nn.Weight{Weight: nn.Parameter(h.TokenTypes, w)},
		Ln:         newLayerNorm(w, norm),
		Head:       newEncoderHead(c, h),
		encoder:    encoder{config: h},
	}
	for range h.Layers {
		r.Layers = append(r.Layers, &RobertaLayer{
			Query: linear(w, w), Key: linear(w, w), Value: linear(w, w),
			AttentionOut: linear(w, w), AttentionLn: newLayerNorm(w, norm),
			Intermediate: linear(w, h.IntermediateSize), Output: linear(h.IntermediateSize, w), OutputLn: newLayerNorm(w, norm),
		})
	}
	if r.Head.pooler == "cls_pooler" {
		r.Head.Pooler = linear(w, w)
	}
	return r
}

// Forward maps tokens (B, T) int64, padded to the right, to features (B, E). Tokens on the host are best, wherever the weights are.
func (r *Roberta) Forward(tokens *torch.Tensor) *torch.Tensor {
	texts := r.arrange(tokens, r.Words.Weight)
	x := torch.Tidy(func(ids *torch.Tensor) *torch.Tensor { return r.embed(ids, texts.places) }, texts.ids)
	for _, l := range r.Layers {
		x = r.checkpointing.block(l, func(x, real *torch.Tensor) *torch.Tensor { return r.layer(l, x, texts.with(real)) }, x, texts.real)
	}
	return r.Head.forward(x, texts)
}

// embed adds up what a token is, where it stands and the only type of text: (1, N) -> (1, N, W).
func (r *Roberta) embed(ids, places *torch.Tensor) *torch.Tensor {
	x := ids.Embedding(r.Words.Weight).Add(ids.Borrow(r.TokenTypes.Weight).Narrow(0, 0, 1))
	return r.drop(r.Ln.Forward(x.Add(places.Embedding(r.Positions.Weight))))
}

// layer maps (1, N, W) to (1, N, W).
func (r *Roberta) layer(l *RobertaLayer, x *torch.Tensor, texts arranged) *torch.Tensor {
	y := texts.attend(l.Query.Forward(x), l.Key.Forward(x), l.Value.Forward(x), r.config.Heads, nil, r.attentionDropout())
	y = r.drop(l.AttentionOut.Forward(y))
	x = l.AttentionLn.Forward(y.Add(x))
	y = r.drop(l.Output.Forward(l.Intermediate.Forward(x).Gelu()))
	return l.OutputLn.Forward(y.Add(x))
}

// Initialize is transformers' _init_weights with its initializer_range 0.02 (modeling_utils.py): a normal distribution,
// no bias, nothing for padding. The projection keeps PyTorch's default.
func (r *Roberta) Initialize(s *torch.Scope) {
	for _, w := range []*nn.Weight{r.Words, r.Positions, r.TokenTypes} {
		normal(s, w.Weight, 0.02)
	}
	for _, w := range []*nn.Weight{r.Words, r.Positions} {
		s.Alias(w.Weight).Select(0, r.config.PadID).Fill(0)
	}
	for _, l := range r.linears() {
		normal(s, l.Weight, 0.02)
	}
}

func (r *Roberta) InitializeBiases(s *torch.Scope) {
	for _, l := range r.linears() {
		s.Alias(l.Bias).Fill(0)
	}
}

func (r *Roberta) linears() []*nn.Linear {
	var all []*nn.Linear
	for _, l := range r.Layers {
		all = append(all, l.Query, l.Key, l.Value, l.AttentionOut, l.Intermediate, l.Output)
	}
	for _, l := range []*nn.Linear{r.Head.Pooler, r.Head.Mapping} {
		if l != nil {
			all = append(all, l)
		}
	}
	return all
}
