package clip

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Text is the text tower, a causal transformer whose end token becomes the text's feature. open_clip keeps its
// parameters beside the model's own, so the field that holds it has the empty tag.
type Text struct {
	PositionalEmbedding *torch.Tensor `torch:"positional_embedding"` // (L, W)
	Projection          *torch.Tensor `torch:"text_projection"`      // (W, E)
	TokenEmbedding      *nn.Weight    `torch:"token_embedding"`      // (V, W)
	Transformer         *Transformer  `torch:"transformer"`
	LnFinal             *nn.LayerNorm `torch:"ln_final"`
}

func newText(c *Config) *Text {
	t := c.Text
	return &Text{
		PositionalEmbedding: nn.Parameter(t.ContextLength, t.Width),
		Projection:          nn.Parameter(t.Width, c.EmbedDim),
		TokenEmbedding:      &nn.Weight{Weight: nn.Parameter(t.VocabSize, t.Width)},
		Transformer: newTransformer(transformerConfig{width: t.Width, heads: t.Heads, layers: t.Layers,
			mlp: int(float64(t.Width) * t.MLPRatio), causal: true, quickGELU: c.QuickGELU}),
		LnFinal: nn.NewLayerNorm(t.Width),
	}
}

// Forward maps tokens (B, T) int64, T at most the context length, to features (B, E).
//
// What follows the longest text's end token is cut off first: the mask is causal and the feature is read at the end
// token, so later positions reach neither the output nor a gradient, and a caption is about 12 of 77 tokens.
func (t *Text) Forward(tokens *torch.Tensor) *torch.Tensor {
	end := tokens.Argmax(1) // the first end-of-text token: it has the highest id
	length := int(end.Max().Item()) + 1
	x := tokens.Narrow(1, 0, length).Embedding(t.TokenEmbedding.Weight)
	x = x.Add(x.Borrow(t.PositionalEmbedding).Narrow(0, 0, length)) // (B, length, W)
	x = t.Transformer.Pooled(x, end)                                // (B, W)
	return t.LnFinal.Forward(x).MatMul(t.Projection)
}
