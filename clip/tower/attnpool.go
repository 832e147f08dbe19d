package tower

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// AttentionalPool asks an image's tokens learned questions: one row for each query (CoCa, Yu et al., arXiv 2205.01917,
// section 3.2; open_clip transformer.py AttentionalPooler).
type AttentionalPool struct {
	Query *torch.Tensor   `torch:"query"` // (Q, E)
	Attn  *CrossAttention `torch:"attn"`
	LnQ   *nn.LayerNorm   `torch:"ln_q"`
	LnK   *nn.LayerNorm   `torch:"ln_k"`
}

func newAttentionalPool(v VisionConfig, embed int) *AttentionalPool {
	return &AttentionalPool{Query: nn.Parameter(v.AttnPoolerQueries, embed), Attn: newCrossAttention(embed, v.Width, v.AttnPoolerHeads),
		LnQ: nn.NewLayerNorm(embed), LnK: nn.NewLayerNorm(v.Width)}
}

// Forward maps (B, T, W) to (B, Q, E).
func (p *AttentionalPool) Forward(x *torch.Tensor) *torch.Tensor {
	return p.Attn.Forward(p.LnQ.Forward(x.Borrow(p.Query)), p.LnK.Forward(x))
}

// CrossAttention lets queries of width E attend to a context of width W. Its keys are torch.nn.MultiheadAttention's,
// which packs the three matrices only where the widths agree.
type CrossAttention struct {
	InWeight *torch.Tensor `torch:"in_proj_weight"` // (3E, E) if W is E; else nil, and the next three are there
	QWeight  *torch.Tensor `torch:"q_proj_weight"`  // (E, E)
	KWeight  *torch.Tensor `torch:"k_proj_weight"`  // (E, W)
	VWeight  *torch.Tensor `torch:"v_proj_weight"`  // (E, W)
	InBias   *torch.Tensor `torch:"in_proj_bias"`   // (3E)
	Out      *nn.Linear    `torch:"out_proj"`
	heads    int
}

func newCrossAttention(embed, width, heads int) *CrossAttention {
	a := &CrossAttention{InBias: nn.Parameter(3 * embed), Out: linear(embed, embed), heads: heads}
	if embed == width {
		a.InWeight = nn.Parameter(3*embed, embed)
	} else {
		a.QWeight, a.KWeight, a.VWeight = nn.Parameter(embed, embed), nn.Parameter(embed, width), nn.Parameter(embed, width)
	}
	return a
}

// Forward maps the same queries (Q, E) for every context (B, T, W) to (B, Q, E).
func (a *CrossAttention) Forward(queries, context *torch.Tensor) *torch.Tensor {
	return a.with(queries, context, nil)
}

// with is Forward with another way to attend.
func (a *CrossAttention) with(queries, context *torch.Tensor, f attention) *torch.Tensor {
	k, v := a.keysValues(context)
	return a.attend(a.queries(queries.Unsqueeze(0)), k, v, f)
}

// queries maps (B, T, E) to heads (B, heads, T, E/heads).
func (a *CrossAttention) queries(x *torch.Tensor) *torch.Tensor {
	return a.split(a.project(x, 0, a.QWeight))
}

// keysValues maps a context (B, T, W) to heads (B, heads, T, E/heads).
func (a *CrossAttention) keysValues(context *torch.Tensor) (k, v *torch.Tensor) {
	return a.split(a.project(context, 1, a.KWeight)), a.split(a.project(context, 2, a.VWeight))
}

// attend lets queries attend, of which, or of the keys, there may be one for all: (B, T, E).
func (a *CrossAttention) attend(q, k, v *torch.Tensor, f attention) *torch.Tensor {
	b := max(q.Size(0), k.Size(0))
	all := func(x *torch.Tensor) *torch.Tensor { return x.Expand(b, x.Size(1), x.Size(2), x.Size(3)) }
	return a.Out.Forward(f.of(all(q), all(k), all(v)).Transpose(1, 2).Reshape(b, q.Size(2), -1))
}

// project is the queries (0), keys (1) or values (2) of x by their own weight, or with nil by their part of the packed one.
func (a *CrossAttention) project(x *torch.Tensor, i int, own *torch.Tensor) *torch.Tensor {
	e := a.Out.Weight.Size(0)
	if own == nil {
		own = x.Borrow(a.InWeight).Narrow(0, i*e, e)
	}
	return x.Linear(own, x.Borrow(a.InBias).Narrow(0, i*e, e))
}

func (a *CrossAttention) split(x *torch.Tensor) *torch.Tensor {
	return x.View(x.Size(0), x.Size(1), a.heads, -1).Transpose(1, 2)
}
