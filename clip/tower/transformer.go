package tower

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Attention is multi-head self-attention with one packed product for queries, keys and values. Its keys are
// torch.nn.MultiheadAttention's.
type Attention struct {
	InWeight *torch.Tensor `torch:"in_proj_weight"` // (3W, W)
	InBias   *torch.Tensor `torch:"in_proj_bias"`   // (3W)
	InLoRA   *nn.LoRA      `torch:"in_proj"`        // nil but in low-rank adaptation
	Out      *nn.Linear    `torch:"out_proj"`
	heads    int
	causal   bool
}

// Forward maps (B, T, W) to (B, T, W), or (1, N, W) to (1, N, W) for texts of several lengths. A mask, which is added to the
// products, stands in place of the causal one; it broadcasts to (B, heads, T, T) and may be nil.
func (a *Attention) Forward(x, mask *torch.Tensor, r *Ragged) *torch.Tensor {
	qkv := a.InLoRA.Add(x.Linear(a.InWeight, a.InBias), x)
	if r.isPacked() {
		parts := qkv.View(-1, 3, a.heads, x.Size(2)/a.heads).Unbind(1) // (N, heads, W/heads) each
		return a.Out.Forward(torch.VarlenAttention(parts[0], parts[1], parts[2], *r.packed, *r.packed, a.causal).Reshape(x.Shape()...))
	}
	return a.Out.Forward(r.each(qkv, func(qkv *torch.Tensor) *torch.Tensor {
		if mask == nil && a.InWeight.Packed(x, a.InBias) {
			return qkv.SelfAttention(a.heads, a.causal, a.Out.Takes(), r != nil)
		}
		return attend(qkv, a.heads, func(q, k, v *torch.Tensor) *torch.Tensor {
			if mask != nil {
				return torch.MaskedAttention(q, k, v, mask, 0)
			}
			return torch.ScaledDotProductAttention(q, k, v, a.causal)
		})
	}))
}

// takes is [nn.Linear.Takes] of queries, keys and values.
func (a *Attention) takes(mask *torch.Tensor) *torch.Tensor {
	if a.InLoRA != nil || mask != nil {
		return nil
	}
	return a.InWeight
}

// attend cuts packed queries, keys and values (B, T, 3W) into heads and joins what attention makes of them: (B, T, W).
func attend(qkv *torch.Tensor, heads int, f attention) *torch.Tensor {
	shape := qkv.Shape()
	b, t, w := shape[0], shape[1], shape[2]/3
	parts := qkv.View(b, t, 3, heads, w/heads).Permute(2, 0, 3, 1, 4).Unbind(0)
	y := f.of(parts[0], parts[1], parts[2]) // (B, heads, T, W/heads) each
	return y.Transpose(1, 2).Reshape(b, t, w)
}

// activation is the non-linearity of an MLP.
type activation struct {
	apply func(x *torch.Tensor) *torch.Tensor
	fused func(x, weight, bias, next *torch.Tensor) *torch.Tensor // behind a product, one pass where the weight is packed; may be nil
	scale float64                                                 // it is silu(scale x) / scale; 0 if it is no such thing
}

// between is the activation of what the layer makes of x, for the next layer.
func (a activation) between(l, next *nn.Linear, x *torch.Tensor) *torch.Tensor {
	if a.fused != nil && l.LoRA == nil {
		return a.fused(x, l.Weight, l.Bias, next.Takes())
	}
	return a.apply(l.Forward(x))
}

// activationOf is the config's GELU: OpenAI's QuickGELU, the exact one or its tanh approximation.
func activationOf(quickGELU bool, o *ActOptions) activation {
	switch {
	case quickGELU:
		return activation{(*torch.Tensor).QuickGelu, (*torch.Tensor).LinearQuickGelu, 1.702}
	case o != nil && o.Approximate == "tanh":
		return activation{(*torch.Tensor).GeluTanh, (*torch.Tensor).LinearGeluTanh, 0}
	default:
		return activation{(*torch.Tensor).Gelu, (*torch.Tensor).LinearGelu, 0}
	}
}

// newLayerNorm has the config's epsilon.
func newLayerNorm(width int, o *NormOptions) *nn.LayerNorm {
	ln := nn.NewLayerNorm(width)
	if o != nil {
		ln.Eps = o.Eps
	}
	return ln
}

// MLP is the two-layer perceptron of a block.
type MLP struct {
	Fc   *nn.Linear `torch:"c_fc"`
	Proj *nn.Linear `torch:"c_proj"`
	act  activation
}

// Forward maps (B, T, W) to (B, T, W).
func (m *MLP) Forward(x *torch.Tensor) *torch.Tensor {
	if m.act.scale != 0 && m.Fc.LoRA == nil && m.Proj.LoRA == nil && x.Device().Type == "cuda" && x.Size(0)*x.Size(1) > 4*x.Size(2) {
		return m.folded(x)
	}
	return m.Proj.Forward(m.act.between(m.Fc, m.Proj, x))
}

// addTo is residual + s.Forward(m.Forward(x)).
func (m *MLP) addTo(residual, x *torch.Tensor, s *LayerScale) *torch.Tensor {
	if s != nil || x.Device() != torch.CPU {
		return residual.Add(s.Forward(m.Forward(x)))
	}
	return m.Proj.AddForward(residual, m.act.between(m.Fc, m.Proj, x))
}

