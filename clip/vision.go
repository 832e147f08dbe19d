package clip

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Vision is the picture tower, a ViT whose class token becomes the picture's feature.
type Vision struct {
	ClassEmbedding      *torch.Tensor `torch:"class_embedding"`      // (W)
	PositionalEmbedding *torch.Tensor `torch:"positional_embedding"` // (1 + G*G, W)
	Proj                *torch.Tensor `torch:"proj"`                 // (W, E)
	Conv1               *nn.Weight    `torch:"conv1"`                // (W, 3, P, P), no bias
	LnPre               *nn.LayerNorm `torch:"ln_pre"`
	Transformer         *Transformer  `torch:"transformer"`
	LnPost              *nn.LayerNorm `torch:"ln_post"`
	patch               int
	dropout             float64 // of patches, in training only
	training            bool
}

func newVision(c *Config) *Vision {
	v := c.Vision
	return &Vision{
		ClassEmbedding:      nn.Parameter(v.Width),
		PositionalEmbedding: nn.Parameter(1+v.Grid()*v.Grid(), v.Width),
		Proj:                nn.Parameter(v.Width, c.EmbedDim),
		Conv1:               &nn.Weight{Weight: nn.Parameter(v.Width, 3, v.PatchSize, v.PatchSize)},
		LnPre:               nn.NewLayerNorm(v.Width),
		Transformer: newTransformer(transformerConfig{width: v.Width, heads: v.Width / v.HeadWidth, layers: v.Layers,
			mlp: int(float64(v.Width) * v.MLPRatio), quickGELU: c.QuickGELU}),
		LnPost:  nn.NewLayerNorm(v.Width),
		patch:   v.PatchSize,
		dropout: v.PatchDropout,
	}
}

// Forward maps normalised pictures (B, 3, R, R) to features (B, E).
func (v *Vision) Forward(pixels *torch.Tensor) *torch.Tensor {
	x := pixels.Conv2d(v.Conv1.Weight, nil, v.patch, 0) // (B, W, G, G)
	x = x.Flatten(2, 3).Transpose(1, 2)                 // (B, G*G, W)
	class := x.Borrow(v.ClassEmbedding).Expand(x.Size(0), 1, x.Size(2))
	x = torch.Cat(1, class, x).Add(v.PositionalEmbedding) // (B, 1 + G*G, W)
	if v.training && v.dropout > 0 {
		x = v.dropPatches(x)
	}
	x = v.Transformer.Forward(v.LnPre.Forward(x))
	return v.LnPost.Forward(x.Select(1, 0)).MatMul(v.Proj)
}

// dropPatches keeps the class token and a random subset of each picture's patches (open_clip transformer.py
// PatchDropout; Li et al., arXiv 2212.00794): (B, 1 + N, W) -> (B, 1 + N*(1-dropout), W).
func (v *Vision) dropPatches(x *torch.Tensor) *torch.Tensor {
	b, n := x.Size(0), x.Size(1)-1
	keep := max(1, int(float64(n)*(1-v.dropout)))
	_, kept := torch.RandLike(x, b, n).TopK(keep, 1, false) // (B, keep)
	rows := torch.ArangeLike(x, b).Unsqueeze(1)             // (B, 1)
	return torch.Cat(1, x.Narrow(1, 0, 1), x.Narrow(1, 1, n).Index(rows, kept))
}
