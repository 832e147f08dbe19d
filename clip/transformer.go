package clip

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Attention is multi-head self-attention with one packed product for queries, keys and values. Its keys are
// torch.nn.MultiheadAttention's.
type Attention struct {
	InWeight *torch.Tensor `torch:"in_proj_weight"` // (3W, W)
	InBias   *torch.Tensor `torch:"in_proj_bias"`   // (3W)
	Out      *nn.Linear    `torch:"out_proj"`
	heads    int
	causal   bool
}

// Forward maps (B, T, W) to (B, T, W).
func (a *Attention) Forward(x *torch.Tensor) *torch.Tensor {
	shape := x.Shape()
	b, t, w := shape[0], shape[1], shape[2]
	qkv := x.Linear(a.InWeight, a.InBias).View(b, t, 3, a.heads, w/a.heads).Permute(2, 0, 3, 1, 4)
	q, k, v := qkv.Select(0, 0), qkv.Select(0, 1), qkv.Select(0, 2) // (B, heads, T, W/heads) each
	y := torch.ScaledDotProductAttention(q, k, v, a.causal)
	return a.Out.Forward(y.Transpose(1, 2).Reshape(b, t, w))
}

// MLP is the two-layer perceptron of a block.
type MLP struct {
	Fc        *nn.Linear `torch:"c_fc"`
	Proj      *nn.Linear `torch:"c_proj"`
	quickGELU bool
}

// Forward maps (B, T, W) to (B, T, W).
func (m *MLP) Forward(x *torch.Tensor) *torch.Tensor {
	h := m.Fc.Forward(x)
	if m.quickGELU {
		return m.Proj.Forward(h.QuickGelu())
	}
	return m.Proj.Forward(h.Gelu())
}

// Block is a pre-norm residual block.
type Block struct {
	Ln1  *nn.LayerNorm `torch:"ln_1"`
	Attn *Attention    `torch:"attn"`
	Ln2  *nn.LayerNorm `torch:"ln_2"`
	MLP  *MLP          `torch:"mlp"`
}

// Forward maps (B, T, W) to (B, T, W).
func (b *Block) Forward(x *torch.Tensor) *torch.Tensor {
	x = x.Add(b.Attn.Forward(b.Ln1.Forward(x)))
	return x.Add(b.MLP.Forward(b.Ln2.Forward(x)))
}

// Transformer is the stack of blocks that both towers share.
type Transformer struct {
	Blocks []*Block `torch:"resblocks"`
}

// Forward maps (B, T, W) to (B, T, W).
func (t *Transformer) Forward(x *torch.Tensor) *torch.Tensor {
	for _, b := range t.Blocks {
		x = torch.Tidy(b.Forward, x) // a block's temporaries die with the block
	}
	return x
}

type transformerConfig struct {
	width, heads, layers, mlp int
	causal, quickGELU         bool
}

func newTransformer(c transformerConfig) *Transformer {
	t := &Transformer{}
	for range c.layers {
		t.Blocks = append(t.Blocks, &Block{
			Ln1: nn.NewLayerNorm(c.width),
			Attn: &Attention{InWeight: nn.Parameter(3*c.width, c.width), InBias: nn.Parameter(3 * c.width),
				Out: nn.NewLinear(c.width, c.width), heads: c.heads, causal: c.causal},
			Ln2: nn.NewLayerNorm(c.width),
			MLP: &MLP{Fc: nn.NewLinear(c.width, c.mlp), Proj: nn.NewLinear(c.mlp, c.width), quickGELU: c.quickGELU},
		})
	}
	return t
}
