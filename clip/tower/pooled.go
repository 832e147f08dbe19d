package tower

import "github.com/goclip/goclip/torch"

// A tower is read at one position: the class token, or the end token. No layer after the last block mixes positions, so
// that block needs queries, output projection and MLP for this position alone; keys and values come from all. The
// result and every gradient are those of the whole block, at a sixth of its cost.

// Pooled is one row of each sequence of what [Transformer.Forward] gives, (B, T, W) -> (B, W): the row at (B) int64, or with at
// nil the first. For texts of several lengths, (1, N, W) -> (B, W), at counts the rows of all.
func (t *Transformer) Pooled(x, at *torch.Tensor, r *Ragged) *torch.Tensor {
	last := len(t.Blocks) - 1
	x = (&Transformer{Blocks: t.Blocks[:last], checkpointing: t.checkpointing}).Forward(x, nil, r)
	return t.checkpointing.block(t.Blocks[last], func(x, at *torch.Tensor) *torch.Tensor { return t.Blocks[last].pooled(x, at, r) }, x, at)
}

func (b *Block) pooled(x, at *torch.Tensor, r *Ragged) *torch.Tensor {
	row := pick(x, at, r).Add(b.Ls1.Forward(b.Attn.pooled(b.Ln1.Forward(x), at, r))) // (B, 1, W)
	return row.Add(b.Ls2.Forward(b.MLP.Forward(b.Ln2.Forward(row)))).Select(1, 0)
}

// pooled maps (B, T, W), or (1, N, W) for texts of several lengths, to (B, 1, W).
func (a *Attention) pooled(x, at *torch.Tensor, r *Ragged) *torch.Tensor {
	w := x.Size(2)
	row := pick(x, at, r)
	q := a.InLoRA.AddParts(a.part(row, 0, w), row, 0, 1)
	kv := a.InLoRA.AddParts(a.part(x, w, 2*w), x, 1, 2)
	if r.isPacked() { // the query is the text's last token: it sees all of them
		parts := kv.View(-1, 2, a.heads, w/a.heads).Unbind(1)
		queries := torch.Sequences{Starts: torch.ArangeLike(x, row.Size(0)+1).To(x.Device(), torch.Int32), Longest: 1}
		y := torch.VarlenAttention(q.View(-1, a.heads, w/a.heads), parts[0], parts[1], queries, *r.packed, false)
		return a.Out.Forward(y.Reshape(-1, 1, w))
	}
	q = q.View(-1, 1, a.heads, w/a.heads).Transpose(1, 2) // (B, heads, 1, W/heads)
	text, first := 0, 0                                   // of a group, and its first row
	y := r.each(kv, func(kv *torch.Tensor) *torch.Tensor {
		b, t := kv.Size(0), kv.Size(1)
		parts := kv.View(b, t, 2, a.heads, w/a.heads).Permute(2, 0, 3, 1, 4).Unbind(0)
		var sees *torch.Tensor // (B, 1, 1, T): which positions each query sees, all if nil
		if a.causal {
			rows := torch.ArangeLike(x, t).Unsqueeze(0)
			if r != nil {
				rows = torch.ArangeLike(x, first+b*t).Narrow(0, first, b*t).View(b, t)
			}
			sees = rows.Le(at.Narrow(0, text, b).Unsqueeze(1)).View(b, 1, 1, t)
		}
		y := torch.MaskedAttention(q.Narrow(0, text, b), parts[0], parts[1], sees, 0) // (B, heads, 1, W/heads)
		text, first = text+b, first+b*t
		return y.Reshape(b, 1, w)
	})
	return a.Out.Forward(y.View(-1, 1, w))
}

// part is n of the 3W columns of queries, keys and values, from the column first on: (B, T, W) -> (B, T, n). A packed weight
// cannot be cut.
func (a *Attention) part(x *torch.Tensor, first, n int) *torch.Tensor {
	if a.InWeight.Packed(x, a.InBias) {
		return x.Linear(a.InWeight, a.InBias).Narrow(-1, first, n)
	}
	return x.Linear(x.Borrow(a.InWeight).Narrow(0, first, n), x.Borrow(a.InBias).Narrow(0, first, n))
}

// pick is the row of each sequence that [Transformer.Pooled] says: (B, 1, W).
func pick(x, at *torch.Tensor, r *Ragged) *torch.Tensor {
	switch {
	case at == nil:
		return x.Narrow(1, 0, 1)
	case r != nil:
		return x.Select(0, 0).Index(at).Unsqueeze(1)
	default:
		return x.Index(torch.ArangeLike(x, x.Size(0)), at).Unsqueeze(1)
	}
}
