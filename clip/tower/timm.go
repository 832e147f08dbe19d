package tower

import (
	"math"

	"github.com/goclip/goclip/internal/timm"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// TimmViT is timm's vision transformer under open_clip's timm_model.py: the picture tower of SigLIP (Zhai et al., arXiv
// 2303.15343) and, with a class token, the plain one of Dosovitskiy et al. (arXiv 2010.11929). Beside [ViT] its
// patches have a bias, nothing is normalised before the blocks, and epsilon is 1e-6.
type TimmViT struct {
	Patches    *nn.Conv2d    `torch:"trunk.patch_embed.proj"` // (W, 3, P, P)
	ClassToken *torch.Tensor `torch:"trunk.cls_token"`        // (1, 1, W); nil with the pool map
	Positions  *torch.Tensor `torch:"trunk.pos_embed"`        // (1, G*G, W); one more with a class token
	Blocks     []*TimmBlock  `torch:"trunk.blocks"`
	Norm       *nn.LayerNorm `torch:"trunk.norm"`
	AttnPool   *LatentPool   `torch:"trunk.attn_pool"` // nil but with the pool map
	Proj       *nn.Linear    `torch:"head.proj"`       // nil with timm_proj none
	dropout    float64       // of patches, in training only
	training   bool

	checkpointing checkpointing
}

// TimmBlock is a pre-norm residual block, the same as [Block] under timm's keys.
type TimmBlock struct {
	Norm1 *nn.LayerNorm `torch:"norm1"`
	QKV   *nn.Linear    `torch:"attn.qkv"` // (3W, W)
	Out   *nn.Linear    `torch:"attn.proj"`
	Norm2 *nn.LayerNorm `torch:"norm2"`
	MLP   *TimmMLP      `torch:"mlp"`
	heads int
}

// TimmMLP is the two-layer perceptron of a block.
type TimmMLP struct {
	Fc1 *nn.Linear `torch:"fc1"`
	Fc2 *nn.Linear `torch:"fc2"`
	act activation
}

// LatentPool is SigLIP's pooling: one learned query attends to the patches, and a perceptron follows (timm
// layers/attention_pool.py AttentionPoolLatent; the MAP head of Zhai et al., arXiv 2106.04560).
type LatentPool struct {
	Latent *torch.Tensor `torch:"latent"` // (1, 1, W)
	Q      *nn.Linear    `torch:"q"`
	KV     *nn.Linear    `torch:"kv"` // (2W, W)
	Proj   *nn.Linear    `torch:"proj"`
	Norm   *nn.LayerNorm `torch:"norm"`
	MLP    *TimmMLP      `torch:"mlp"`
	heads  int
}

func newTimmViT(c *Config) *TimmViT {
	m := timm.ViTs[c.Vision.TimmModelName] // validate has found it
	options := c.Vision.ActOptions
	if m.Tanh && options == nil {
		options = &ActOptions{Approximate: "tanh"}
	}
	w, act := m.Width, activationOf(false, options)
	norm := func() *nn.LayerNorm { return newLayerNorm(w, &NormOptions{Eps: 1e-6}) } // timm's default
	mlp := func() *TimmMLP {
		hidden := int(float64(w) * m.MLPRatio)
		return &TimmMLP{Fc1: linear(w, hidden), Fc2: linear(hidden, w), act: act}
	}
	rows, columns := c.Vision.Grid()
	places := rows * columns
	v := &TimmViT{Patches: patchConv(w, m.Patch), Norm: norm(), dropout: c.Vision.PatchDropout}
	if m.Pool == "token" {
		v.ClassToken, places = nn.Parameter(1, 1, w), places+1
	} else {
		v.AttnPool = newLatentPool(w, m.Heads, int(float64(w)*m.MLPRatio), 1e-6, act)
	}
	v.Positions = nn.Parameter(1, places, w)
	for range m.Depth {
		v.Blocks = append(v.Blocks, &TimmBlock{Norm1: norm(), QKV: linear(w, 3*w), Out: linear(w, w),
			Norm2: norm(), MLP: mlp(), heads: m.Heads})
	}
	if c.Vision.TimmProj == "linear" {
		v.Proj = linear(w, c.EmbedDim)
		if !c.Vision.TimmProjBias {
			v.Proj.Bias = nil
		}
	}
	return v
}

func newLatentPool(width, heads, hidden int, eps float64, act activation) *LatentPool {
	return &LatentPool{Latent: nn.Parameter(1, 1, width), Q: linear(width, width), KV: linear(width, 2*width), Proj: linear(width, width),
		Norm: newLayerNorm(width, &NormOptions{Eps: eps}), MLP: &TimmMLP{Fc1: linear(width, hidden), Fc2: linear(hidden, width), act: act}, heads: heads}
}

// Forward maps normalised pictures (B, 3, R, R) to features (B, E).
func (v *TimmViT) Forward(pixels *torch.Tensor) *torch.Tensor {
	x := v.embed(pixels)
	for _, b := range v.Blocks {
		x = v.checkpointing.block(b, func(x, _ *torch.Tensor) *torch.Tensor { return b.Forward(x) }, x, nil)
	}
	if v.AttnPool != nil {
		return v.project(v.AttnPool.Forward(v.Norm.Forward(x))) // (B, W)
	}
	return v.project(v.Norm.Forward(x.Select(1, 0)))
}

// embed makes the tokens that enter the blocks: (B, 3, R, R) -> (B, T, W), the class token first if there is one.
func (v *TimmViT) embed(pixels *torch.Tensor) *torch.Tensor {
	x := patches(pixels, v.Patches.Stride).Linear(v.Patches.Weight, v.Patches.Bias) // (B, G*G, W)
	first := 0
	if v.ClassToken != nil {
		x = torch.Cat(1, x.Borrow(v.ClassToken).Expand(x.Size(0), 1, x.Size(2)), x)
		first = 1
	}
	x = x.Add(v.Positions)
	if v.training && v.dropout > 0 {
		x = dropPatches(x, first, v.dropout)
	}
	return x
}

// project maps (..., W) to (..., E).
func (v *TimmViT) project(x *torch.Tensor) *torch.Tensor {
	if v.Proj == nil {
		return x
	}
	return v.Proj.Forward(x)
}

// Forward maps (B, T, W) to (B, T, W).
func (b *TimmBlock) Forward(x *torch.Tensor) *torch.Tensor { return b.with(x, scaledDotProduct) }

// with is Forward with another way to attend.
func (b *TimmBlock) with(x *torch.Tensor, f attention) *torch.Tensor {
	x = x.Add(b.attend(x, f))
	return x.Add(b.MLP.Forward(b.Norm2.Forward(x)))
}

// attend is the branch of attention.
func (b *TimmBlock) attend(x *torch.Tensor, f attention) *torch.Tensor {
	return b.Out.Forward(attend(b.QKV.Forward(b.Norm1.Forward(x)), b.heads, f))
}

// Forward maps (..., W) to (..., W).
func (m *TimmMLP) Forward(x *torch.Tensor) *torch.Tensor {
	return m.Fc2.Forward(m.act.after(m.Fc1, x))
}

// Forward maps (B, T, W) to (B, W).
func (p *LatentPool) Forward(x *torch.Tensor) *torch.Tensor { return p.with(x, scaledDotProduct) }

// with is Forward with another way to attend.
func (p *LatentPool) with(x *torch.Tensor, f attention) *torch.Tensor {
	shape := x.Shape()
	b, t, w := shape[0], shape[1], shape[2]
	d := w / p.heads
	q := p.Q.Forward(x.Borrow(p.Latent)).View(1, 1, p.heads, d).Transpose(1, 2).Expand(b, p.heads, 1, d)
	kv := p.KV.Forward(x).View(b, t, 2, p.heads, d).Permute(2, 0, 3, 1, 4) // (2, B, heads, T, W/heads)
	return p.finish(f(q, kv.Select(0, 0), kv.Select(0, 1)).Transpose(1, 2).Reshape(b, w))
}

// values is what the pool makes of each token alone: (B, T, W) -> (B, T, W).
func (p *LatentPool) values(x *torch.Tensor) *torch.Tensor {
	w := x.Size(2)
	return p.finish(p.KV.Forward(x).Narrow(2, w, w))
}

// finish is what follows attention: (..., W) -> (..., W).
func (p *LatentPool) finish(x *torch.Tensor) *torch.Tensor {
	x = p.Proj.Forward(x)
	return x.Add(p.MLP.Forward(p.Norm.Forward(x)))
}

// SetTraining switches patch dropout.
func (v *TimmViT) SetTraining(on bool) { v.training, v.checkpointing.training = on, on }

// SetPatchDropout replaces the config's fraction.
func (v *TimmViT) SetPatchDropout(fraction float64) { v.dropout = fraction }

// PatchDropout is the fraction of patches that training leaves out.
func (v *TimmViT) PatchDropout() float64 { return v.dropout }

// PatchWeight is (W, 3, P, P).
func (v *TimmViT) PatchWeight() *torch.Tensor { return v.Patches.Weight }

// Initialize is timm's init_weights_vit_timm: 0.02 for every matrix, no bias. timm cuts the normal distribution at +-2,
// a hundred standard deviations. The patches and the head keep PyTorch's default.
func (v *TimmViT) Initialize(s *torch.Scope) {
	for _, l := range v.linears() {
		normal(s, l.Weight, 0.02)
	}
	normal(s, v.Positions, 0.02)
	if v.ClassToken != nil {
		normal(s, v.ClassToken, 1e-6)
	}
	if v.AttnPool != nil {
		truncatedNormal(s, v.AttnPool.Latent, 1/math.Sqrt(float64(v.AttnPool.Latent.Size(2))))
	}
}

// truncatedNormal draws a normal distribution of standard deviation std that is cut at +-2 std, by the inverse of its
// distribution function (timm layers/weight_init.py trunc_normal_tf_).
func truncatedNormal(s *torch.Scope, p *torch.Tensor, std float64) {
	within := math.Erf(2 / math.Sqrt2) // the share inside +-2
	x := s.Alias(p).UniformInPlace(-within, within)
	x.CopyFrom(x.Erfinv().MulScalar(std * math.Sqrt2))
	x.ClampInPlace(-2*std, 2*std)
}

func (v *TimmViT) InitializeBiases(s *torch.Scope) {
	for _, l := range v.linears() {
		s.Alias(l.Bias).Fill(0)
	}
	bound := 1 / math.Sqrt(float64(v.Patches.Weight.Numel()/v.Patches.Weight.Size(0)))
	s.Alias(v.Patches.Bias).UniformInPlace(-bound, bound)
	if v.Proj != nil && v.Proj.Bias != nil {
		initBias(s, v.Proj)
	}
}

func (v *TimmViT) linears() []*nn.Linear {
	var all []*nn.Linear
	for _, b := range v.Blocks {
		all = append(all, b.QKV, b.Out, b.MLP.Fc1, b.MLP.Fc2)
	}
	if p := v.AttnPool; p != nil {
		all = append(all, p.Q, p.KV, p.Proj, p.MLP.Fc1, p.MLP.Fc2)
	}
	return all
}

// SetGradCheckpointing has the blocks computed again in the backward pass.
func (v *TimmViT) SetGradCheckpointing(on bool) { v.checkpointing.on = on }
