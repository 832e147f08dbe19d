package tower

import (
	"math"
	"slices"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Text is CLIP's own text tower: a causal transformer whose end token becomes the text's feature, with the variations
// that open_clip's configs name (open_clip transformer.py TextTransformer).
type Text struct {
	PositionalEmbedding *torch.Tensor `torch:"positional_embedding"` // (L, W); one more with a class token
	Projection          *torch.Tensor `torch:"text_projection"`      // (W, E); nil with proj_bias or proj_type none
	ProjectionBias      *nn.Linear    `torch:"text_projection"`      // with proj_bias
	ClassEmbedding      *torch.Tensor `torch:"cls_emb"`              // (W); nil without embed_cls
	TokenEmbedding      *nn.Weight    `torch:"token_embedding"`      // (V, W)
	Transformer         *Transformer  `torch:"transformer"`
	LnFinal             *nn.LayerNorm `torch:"ln_final"`
	config              TextConfig
}

func newText(c *Config) *Text {
	t := c.Text
	x := &Text{
		PositionalEmbedding: nn.Parameter(t.ContextLength, t.Width),
		TokenEmbedding:      &nn.Weight{Weight: nn.Parameter(t.VocabSize, t.Width)},
		Transformer: newTransformer(transformerConfig{width: t.Width, heads: t.Heads, layers: t.Layers,
			mlp: int(float64(t.Width) * t.MLPRatio), causal: !t.NoCausalMask, act: activationOf(c.QuickGELU, t.ActOptions),
			norm: t.NormOptions, layerScale: t.LSInitValue}),
		LnFinal: newLayerNorm(t.Width, t.NormOptions),
		config:  t,
	}
	switch {
	case t.ProjType == "none":
	case t.ProjBias:
		x.ProjectionBias = linear(t.Width, c.EmbedDim)
	default:
		x.Projection = nn.Parameter(t.Width, c.EmbedDim)
	}
	if t.EmbedCls {
		x.ClassEmbedding = nn.Parameter(t.Width)
		x.PositionalEmbedding = nn.Parameter(t.ContextLength+1, t.Width)
	}
	return x
}

// Forward maps tokens (B, T) int64, T at most the context length, to features (B, E). Tokens on the host are best, wherever the
// weights are.
//
// Where the mask is causal and the feature is read at the end token, what follows that token reaches neither the output nor a
// gradient, and a caption is about 12 of 77 tokens. So it is cut off, text by text: see [Texts].
func (t *Text) Forward(tokens *torch.Tensor) *torch.Tensor {
	like := tokens.Borrow(t.TokenEmbedding.Weight)
	if t.cuts() {
		length := tokens.Size(1)
		ids := torch.ToSlice[int64](tokens.To(torch.CPU, torch.Int64))
		texts := arrangeTexts(ids, length, t.config.ends(ids, length), t.packs(like.ProductType()), 0)
		return t.ForwardArranged(texts, texts.numbersLike(like))
	}
	tokens = tokens.To(like.Device(), torch.Int64)
	x, mask := t.embed(tokens)
	length := x.Size(1)
	switch {
	case t.ClassEmbedding != nil || t.config.PoolType == "last": // the class token stands behind the others
		x = t.Transformer.Forward(x, mask, nil).Select(1, length-1)
	case t.config.PoolType == "first":
		x = t.Transformer.Forward(x, mask, nil).Select(1, 0)
	default:
		x = t.Transformer.Pooled(x, t.end(tokens), nil) // (B, W)
	}
	return t.project(t.LnFinal.Forward(x))
}

// embed gives tokens (B, T) their positions, and puts the class token behind them: (B, length, W). The mask is nil without one.
func (t *Text) embed(tokens *torch.Tensor) (x, mask *torch.Tensor) {
	x = tokens.Embedding(t.TokenEmbedding.Weight)
	if t.ClassEmbedding != nil {
		x = torch.Cat(1, x, x.Borrow(t.ClassEmbedding).Expand(x.Size(0), 1, x.Size(2)))
		mask = t.classMask(tokens)
	}
	return x.Add(x.Borrow(t.PositionalEmbedding).Narrow(0, 0, x.Size(1))), mask
}

// Tokens returns what a CoCa's decoder reads of texts whose class token stands behind them: (B, T) int64 -> (B, T, W).
func (t *Text) Tokens(tokens *torch.Tensor) *torch.Tensor {
	x, mask := t.embed(tokens)
	return t.Transformer.Forward(x, mask, nil).Narrow(1, 0, tokens.Size(1))
}

// ForwardArranged maps texts that Arrange has prepared to features (n, E).
func (t *Text) ForwardArranged(texts *Texts, numbers *torch.Tensor) *torch.Tensor {
	ids, places, ends, order, r := texts.cut(numbers)
	x := ids.Embedding(t.TokenEmbedding.Weight).Add(places.Embedding(t.PositionalEmbedding)) // (1, N, W)
	x = t.Transformer.Pooled(x, ends, r)
	if r.isPacked() {
		x = x.Narrow(0, 0, texts.n)
	} else {
		x = x.Index(order)
	}
	return t.project(t.LnFinal.Forward(x))
}

// cuts reports whether what follows a text's end token changes nothing.
func (t *Text) cuts() bool {
	return !t.config.NoCausalMask && t.ClassEmbedding == nil && t.config.PoolType != "first" && t.config.PoolType != "last"
}

// packs reports whether texts need no padding, with products of the given type: flash attention needs
// a GPU of Ampere or later, half precision, and heads whose width is a multiple of 8.
func (t *Text) packs(products torch.DType) bool {
	device := t.TokenEmbedding.Weight.Device()
	return device.Type == "cuda" && device.CanVarlen() && (products == torch.BFloat16 || products == torch.Float16) &&
		t.config.Width/t.config.Heads%8 == 0
}

// ends is the position of each text's end token, the first one if there are several, of rows of so many tokens.
func (c *TextConfig) ends(tokens []int64, length int) []int64 {
	ends := make([]int64, 0, len(tokens)/length)
	for text := range slices.Chunk(tokens, length) {
		end := 0
		if c.PoolType == "eos" {
			end = max(0, slices.Index(text, int64(c.eos())))
		} else {
			end = slices.Index(text, slices.Max(text)) // the end-of-text token has the highest id
		}
		ends = append(ends, int64(end))
	}
	return ends
}

// eos is the id of the end token, with PoolType eos.
func (c *TextConfig) eos() int {
	if c.EOSID != nil {
		return *c.EOSID
	}
	return 2 // open_clip's default
}

// end is [TextConfig.ends] by operators: (B, T) -> (B).
func (t *Text) end(tokens *torch.Tensor) *torch.Tensor {
	if t.config.PoolType == "eos" {
		return tokens.EqScalar(t.config.eos()).To(tokens.Device(), torch.Int64).Argmax(1)
	}
	return tokens.Argmax(1)
}

// classMask is what is added to the products when a class token stands at the end: minus infinity for the future, if
// the mask is causal, and for padding. The padding's mask is one place too far to the right, so that the class token
// sees the first of two paddings and not itself: open_clip's CoCa weights were trained so (transformer.py,
// correct_cls_mask).
func (t *Text) classMask(tokens *torch.Tensor) *torch.Tensor {
	b, n := tokens.Size(0), tokens.Size(1)+1
	zeros := tokens.To(tokens.Device(), torch.Float32).MulScalar(0) // (B, T)
	padding := zeros.MaskedFill(tokens.EqScalar(t.config.PadID), math.Inf(-1))
	keys := torch.Cat(1, zeros.Narrow(1, 0, 1), padding).View(b, 1, 1, n)
	if t.config.NoCausalMask {
		return keys.Expand(b, 1, n, n)
	}
	at := torch.ArangeLike(tokens, n)
	future := at.Unsqueeze(0).Sub(at.Unsqueeze(1)).ClampMin(0).NeScalar(0) // (query, key)
	return keys.Expand(b, 1, n, n).MaskedFill(future, math.Inf(-1))
}

func (t *Text) project(x *torch.Tensor) *torch.Tensor {
	switch {
	case t.ProjectionBias != nil:
		return t.ProjectionBias.Forward(x)
	case t.Projection != nil:
		return x.MatMul(t.Projection)
	default:
		return x
	}
}

// SetTraining changes no number: the tower computes the same in training, where gradient checkpointing has its place.
func (t *Text) SetTraining(on bool) { t.Transformer.checkpointing.training = on }

// Initialize is initialize_parameters of openai/CLIP clip/model.py.
func (t *Text) Initialize(s *torch.Scope) {
	width := float64(t.config.Width)
	normal(s, t.TokenEmbedding.Weight, 0.02)
	normal(s, t.PositionalEmbedding, 0.01)
	attention := 1 / math.Sqrt(width)
	projection := attention / math.Sqrt(2*float64(t.config.Layers))
	for _, b := range t.Transformer.Blocks {
		normal(s, b.Attn.InWeight, attention)
		normal(s, b.Attn.Out.Weight, projection)
		normal(s, b.MLP.Fc.Weight, 1/math.Sqrt(2*width))
		normal(s, b.MLP.Proj.Weight, projection)
	}
	if t.Projection != nil {
		normal(s, t.Projection, attention)
	}
	if t.ProjectionBias != nil {
		normal(s, t.ProjectionBias.Weight, attention)
		s.Alias(t.ProjectionBias.Bias).Fill(0)
	}
	if t.ClassEmbedding != nil {
		normal(s, t.ClassEmbedding, 0.01)
	}
}

func (t *Text) InitializeBiases(s *torch.Scope) { t.Transformer.InitializeBiases(s) }

// SetGradCheckpointing has the blocks computed again in the backward pass.
func (t *Text) SetGradCheckpointing(on bool) { t.Transformer.checkpointing.on = on }
