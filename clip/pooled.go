package clip

import "github.com/goclip/goclip/torch"

// A tower is read at one position: the class token, or the end token. No layer after the last block mixes positions, so
// that block needs queries, output projection and MLP for this position alone; keys and values come from all. The
// result and every gradient are those of the whole block, at a sixth of its cost.

// Pooled is the rows at of what [Transformer.Forward] gives: (B, T, W), (B) int64 -> (B, W). With at nil, position 0.
func (t *Transformer) Pooled(x, at *torch.Tensor) *torch.Tensor {
	last := len(t.Blocks) - 1
	x = (&Transformer{Blocks: t.Blocks[:last], checkpointing: t.checkpointing}).Forward(x, nil)
	return t.checkpointing.block(t.Blocks[last], t.Blocks[last].pooled, x, at)
}

func (b *Block) pooled(x, at *torch.Tensor) *torch.Tensor {
	row := pick(x, at).Add(b.Ls1.Forward(b.Attn.pooled(b.Ln1.Forward(x), at))) // (B, 1, W)
	return row.Add(b.Ls2.Forward(b.MLP.Forward(b.Ln2.Forward(row)))).Select(1, 0)
}

// pooled maps (B, T, W) to (B, 1, W).
func (a *Attention) pooled(x, at *torch.Tensor) *torch.Tensor {
	shape := x.Shape()
	b, t, w := shape[0], shape[1], shape[2]
	row := pick(x, at)
	q := a.InLoRA.AddParts(a.part(row, 0, w), row, 0, 1)
	q = q.View(b, 1, a.heads, w/a.heads).Transpose(1, 2)
	kv := a.InLoRA.AddParts(a.part(x, w, 2*w), x, 1, 2)
	kv = kv.View(b, t, 2, a.heads, w/a.heads).Permute(2, 0, 3, 1, 4)
	var sees *torch.Tensor // (B, 1, 1, T): which positions each query sees, all if nil
	if a.causal {
		sees = torch.ArangeLike(x, t).Unsqueeze(0).Le(at.Unsqueeze(1)).View(b, 1, 1, t)
	}
	y := torch.MaskedAttention(q, kv.Select(0, 0), kv.Select(0, 1), sees, 0) // (B, heads, 1, W/heads)
	return a.Out.Forward(y.Reshape(b, 1, w))
}

// part is n of the 3W columns of queries, keys and values, from the column first on: (B, T, W) -> (B, T, n). A packed weight
// cannot be cut.
func (a *Attention) part(x *torch.Tensor, first, n int) *torch.Tensor {
	if a.InWeight.Packed(x, a.InBias) {
		return x.Linear(a.InWeight, a.InBias).Narrow(-1, first, n)
	}
	return x.Linear(x.Borrow(a.InWeight).Narrow(0, first, n), x.Borrow(a.InBias).Narrow(0, first, n))
}

// pick is the row at of each sequence, the first with at nil: (B, T, W), (B) -> (B, 1, W).
func pick(x, at *torch.Tensor) *torch.Tensor {
	if at == nil {
		return x.Narrow(1, 0, 1)
	}
	return x.Index(torch.ArangeLike(x, x.Size(0)), at).Unsqueeze(1)
}
