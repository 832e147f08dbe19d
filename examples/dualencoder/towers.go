package main

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// transformerBlock is attention and an MLP with residuals; the ViT normalises before them, RoBERTa after.
type transformerBlock struct {
	Attn  *nn.MultiheadAttention `torch:"attn"`
	Norm1 *nn.LayerNorm          `torch:"norm1"`
	MLP   nn.Sequential          `torch:"mlp"`
	Norm2 *nn.LayerNorm          `torch:"norm2"`
}

func newBlock(width, heads int) *transformerBlock {
	return &transformerBlock{
		Attn:  nn.NewMultiheadAttention(width, heads),
		Norm1: nn.NewLayerNorm(width),
		MLP:   nn.Sequential{nn.NewLinear(width, 4*width), nn.GELU, nn.NewLinear(4*width, width), nn.NewDropout(0.1)},
		Norm2: nn.NewLayerNorm(width),
	}
}

func (b *transformerBlock) preNorm(x *torch.Tensor) *torch.Tensor {
	x = x.Add(b.Attn.Forward(b.Norm1.Forward(x)))
	return x.Add(b.MLP.Forward(b.Norm2.Forward(x)))
}

func (b *transformerBlock) postNorm(x, mask *torch.Tensor) *torch.Tensor {
	x = b.Norm1.Forward(x.Add(b.Attn.ForwardMasked(x, mask)))
	return b.Norm2.Forward(x.Add(b.MLP.Forward(x)))
}

// head is a linear layer to 512 and a projection 512 -> 512 with L2 norm.
type head struct {
	Linear     *nn.Linear    `torch:"linear"`
	Projection nn.Sequential `torch:"projection"`
}

func newHead(width int) *head {
	return &head{Linear: nn.NewLinear(width, 512), Projection: nn.Sequential{nn.NewLinear(512, 512), nn.GELU, nn.NewLinear(512, 512)}}
}

func (h *head) Forward(x *torch.Tensor) *torch.Tensor {
	return h.Projection.Forward(h.Linear.Forward(x)).Normalize(-1)
}

type vit struct {
	Patches   *nn.Conv2d          `torch:"patches"`
	Class     *torch.Tensor       `torch:"class"`
	Positions *torch.Tensor       `torch:"positions"`
	Blocks    []*transformerBlock `torch:"blocks"`
	Norm      *nn.LayerNorm       `torch:"norm"`
	Head      *head               `torch:"head"`
}

func newViT(size, patch, width, layers, heads int) *vit {
	n := size / patch
	v := &vit{Patches: nn.NewPatches(width, patch), Class: nn.Normal(0.02, 1, 1, width), Positions: nn.Normal(0.02, 1+n*n, width),
		Norm: nn.NewLayerNorm(width), Head: newHead(width)}
	for range layers {
		v.Blocks = append(v.Blocks, newBlock(width, heads))
	}
	return v
}

func (v *vit) Forward(x *torch.Tensor) *torch.Tensor {
	x = v.Patches.Forward(x).Flatten(2, 3).Transpose(1, 2) // (B, 3, H, W) -> (B, n*n, W)
	class := x.Borrow(v.Class).Expand(x.Size(0), 1, -1)    // (B, 1, W), freed with x
	x = torch.Cat(1, class, x).Add(v.Positions)
	for _, b := range v.Blocks {
		x = torch.Tidy(b.preNorm, x)
	}
	return v.Head.Forward(v.Norm.Forward(x.Select(1, 0)))
}

const padding = 1 // RoBERTa's

type textEncoder struct {
	Words     *nn.Embedding       `torch:"words"`
	Positions *nn.Embedding       `torch:"positions"`
	Norm      *nn.LayerNorm       `torch:"norm"`
	Blocks    []*transformerBlock `torch:"blocks"`
	Head      *head               `torch:"head"`
}

func newTextEncoder(vocabulary, length, width, layers, heads int) *textEncoder {
	e := &textEncoder{Words: nn.NewEmbedding(vocabulary, width), Positions: nn.NewEmbedding(length, width), Norm: nn.NewLayerNorm(width),
		Head: newHead(width)}
	for range layers {
		e.Blocks = append(e.Blocks, newBlock(width, heads))
	}
	return e
}

func (e *textEncoder) Forward(ids *torch.Tensor) *torch.Tensor {
	mask := ids.NeScalar(padding).Unsqueeze(1).Unsqueeze(1) // (B, T) -> (B, 1, 1, T)
	positions := e.Positions.Forward(torch.ArangeLike(ids, ids.Size(1)))
	x := e.Norm.Forward(e.Words.Forward(ids).Add(positions)) // (B, T, W)
	for _, b := range e.Blocks {
		x = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return b.postNorm(x, mask) }, x)
	}
	return e.Head.Forward(x.Select(1, 0))
}

type dualEncoder struct {
	Image       *vit          `torch:"image"`
	Text        *textEncoder  `torch:"text"`
	Temperature *torch.Tensor `torch:"logit_scale"` // its logarithm, inverted
}

// Loss returns the symmetric cross-entropy, and both features (B, 512).
func (d *dualEncoder) Loss(pixels, ids *torch.Tensor) (loss, image, text *torch.Tensor) {
	image, text = d.Image.Forward(pixels), d.Text.Forward(ids)
	logits := image.MatMul(text.T()).Mul(image.Borrow(d.Temperature).Exp())
	targets := torch.ArangeLike(image, logits.Size(0))
	return logits.CrossEntropy(targets).Add(logits.T().CrossEntropy(targets)).MulScalar(0.5), image, text
}
