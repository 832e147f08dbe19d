package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
)

// Writing is texts that grow token by token, all of one image. The keys and values of their tokens stay, so that one token
// more costs itself alone; the logits are those of [Decoder.Logits]. It lives in the scope of the image that was seen.
type Writing struct {
	text    *Text
	decoder *Decoder
	seen    Seen
	past    [2]*torch.Tensor // of the text tower's blocks and the decoder's: (L, 2, B, heads, longest, D)
	hidden  *torch.Tensor    // (B, 1, 1, longest): minus infinity for what the class token's mask hides of the text tower
	length  int
}

// Write begins so many texts of at most so many tokens. It is nil for a text tower that is not causal, or has no class token.
func (d *Decoder) Write(t *Text, seen Seen, texts, longest int) *Writing {
	if t.config.NoCausalMask || t.ClassEmbedding == nil {
		return nil
	}
	w := &Writing{text: t, decoder: d, seen: seen}
	like := seen[0][0].Borrow(t.TokenEmbedding.Weight)
	for i, blocks := range [][]*Block{t.Transformer.Blocks, d.Blocks} {
		heads := blocks[0].Attn.heads
		w.past[i] = torch.FromSliceLike(like, []float32{0}, 1).To(like.Device(), like.DType()).
			Expand(len(blocks), 2, texts, heads, longest, blocks[0].Attn.Out.Weight.Size(0)/heads).Clone()
	}
	w.hidden = torch.FromSliceLike(like, make([]float32, texts*longest), texts, 1, 1, longest).To(like.Device(), like.DType())
	return w
}

// Next puts a token behind each text, (B, 1) int64, and is the logits of the one that follows: (B, V).
func (w *Writing) Next(ids *torch.Tensor) *torch.Tensor {
	hidden := ids.Borrow(w.hidden)
	if after := w.length + 1; after < hidden.Size(3) { // the mask is one place too far to the right: see Text.classMask
		next := hidden.Narrow(3, after, 1)
		next.CopyFrom(next.MaskedFill(ids.EqScalar(w.text.config.PadID).View(-1, 1, 1, 1), math.Inf(-1)))
	}
	past := func(tower, block int) *torch.Tensor {
		return ids.Borrow(w.past[tower]).Select(0, block).Narrow(3, 0, w.length+1)
	}
	x := ids.Embedding(w.text.TokenEmbedding.Weight)
	x = x.Add(x.Borrow(w.text.PositionalEmbedding).Narrow(0, w.length, 1)) // (B, 1, W)
	for i, b := range w.text.Transformer.Blocks {
		x = b.step(x, past(0, i), hidden.Narrow(3, 0, w.length+1))
	}
	for i, b := range w.decoder.Blocks {
		x = w.decoder.Cross[i].forward(b.step(x, past(1, i), nil), w.seen[i])
	}
	w.length++
	return w.decoder.LnFinal.Forward(x.Select(1, 0)).MatMul(w.decoder.Projection)
}

// Keep continues with the texts at the given places, (B) int64, of which one may come more than once.
func (w *Writing) Keep(at *torch.Tensor) {
	for _, past := range w.past {
		so := at.Borrow(past).Narrow(4, 0, w.length)
		so.CopyFrom(so.IndexSelect(2, at))
	}
	hidden := at.Borrow(w.hidden)
	hidden.CopyFrom(hidden.IndexSelect(0, at))
}

// step is [Block.Forward] for the last of T tokens of each text, (B, 1, W) -> (B, 1, W), with the keys and values of all:
// (2, B, heads, T, D), to which it writes the token's own. A mask hides keys, (B, 1, 1, T).
func (b *Block) step(x, past, mask *torch.Tensor) *torch.Tensor {
	y := b.Ln1.Forward(x)
	last := past.Size(3) - 1
	y = attend(b.Attn.InLoRA.Add(y.Linear(b.Attn.InWeight, b.Attn.InBias), y), b.Attn.heads, func(q, k, v *torch.Tensor) *torch.Tensor {
		keys, values := past.Select(0, 0), past.Select(0, 1)
		keys.Narrow(2, last, 1).CopyFrom(k)
		values.Narrow(2, last, 1).CopyFrom(v)
		return torch.MaskedAttention(q, keys, values, mask, 0)
	})
	x = x.Add(b.Ls1.Forward(b.Attn.Out.Forward(y)))
	return x.Add(b.Ls2.Forward(b.MLP.Forward(b.Ln2.Forward(x))))
}
