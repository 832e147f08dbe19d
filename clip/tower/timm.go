package tower

import (
	"cmp"
	"math"

	"github.com/goclip/goclip/internal/timm"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// TimmViT is timm's vision transformer under open_clip's timm_model.py: the image tower of SigLIP (Zhai et al., arXiv
// 2303.15343) and, with a class token, the plain one of Dosovitskiy et al. (arXiv 2010.11929). Convolutions may stand in
// the place of its patches: three in MobileCLIP's B (Vasu et al., 2311.17049), two stages of blocks in ViTamin (Chen et
// al., 2404.02132). Beside [ViT] its patches have a bias, nothing is normalised before the blocks, and epsilon is 1e-6.
type TimmViT struct {
	Patches    *nn.Conv2d     `torch:"trunk.patch_embed.proj"`     // (W, 3, P, P); nil with one of the next three
	Stem       *ConvStem      `torch:"trunk.patch_embed.backbone"` // MobileCLIP's
	MBConvs    *MBConvStem    `torch:"trunk.patch_embed.backbone"` // ViTamin's
	NaFlex     *NaFlexPatches `torch:"trunk.embeds"`               // SigLIP 2's for images of any shape, with positions
	ClassToken *torch.Tensor  `torch:"trunk.cls_token"`            // (1, 1, W); nil without
	Positions  *torch.Tensor  `torch:"trunk.pos_embed"`            // (1, G*G, W), one more with a class token but not behind Stem; nil without
	NormPre    *nn.LayerNorm  `torch:"trunk.norm_pre"`             // nil without
	Blocks     []*TimmBlock   `torch:"trunk.blocks"`
	Norm       *nn.LayerNorm  `torch:"trunk.norm"`      // of all tokens; nil with NormPooled
	NormPooled *nn.LayerNorm  `torch:"trunk.fc_norm"`   // of their mean
	AttnPool   *LatentPool    `torch:"trunk.attn_pool"` // nil but with the pool map
	Head       *nn.Linear     `torch:"trunk.head"`      // nil but with timm_proj null
	Proj       *nn.Linear     `torch:"head.proj"`       // nil with timm_proj none or null
	patch      int            // side of a patch, or of what became one token
	dropout    float64        // of patches, in training only
	training   bool

	checkpointing checkpointing
}

// TimmBlock is a pre-norm residual block, the same as [Block] under timm's keys.
type TimmBlock struct {
	Norm1    *nn.LayerNorm      `torch:"norm1"`
	QKV      *nn.Linear         `torch:"attn.qkv"`     // (3W, W)
	Relative *RelativePositions `torch:"attn.rel_pos"` // nil without
	Out      *nn.Linear         `torch:"attn.proj"`
	Ls1      *LayerScale        `torch:"ls1"` // nil without
	Norm2    *nn.LayerNorm      `torch:"norm2"`
	MLP      *TimmMLP           `torch:"mlp"` // nil with a gate
	GLU      *GEGLU             `torch:"mlp"` // nil without
	Ls2      *LayerScale        `torch:"ls2"`
	heads    int
	dropPath float64 // the fraction of images that training leaves a branch out for
}

// TimmMLP is the two-layer perceptron of a block.
type TimmMLP struct {
	Fc1 *nn.Linear `torch:"fc1"`
	Fc2 *nn.Linear `torch:"fc2"`
	act activation
}

func newTimmViT(c *Config) *TimmViT {
	m := timm.ViTs[c.Vision.TimmModelName] // validate has found it
	options := c.Vision.ActOptions
	if m.Tanh && options == nil {
		options = &ActOptions{Approximate: "tanh"}
	}
	w, act := m.Width, activationOf(false, options)
	norm := func() *nn.LayerNorm { return newLayerNorm(w, &NormOptions{Eps: cmp.Or(m.Eps, 1e-6)}) }
	hidden := int(float64(w) * m.MLPRatio)
	rows, columns := c.Vision.Grid()
	places := rows * columns
	v := &TimmViT{patch: m.Patch, dropout: c.Vision.PatchDropout}
	switch {
	case m.Convolutions != nil:
		v.Stem = newConvStem(m.Convolutions)
	case m.MBConvs != nil:
		v.MBConvs = newMBConvStem(m.MBConvs, w)
	case m.NaFlex:
		v.NaFlex = newNaFlexPatches(w, m.Patch, m.Image/m.Patch)
	default:
		v.Patches = patchConv(w, m.Patch)
	}
	if m.PreNorm {
		v.Patches.Bias, v.NormPre = nil, norm()
	}
	if m.NormAfterPool {
		v.NormPooled = norm()
	} else {
		v.Norm = norm()
	}
	switch m.Pool {
	case "token":
		if v.ClassToken = nn.Parameter(1, 1, w); v.Stem == nil {
			places++
		}
	case "map":
		v.AttnPool = newLatentPool(w, m.Heads, hidden, 1e-6, act)
	}
	if m.Relative == 0 && !m.NoPositions && !m.NaFlex {
		v.Positions = nn.Parameter(1, places, w)
	}
	for i := range m.Depth {
		b := &TimmBlock{Norm1: norm(), QKV: linear(w, 3*w), Out: linear(w, w), Norm2: norm(), heads: m.Heads,
			dropPath: c.Vision.dropPath(0) * float64(i) / float64(max(1, m.Depth-1))}
		if m.NoQKVBias {
			b.QKV.Bias = nil
		}
		if m.LayerScale > 0 {
			b.Ls1, b.Ls2 = newLayerScale(w, &m.LayerScale), newLayerScale(w, &m.LayerScale)
		}
		if m.Relative > 0 {
			b.Relative = newRelativePositions(rows, columns, m.Relative, m.Heads)
		}
		if m.Gated {
			b.GLU = &GEGLU{Norm: newLayerNorm(w, &NormOptions{Eps: 1e-6}), W0: linear(w, hidden), W1: linear(w, hidden), W2: linear(hidden, w)}
		} else {
			b.MLP = &TimmMLP{Fc1: linear(w, hidden), Fc2: linear(hidden, w), act: act}
		}
		v.Blocks = append(v.Blocks, b)
	}
	switch c.Vision.TimmProj {
	case "linear":
		v.Proj = linear(w, c.EmbedDim)
		if !c.Vision.TimmProjBias {
			v.Proj.Bias = nil
		}
	case "":
		v.Head = linear(w, c.EmbedDim)
	}
	return v
}

// Forward maps normalised images (B, 3, R, R) to features (B, E).
func (v *TimmViT) Forward(pixels *torch.Tensor) *torch.Tensor {
	x, real := v.embed(pixels), (*torch.Tensor)(nil) // (B, T, W)
	if v.NaFlex != nil {
		real = v.NaFlex.real(pixels, x.Size(1))
	}
	for _, b := range v.Blocks {
		x = v.checkpointing.block(b, func(x, real *torch.Tensor) *torch.Tensor { return b.forward(x, masked(real), v.training) }, x, real)
	}
	return v.read(x, masked(real))
}

// read is the feature of the last tokens (B, T, W), by a way for the pool to attend: (B, E).
func (v *TimmViT) read(x *torch.Tensor, f attention) *torch.Tensor {
	switch {
	case v.AttnPool != nil:
		x = v.AttnPool.with(v.Norm.Forward(x), f) // (B, W)
	case v.ClassToken != nil:
		x = v.Norm.Forward(x.Select(1, 0))
	case v.Norm != nil:
		x = v.Norm.Forward(x).MeanDim(1)
	default:
		x = v.NormPooled.Forward(x.MeanDim(1))
	}
	return v.project(x)
}

// project maps (..., W) to (..., E).
func (v *TimmViT) project(x *torch.Tensor) *torch.Tensor {
	switch {
	case v.Proj != nil:
		return v.Proj.Forward(x)
	case v.Head != nil:
		return v.Head.Forward(x)
	}
	return x
}

// embed makes the tokens that enter the blocks: (B, 3, R, R) -> (B, T, W), the class token first if there is one.
func (v *TimmViT) embed(pixels *torch.Tensor) (x *torch.Tensor) {
	switch {
	case v.Stem != nil:
		x = v.Stem.Forward(pixels, v.training).Add(v.Positions) // the class token has no position
	case v.MBConvs != nil:
		x = v.MBConvs.Forward(pixels)
	case v.NaFlex != nil:
		x = v.NaFlex.Forward(pixels)
	default:
		x = patches(pixels, v.Patches.Stride).Linear(v.Patches.Weight, v.Patches.Bias) // (B, G*G, W)
	}
	first := 0
	if v.ClassToken != nil {
		x = torch.Cat(1, x.Borrow(v.ClassToken).Expand(x.Size(0), 1, x.Size(2)), x)
		first = 1
	}
	if v.Positions != nil && v.Stem == nil {
		x = x.Add(v.Positions)
	}
	if v.training && v.dropout > 0 {
		x = dropPatches(x, first, v.dropout)
	}
	if v.NormPre != nil {
		x = v.NormPre.Forward(x)
	}
	return x
}

// Forward maps (B, T, W) to (B, T, W).
func (b *TimmBlock) Forward(x *torch.Tensor) *torch.Tensor { return b.with(x, nil) }

// with is Forward with another way to attend.
func (b *TimmBlock) with(x *torch.Tensor, f attention) *torch.Tensor { return b.forward(x, f, false) }

func (b *TimmBlock) forward(x *torch.Tensor, f attention, training bool) *torch.Tensor {
	drops := training && b.dropPath > 0
	branch := func(x *torch.Tensor) *torch.Tensor {
		if drops {
			return dropPath(x, b.dropPath)
		}
		return x
	}
	if b.Relative != nil {
		f = func(q, k, v *torch.Tensor) *torch.Tensor {
			return biasedAttention(q, k, v, b.Relative.bias(q, training), 0)
		}
	}
	var attention, mlp *nn.Linear // what takes the norms, if nothing else does
	if f == nil {
		attention = b.QKV
	}
	if b.MLP != nil {
		mlp = b.MLP.Fc1
	}
	_, y := b.Norm1.AddForward(x, nil, attention.Takes())
	x, y = b.Norm2.AddForward(x, branch(b.attend(y, f)), mlp.Takes())
	switch {
	case b.GLU != nil:
		return x.Add(branch(b.Ls2.Forward(b.GLU.Forward(y))))
	case drops || b.Ls2 != nil:
		return x.Add(branch(b.Ls2.Forward(b.MLP.Forward(y))))
	default:
		return b.MLP.Fc2.AddForward(x, b.MLP.act.between(b.MLP.Fc1, b.MLP.Fc2, y))
	}
}

// attend is the branch of attention behind its norm.
func (b *TimmBlock) attend(y *torch.Tensor, f attention) *torch.Tensor {
	qkv := b.QKV.Forward(y)
	if f == nil && b.QKV.Weight.Packed(y, b.QKV.Bias) {
		y = qkv.SelfAttention(b.heads, false, b.Out.Takes(), false)
	} else {
		y = attend(qkv, b.heads, f)
	}
	return b.Ls1.Forward(b.Out.Forward(y))
}

// Forward maps (..., W) to (..., W).
func (m *TimmMLP) Forward(x *torch.Tensor) *torch.Tensor {
	return m.Fc2.Forward(m.act.between(m.Fc1, m.Fc2, x))
}

// SetTraining switches patch dropout, stochastic depth and batch statistics.
func (v *TimmViT) SetTraining(on bool) { v.training, v.checkpointing.training = on, on }

// SetPatchDropout replaces the config's fraction. With relative positions, or images of any shape, no patch is left out.
func (v *TimmViT) SetPatchDropout(fraction float64) {
	if !v.isRelative() && v.NaFlex == nil {
		v.dropout = fraction
	}
}

// PatchDropout returns the fraction of patches that training leaves out.
func (v *TimmViT) PatchDropout() float64 { return v.dropout }

// PatchWeight is (W, 3, P, P), nil where convolutions stand in the place of patches.
func (v *TimmViT) PatchWeight() *torch.Tensor {
	if v.Patches == nil {
		return nil
	}
	return v.Patches.Weight
}

// Initialize is timm's init_weights_vit_timm: 0.02 for every matrix, no bias. timm cuts the normal distribution at +-2,
// a hundred standard deviations. The patches and the projection keep PyTorch's default, and with relative positions
// everything does (vision_transformer_relpos.py).
func (v *TimmViT) Initialize(s *torch.Scope) {
	if !v.isRelative() {
		for _, l := range v.linears() {
			normal(s, l.Weight, 0.02)
		}
	}
	if v.Positions != nil {
		normal(s, v.Positions, 0.02)
	}
	if v.NaFlex != nil {
		normal(s, v.NaFlex.Positions, 0.02)
	}
	if v.ClassToken != nil {
		normal(s, v.ClassToken, 1e-6)
	}
	if v.AttnPool != nil {
		truncatedNormal(s, v.AttnPool.Latent, 1/math.Sqrt(float64(v.AttnPool.Latent.Size(2))))
	}
	if v.MBConvs != nil {
		v.MBConvs.initialize(s)
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
		switch {
		case l.Bias == nil:
		case v.isRelative():
			initBias(s, l)
		default:
			s.Alias(l.Bias).Fill(0)
		}
	}
	switch {
	case v.Stem != nil:
		initConvBias(s, v.Stem.Last.Conv)
	case v.MBConvs != nil:
		v.MBConvs.initializeBiases(s)
	case v.Patches != nil && v.Patches.Bias != nil:
		initConvBias(s, v.Patches)
	}
	if v.Proj != nil && v.Proj.Bias != nil {
		initBias(s, v.Proj)
	}
}

func (v *TimmViT) isRelative() bool { return len(v.Blocks) > 0 && v.Blocks[0].Relative != nil }

func (v *TimmViT) linears() []*nn.Linear {
	var all []*nn.Linear
	for _, b := range v.Blocks {
		all = append(all, b.QKV, b.Out)
		if b.GLU != nil {
			all = append(all, b.GLU.W0, b.GLU.W1, b.GLU.W2)
		} else {
			all = append(all, b.MLP.Fc1, b.MLP.Fc2)
		}
		if b.Relative != nil {
			all = append(all, b.Relative.Fc1, b.Relative.Fc2)
		}
	}
	if v.NaFlex != nil {
		all = append(all, v.NaFlex.Proj)
	}
	if p := v.AttnPool; p != nil {
		all = append(all, p.Q, p.KV, p.Proj, p.MLP.Fc1, p.MLP.Fc2)
	}
	if v.Head != nil {
		all = append(all, v.Head)
	}
	return all
}

// SetGradCheckpointing has the blocks computed again in the backward pass.
func (v *TimmViT) SetGradCheckpointing(on bool) { v.checkpointing.on = on }
