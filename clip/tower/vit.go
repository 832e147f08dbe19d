package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// ViT is CLIP's own image tower, a vision transformer (Dosovitskiy et al., arXiv 2010.11929) whose class token
// becomes the image's feature, with the variations that open_clip's configs name (open_clip transformer.py
// VisionTransformer).
type ViT struct {
	ClassEmbedding      *torch.Tensor    `torch:"class_embedding"`      // (W)
	PositionalEmbedding *torch.Tensor    `torch:"positional_embedding"` // (1 + G*G, W)
	Proj                *torch.Tensor    `torch:"proj"`                 // (W, E), or (E, E) after AttnPool
	Conv1               *nn.Weight       `torch:"conv1"`                // (W, 3, P, P), no bias
	LnPre               *nn.LayerNorm    `torch:"ln_pre"`               // nil with no_ln_pre
	Transformer         *Transformer     `torch:"transformer"`
	AttnPool            *AttentionalPool `torch:"attn_pool"` // nil without attentional_pool
	LnPost              *nn.LayerNorm    `torch:"ln_post"`
	config              VisionConfig
	dropout             float64 // of patches, in training only
	training            bool
}

func newViT(c *Config) *ViT {
	v := c.Vision
	rows, columns := v.Grid()
	t := &ViT{
		ClassEmbedding:      nn.Parameter(v.Width),
		PositionalEmbedding: nn.Parameter(1+rows*columns, v.Width),
		Conv1:               &nn.Weight{Weight: nn.Parameter(v.Width, 3, v.PatchSize, v.PatchSize)},
		Transformer: newTransformer(transformerConfig{width: v.Width, heads: v.Width / v.HeadWidth, layers: v.Depth(),
			mlp: int(float64(v.Width) * v.MLPRatio), act: activationOf(c.QuickGELU, v.ActOptions), norm: v.NormOptions, layerScale: v.LSInitValue}),
		config:  v,
		dropout: v.PatchDropout,
	}
	if !v.NoLnPre {
		t.LnPre = newLayerNorm(v.Width, v.NormOptions)
	}
	pooled := v.Width
	if v.AttentionalPool {
		pooled = c.EmbedDim
		t.AttnPool = newAttentionalPool(v, c.EmbedDim)
	}
	t.LnPost, t.Proj = newLayerNorm(pooled, v.NormOptions), nn.Parameter(pooled, c.EmbedDim)
	if v.PosEmbedType == "sin_cos_2d" {
		t.PositionalEmbedding = sinCosPositions(v.Width, rows)
	}
	return t
}

// Forward maps normalised images (B, 3, H, W) to features (B, E).
func (v *ViT) Forward(pixels *torch.Tensor) *torch.Tensor {
	x := v.embed(pixels)
	if v.AttnPool == nil && v.config.PoolType != "avg" {
		x = v.LnPost.Forward(v.Transformer.Pooled(x, nil, nil)) // (B, W), the class token
	} else {
		x = v.pool(v.Transformer.Forward(x, nil, nil))
	}
	return x.MatMul(v.Proj)
}

// embed makes the tokens that enter the blocks: (B, 3, H, W) -> (B, 1 + G*G, W), the class token first.
func (v *ViT) embed(pixels *torch.Tensor) *torch.Tensor {
	x := patches(pixels, v.config.PatchSize).Linear(v.Conv1.Weight, nil) // (B, G*G, W)
	class := x.Borrow(v.ClassEmbedding).Expand(x.Size(0), 1, x.Size(2))
	x = torch.Cat(1, class, x).Add(v.PositionalEmbedding) // (B, 1 + G*G, W)
	if v.training && v.dropout > 0 {
		x = dropPatches(x, 1, v.dropout)
	}
	if v.LnPre != nil {
		x = v.LnPre.Forward(x)
	}
	return x
}

// pool makes one row of many where that is not the class token: (B, 1 + N, W) -> (B, W), and normalises it.
func (v *ViT) pool(x *torch.Tensor) *torch.Tensor {
	if v.AttnPool != nil {
		x = v.AttnPool.Forward(x) // (B, queries, E)
	}
	return v.read(x)
}