// folded is Forward with QuickGELU as one pass over the hidden layer, for GPUs, where three take as long as the products. Its
// factors, before SiLU and behind it, are those of the two weights: two passes over weights, which are less for more rows than
// a weight has.
func (m *MLP) folded(x *torch.Tensor) *torch.Tensor {
	hidden := x.Linear(x.Borrow(m.Fc.Weight).MulScalar(m.act.scale), x.Borrow(m.Fc.Bias).MulScalar(m.act.scale)).Silu()
	return hidden.Linear(x.Borrow(m.Proj.Weight).MulScalar(1/m.act.scale), m.Proj.Bias)
}

// LayerScale multiplies each channel of a branch by a learned number (Touvron et al., arXiv 2103.17239). A nil one
// changes nothing.
type LayerScale struct {
	Gamma *torch.Tensor `torch:"gamma"` // (W)
}

func newLayerScale(width int, init *float64) *LayerScale {
	if init == nil {
		return nil
	}
	l := &LayerScale{Gamma: nn.Parameter(width)}
	l.Gamma.Detach().Fill(*init)
	return l
}

// Forward keeps the shape (..., W).
func (l *LayerScale) Forward(x *torch.Tensor) *torch.Tensor {
	if l == nil {
		return x
	}
	return x.Mul(l.Gamma)
}

// Block is a pre-norm residual block.
type Block struct {
	Ln1  *nn.LayerNorm `torch:"ln_1"`
	Attn *Attention    `torch:"attn"`
	Ls1  *LayerScale   `torch:"ls_1"` // nil without ls_init_value
	Ln2  *nn.LayerNorm `torch:"ln_2"`
	MLP  *MLP          `torch:"mlp"`
	Ls2  *LayerScale   `torch:"ls_2"`
}

// Forward maps (B, T, W) to (B, T, W), with the mask and the lengths of [Attention.Forward].
func (b *Block) Forward(x, mask *torch.Tensor, r *Ragged) *torch.Tensor {
	_, y := b.Ln1.AddForward(x, nil, b.Attn.takes(mask))
	x, y = b.Ln2.AddForward(x, b.Ls1.Forward(b.Attn.Forward(y, mask, r)), b.MLP.Fc.Takes())
	return b.MLP.addTo(x, y, b.Ls2)
}

// Transformer is the stack of blocks that both towers share.
type Transformer struct {
	Blocks        []*Block `torch:"resblocks"`
	checkpointing checkpointing
}

// Forward maps (B, T, W) to (B, T, W), with the mask and the lengths of [Attention.Forward].
func (t *Transformer) Forward(x, mask *torch.Tensor, r *Ragged) *torch.Tensor {
	for _, b := range t.Blocks {
		x = t.checkpointing.block(b, func(x, mask *torch.Tensor) *torch.Tensor { return b.Forward(x, mask, r) }, x, mask)
	}
	return x
}

// Pooled is one row of each sequence of what [Transformer.Forward] gives, (B, T, W) -> (B, W): the row at (B) int64, or with at
// nil the first. For texts of several lengths, (1, N, W) -> (B, W), at counts the rows of all.
//
// A tower is read at one position: the class token, or the end token. No layer after the last block mixes positions, so
// that block needs queries, output projection and MLP for this position alone; keys and values come from all. The
// result and every gradient are those of the whole block, at a sixth of its cost.
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

// checkpointing says how a tower runs its blocks. The zero value keeps what the backward pass needs.
type checkpointing struct {
	on       bool
	training bool
}

// block is forward(x, side), a block of a tower whose parameters are those of module: its temporaries die with the block
// or, with gradient checkpointing in training, are computed again in the backward pass. side is a mask, a position or nil.
func (c checkpointing) block(module any, forward func(x, side *torch.Tensor) *torch.Tensor, x, side *torch.Tensor) *torch.Tensor {
	if !c.on || !c.training {
		return torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return forward(x, side) }, x)
	}
	var params []*torch.Tensor
	for _, p := range nn.Params(module) {
		params = append(params, p)
	}
	return torch.Recompute(forward, x, side, params...)
}

type transformerConfig struct {
	width, heads, layers, mlp int
	causal                    bool
	act                       activation
	norm                      *NormOptions
	layerScale                *float64
}

func newTransformer(c transformerConfig) *Transformer {
	t := &Transformer{}
	for range c.layers {
		t.Blocks = append(t.Blocks, &Block{
			Ln1: newLayerNorm(c.width, c.norm),
			Attn: &Attention{InWeight: nn.Parameter(3*c.width, c.width), InBias: nn.Parameter(3 * c.width),
				Out: linear(c.width, c.width), heads: c.heads, causal: c.causal},
			Ls1: newLayerScale(c.width, c.layerScale),
			Ln2: newLayerNorm(c.width, c.norm),
			MLP: &MLP{Fc: linear(c.width, c.mlp), Proj: linear(c.mlp, c.width), act: c.act},
			Ls2: newLayerScale(c.width, c.layerScale),
		})
	}
	return t
}
