package tower

import (
	"math"
	"slices"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// encoderTexts is a batch of texts for an encoder of Hugging Face's, sorted by length. Padding is masked as a key and left
// out by every pooler, so what follows a text's last token reaches neither the output nor a gradient, and is cut off, as
// in [Text.Forward], in groups of texts of about one length.
//
// places count the real tokens of a text from its type's first position on, and padding has the place PadID; a BERT counts
// padding too.
type encoderTexts struct {
	*Texts
	padded []bool // whether a group has any padding; if not, attention needs no mask, and has faster kernels without one
}

// sort arranges rows of so many tokens in groups.
func (c *EncoderConfig) sort(tokens []int64, length int) encoderTexts {
	t, pad := encoderTexts{Texts: sortTexts(tokens, length, c.ends(tokens, length))}, int64(c.PadID)
	counts := c.firstPosition() > 0
	first := 0 // row of a text
	for _, g := range t.groups {
		padded := false
		for range g.texts {
			at := pad
			for i := first; i < first+g.tokens; i++ {
				if counts {
					t.places[i] = pad
					if t.ids[i] != pad {
						at++
						t.places[i] = at
					}
				}
				padded = padded || t.ids[i] == pad
			}
			first += g.tokens
		}
		t.padded = append(t.padded, padded)
	}
	return t
}

// ends is where each text's last token stands, of rows of so many tokens; 0 if all is padding.
func (c *EncoderConfig) ends(tokens []int64, length int) []int64 {
	ends := make([]int64, 0, len(tokens)/length)
	for text := range slices.Chunk(tokens, length) {
		end := length - 1
		for end > 0 && text[end] == int64(c.PadID) {
			end--
		}
		ends = append(ends, int64(end))
	}
	return ends
}

// with returns the batch with real in place of its own, for a block that the backward pass computes again: by then only
// what the block was given is there.
func (t arranged) with(real *torch.Tensor) arranged {
	t.real = real
	return t
}

// attend is attention of so many heads within each text, (1, N, W) -> (1, N, W). bias, which may be nil, is added to the products of a group of so many tokens: (1, heads, tokens, tokens).
func (t arranged) attend(q, k, v *torch.Tensor, heads int, bias func(tokens int) *torch.Tensor, dropout float64) *torch.Tensor {
	qs, ks, vs, parts := t.groups.split(q), t.groups.split(k), t.groups.split(v), t.groups.split(t.real)
	for i, g := range t.groups {
		cut := func(x *torch.Tensor) *torch.Tensor { // (texts, heads, tokens, W/heads)
			return x.View(g.texts, g.tokens, heads, -1).Transpose(1, 2)
		}
		var mask *torch.Tensor // (texts, 1, query, key)
		if t.padded[i] {
			mask = parts[i].View(g.texts, 1, 1, g.tokens).Expand(g.texts, 1, g.tokens, g.tokens)
		}
		var y *torch.Tensor
		if bias == nil {
			y = torch.MaskedAttention(cut(qs[i]), cut(ks[i]), cut(vs[i]), mask, dropout)
		} else {
			added := bias(g.tokens)
			if mask != nil {
				added = added.Expand(g.texts, heads, g.tokens, g.tokens).MaskedFill(mask.EqScalar(0), math.Inf(-1))
			}
			y = biasedAttention(cut(qs[i]), cut(ks[i]), cut(vs[i]), added, dropout)
		}
		parts[i] = y.Transpose(1, 2).Reshape(g.texts, g.tokens, -1)
	}
	return join(parts)
}

// EncoderHead makes the feature of a text of its tokens: open_clip hf_model.py's pooling and projection.
type EncoderHead struct {
	Pooler  *nn.Linear    `torch:"transformer.pooler.dense"` // nil but with cls_pooler of a RoBERTa or BERT
	Proj    *nn.Linear    `torch:"proj"`                     // hf_proj_type linear: (E, W), no bias
	ProjIn  *nn.Linear    `torch:"proj.0"`                   // hf_proj_type mlp: ((W+E)/2, W), no bias
	ProjOut *nn.Linear    `torch:"proj.2"`                   // (E, (W+E)/2), no bias
	Norm    *nn.LayerNorm `torch:"pre_LN"`                   // an AltCLIP's, behind the pooling; else nil
	Mapping *nn.Linear    `torch:"transformation"`           // likewise: (ProjectDim, W)
	pooler  string
}

func newEncoderHead(c *Config, encoder EncoderConfig) *EncoderHead {
	h, width := &EncoderHead{pooler: c.Text.HFPoolerType}, encoder.HiddenSize
	if encoder.ProjectDim > 0 {
		h.Norm, h.Mapping = newLayerNorm(width, &NormOptions{Eps: encoder.LayerNormEps}), linear(width, encoder.ProjectDim)
		width = encoder.ProjectDim
	}
	bare := func(in, out int) *nn.Linear { return &nn.Linear{Weight: nn.Parameter(out, in)} }
	switch c.Text.HFProjType {
	case "linear":
		h.Proj = bare(width, c.EmbedDim)
	case "mlp":
		hidden := (width + c.EmbedDim) / 2
		h.ProjIn, h.ProjOut = bare(width, hidden), bare(hidden, c.EmbedDim)
	}
	return h
}

// forward maps tokens (1, N, W) to features (B, E) in the batch's order.
func (h *EncoderHead) forward(x *torch.Tensor, texts arranged) *torch.Tensor {
	x = h.pool(x, texts.real, texts.groups).Index(texts.order)
	if h.Mapping != nil {
		x = h.Mapping.Forward(h.Norm.Forward(x))
	}
	switch {
	case h.Proj != nil:
		return h.Proj.Forward(x)
	case h.ProjIn != nil:
		return h.ProjOut.Forward(h.ProjIn.Forward(x).Gelu())
	default:
		return x
	}
}

// pool makes one row of each text's: (1, N, W), (1, N, 1) -> (B, W), in the order of the groups.
func (h *EncoderHead) pool(x, real *torch.Tensor, groups lengthGroups) *torch.Tensor {
	parts, reals := groups.split(x), groups.split(real)
	for i, x := range parts { // (texts, tokens, W) -> (texts, 1, W)
		switch h.pooler {
		case "mean_pooler":
			real := reals[i].To(x.Device(), x.DType())
			x = x.Mul(real).SumDim(1).Div(real.SumDim(1)).Unsqueeze(1)
		case "max_pooler": // open_clip 3.3.0's own cannot run: it takes the mask for the padding, and as numbers
			x = x.MaskedFill(reals[i].EqScalar(0), math.Inf(-1)).MaxDim(1).Unsqueeze(1)
		default: // the first token's
			x = x.Narrow(1, 0, 1)
		}
		parts[i] = x
	}
	x = join(parts).Select(0, 0)
	if h.Pooler != nil { // cls_pooler
		x = h.Pooler.Forward(x).Tanh()
	}
	return x
}

// encoder is what the text towers of Hugging Face's have in common.
type encoder struct {
	config        EncoderConfig
	checkpointing checkpointing
}

// arranged is a batch of texts on the device: ids and places (1, N), and which of them are no padding, (1, N, 1).
type arranged struct {
	encoderTexts
	ids, places, real, order *torch.Tensor
}

// arrange takes tokens (B, T) int64, padded to the right, to the device of a weight.
func (e *encoder) arrange(tokens, like *torch.Tensor) arranged {
	t := arranged{encoderTexts: e.config.sort(torch.ToSlice[int64](tokens.To(torch.CPU, torch.Int64)), tokens.Size(1))}
	t.ids, t.places, _, t.order, _ = t.cut(t.numbersLike(tokens.Borrow(like)))
	t.real = t.ids.NeScalar(e.config.PadID).Unsqueeze(2)
	return t
}

// drop is dropout between the parts of a layer, in training only.
func (e *encoder) drop(x *torch.Tensor) *torch.Tensor {
	if e.checkpointing.training && e.config.HiddenDropout > 0 {
		return x.Dropout(e.config.HiddenDropout)
	}
	return x
}

// attentionDropout is that of attention's probabilities, in training only.
func (e *encoder) attentionDropout() float64 {
	if e.checkpointing.training {
		return e.config.AttentionDropout
	}
	return 0
}

// SetTraining switches dropout.
func (e *encoder) SetTraining(on bool) { e.checkpointing.training = on }

// SetGradCheckpointing has the blocks computed again in the backward pass.
func (e *encoder) SetGradCheckpointing(on bool) { e.checkpointing.on = on }

// Lengths counts each text up to its last token with the padding of its group.
func (e *encoder) Lengths(tokens []int64, length int, _ torch.DType) []int {
	return padded(sortedLengths(e.config.ends(tokens, length)))
}