// read is the normalised feature of the last tokens, or of the queries of an AttnPool. The order matters only for a mean.
func (v *ViT) read(x *torch.Tensor) *torch.Tensor {
	switch {
	case v.config.PoolType != "avg":
		return v.LnPost.Forward(x.Select(1, 0))
	case v.config.FinalLnAfterPool && v.AttnPool == nil:
		return v.LnPost.Forward(withoutClass(x).MeanDim(1))
	default:
		return withoutClass(v.LnPost.Forward(x)).MeanDim(1)
	}
}

// Tokens returns what a CoCa's decoder sees of images (B, 3, H, W): (B, N, W), or (B, queries - 1, E) of an attentional pool.
func (v *ViT) Tokens(pixels *torch.Tensor) *torch.Tensor {
	x := v.Transformer.Forward(v.embed(pixels), nil, nil)
	if v.AttnPool != nil {
		x = v.AttnPool.Forward(x)
	}
	return withoutClass(v.LnPost.Forward(x))
}

func withoutClass(x *torch.Tensor) *torch.Tensor { return x.Narrow(1, 1, x.Size(1)-1) }

// dropPatches keeps the first tokens, which are no patches, and a random subset of each image's patches (open_clip
// transformer.py PatchDropout; Li et al., arXiv 2212.00794): (B, first + N, W) -> (B, first + N*(1-share), W).
func dropPatches(x *torch.Tensor, first int, share float64) *torch.Tensor {
	b, n := x.Size(0), x.Size(1)-first
	keep := max(1, int(float64(n)*(1-share)))
	_, kept := torch.RandLike(x, b, n).TopK(keep, 1, false) // (B, keep)
	rows := torch.ArangeLike(x, b).Unsqueeze(1)             // (B, 1)
	patches := x.Narrow(1, first, n).Index(rows, kept)
	if first == 0 {
		return patches
	}
	return torch.Cat(1, x.Narrow(1, 0, first), patches)
}

// SetTraining switches patch dropout.
func (v *ViT) SetTraining(on bool) { v.training, v.Transformer.checkpointing.training = on, on }

// SetPatchDropout replaces the config's fraction.
func (v *ViT) SetPatchDropout(fraction float64) { v.dropout = fraction }

// PatchDropout returns the fraction of patches that training leaves out.
func (v *ViT) PatchDropout() float64 { return v.dropout }

// PatchWeight is (W, 3, P, P).
func (v *ViT) PatchWeight() *torch.Tensor { return v.Conv1.Weight }

// Initialize draws as OpenAI's VisionTransformer (openai/CLIP clip/model.py); the blocks keep PyTorch's defaults.
func (v *ViT) Initialize(s *torch.Scope) {
	std := 1 / math.Sqrt(float64(v.config.Width))
	normal(s, v.ClassEmbedding, std)
	if v.config.PosEmbedType == "sin_cos_2d" {
		rows, _ := v.config.Grid()
		v.PositionalEmbedding = sinCosPositions(v.config.Width, rows)
	} else {
		normal(s, v.PositionalEmbedding, std)
	}
	normal(s, v.Proj, std)
	if v.AttnPool != nil {
		normal(s, v.AttnPool.Query, 1)
	}
}

func (v *ViT) InitializeBiases(s *torch.Scope) { v.Transformer.InitializeBiases(s) }

// patches cuts images (B, C, H, W) into squares of p x p pixels, which are rows as a convolution's kernel (O, C, p, p) reads
// them: (B, G*G, C*p*p), with G = H/p rounded down. The convolution of stride p is then one product, which gives the same
// numbers in two thirds of the time, forward and backward.
func patches(pixels *torch.Tensor, p int) *torch.Tensor {
	shape := pixels.Shape()
	b, c, rows, columns := shape[0], shape[1], shape[2]/p, shape[3]/p
	if rows*p < shape[2] {
		pixels = pixels.Narrow(2, 0, rows*p)
	}
	if columns*p < shape[3] {
		pixels = pixels.Narrow(3, 0, columns*p)
	}
	return pixels.Reshape(b, c, rows, p, columns, p).Permute(0, 2, 4, 1, 3, 5).Reshape(b, rows*columns, c*p*p)
}

// SetGradCheckpointing has the blocks computed again in the backward pass.
func (v *ViT) SetGradCheckpointing(on bool) { v.Transformer.checkpointing.on = on }
