package tower

import (
	"math"

	"github.com/goclip/goclip/internal/timm"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Eva is timm's eva.py under open_clip's timm_model.py: the image towers of EVA-CLIP (Fang et al.,
// arXiv 2211.07636 and 2303.11331; Sun et al., 2303.15389) and of Meta's Perception Encoder (Bolya
// et al., 2504.13181). A class token and learned positions as in [ViT], and in most of them rotary
// positions within attention.
type Eva struct {
	Patches    *nn.Conv2d    `torch:"trunk.patch_embed.proj"` // (W, 3, P, P); no bias in a Perception Encoder
	ClassToken *torch.Tensor `torch:"trunk.cls_token"`        // (1, 1, W); nil without
	Positions  *torch.Tensor `torch:"trunk.pos_embed"`        // (1, G*G, W); one more with a class token
	NormPre    *nn.LayerNorm `torch:"trunk.norm_pre"`         // of a Perception Encoder
	Blocks     []*EvaBlock   `torch:"trunk.blocks"`
	Norm       *nn.LayerNorm `torch:"trunk.norm"`
	AttnPool   *LatentPool   `torch:"trunk.attn_pool"` // of a Perception Encoder; else the class token is the image
	Proj       *nn.Linear    `torch:"trunk.head"`

	rotary        *rotary // nil without
	checkpointing checkpointing
}

// EvaBlock is a residual block. It normalises what enters a branch or, in EVA-02 E, what leaves it.
type EvaBlock struct {
	Norm1 *nn.LayerNorm `torch:"norm1"`
	Attn  *EvaAttention `torch:"attn"`
	Norm2 *nn.LayerNorm `torch:"norm2"`
	MLP   *TimmMLP      `torch:"mlp"` // nil with a gate
	GLU   *SwiGLU       `torch:"mlp"` // nil without
	post  bool
}

// EvaAttention is multi-head self-attention with rotary positions. Queries, keys and values come
// from one product or from three; in EVA keys have no bias.
type EvaAttention struct {
	QKV   *nn.Linear    `torch:"qkv"`    // (3W, W); has a bias in a Perception Encoder alone
	QBias *torch.Tensor `torch:"q_bias"` // (W), of QKV without a bias
	VBias *torch.Tensor `torch:"v_bias"` // (W)
	Q     *nn.Linear    `torch:"q_proj"` // nil with QKV, as K and V
	K     *nn.Linear    `torch:"k_proj"`
	V     *nn.Linear    `torch:"v_proj"`
	Norm  *nn.LayerNorm `torch:"norm"` // of all heads' results, nil with QKV
	Out   *nn.Linear    `torch:"proj"`
	heads int
}

// SwiGLU is a perceptron whose hidden layer is gated (Shazeer, arXiv 2002.05202) and normalised.
type SwiGLU struct {
	Gate *nn.Linear    `torch:"fc1_g"`
	Fc1  *nn.Linear    `torch:"fc1_x"`
	Norm *nn.LayerNorm `torch:"norm"`
	Fc2  *nn.Linear    `torch:"fc2"`
}

func newEva(c *Config) *Eva {
	m := timm.Evas[c.Vision.TimmModelName] // validate has found it
	w, hidden, eps := m.Width, int(float64(m.Width)*m.MLPRatio), 1e-6
	if m.Kind == timm.EvaPE {
		eps = 1e-5
	}
	norm := func(width int) *nn.LayerNorm { return newLayerNorm(width, &NormOptions{Eps: eps}) }
	rows, columns := c.Vision.Grid()
	places := rows * columns
	v := &Eva{Patches: patchConv(w, m.Patch), Norm: norm(w), Proj: linear(w, c.EmbedDim)}
	if !m.NoClass {
		v.ClassToken, places = nn.Parameter(1, 1, w), places+1
	}
	v.Positions = nn.Parameter(1, places, w)
	if m.Kind == timm.EvaPE {
		v.Patches.Bias, v.NormPre, v.AttnPool = nil, norm(w), newLatentPool(w, 8, 4*w, eps, activationOf(false, nil))
	}
	if m.RotaryGrid > 0 {
		v.rotary = &rotary{rows: rows, columns: columns, bands: w / m.Heads / 4, first: places - rows*columns, grid: m.RotaryGrid,
			columnFirst: m.Kind == timm.EvaPE}
		if m.Kind == timm.EvaPE && !m.NoClass {
			v.rotary.offset = 1
		}
	}
	for range m.Depth {
		b := &EvaBlock{Norm1: norm(w), Attn: &EvaAttention{Out: linear(w, w), heads: m.Heads}, Norm2: norm(w), post: m.Kind == timm.EvaPost}
		if m.Kind == timm.EvaSwiGLU {
			b.Attn.Q, b.Attn.K, b.Attn.V, b.Attn.Norm = linear(w, w), &nn.Linear{Weight: nn.Parameter(w, w)}, linear(w, w), norm(w)
			b.GLU = &SwiGLU{Gate: linear(w, hidden), Fc1: linear(w, hidden), Norm: norm(hidden), Fc2: linear(hidden, w)}
		} else {
			b.Attn.QKV = linear(w, 3*w)
			b.MLP = &TimmMLP{Fc1: linear(w, hidden), Fc2: linear(hidden, w), act: activationOf(false, nil)}
		}
		if b.Attn.QKV != nil && m.Kind != timm.EvaPE {
			b.Attn.QKV.Bias, b.Attn.QBias, b.Attn.VBias = nil, nn.Parameter(w), nn.Parameter(w)
		}
		v.Blocks = append(v.Blocks, b)
	}
	return v
}

// Forward maps normalised images (B, 3, R, R) to features (B, E).
func (v *Eva) Forward(pixels *torch.Tensor) *torch.Tensor {
	x := v.embed(pixels)
	turns := v.rotary.turns(x)
	for _, b := range v.Blocks {
		x = v.checkpointing.block(b, b.Forward, x, turns)
	}
	if v.AttnPool != nil {
		return v.Proj.Forward(v.AttnPool.Forward(v.Norm.Forward(x)))
	}
	return v.Proj.Forward(v.Norm.Forward(x.Select(1, 0)))
}

// embed makes the tokens that enter the blocks: (B, 3, R, R) -> (B, T, W), the class token first if there is one.
func (v *Eva) embed(pixels *torch.Tensor) *torch.Tensor {
	x := patches(pixels, v.Patches.Stride).Linear(v.Patches.Weight, v.Patches.Bias) // (B, G*G, W)
	if v.ClassToken != nil {
		x = torch.Cat(1, x.Borrow(v.ClassToken).Expand(x.Size(0), 1, x.Size(2)), x)
	}
	x = x.Add(v.Positions)
	if v.NormPre != nil {
		x = v.NormPre.Forward(x)
	}
	return x
}

// Forward maps (B, T, W) to (B, T, W). turns are those of [rotary], nil without.
func (b *EvaBlock) Forward(x, turns *torch.Tensor) *torch.Tensor {
	return b.with(x, turns, nil)
}

// with is Forward with another way to attend.
func (b *EvaBlock) with(x, turns *torch.Tensor, f attention) *torch.Tensor {
	mlp := func(x *torch.Tensor) *torch.Tensor {
		if b.GLU != nil {
			return b.GLU.Forward(x)
		}
		return b.MLP.Forward(x)
	}
	x = x.Add(b.attend(x, turns, f))
	if b.post {
		return x.Add(b.Norm2.Forward(mlp(x)))
	}
	return x.Add(mlp(b.Norm2.Forward(x)))
}

// attend is the branch of attention.
func (b *EvaBlock) attend(x, turns *torch.Tensor, f attention) *torch.Tensor {
	if b.post {
		return b.Norm1.Forward(b.Attn.with(x, turns, f))
	}
	return b.Attn.with(b.Norm1.Forward(x), turns, f)
}

// with maps (B, T, W) to (B, T, W) by a way to attend.
func (a *EvaAttention) with(x, turns *torch.Tensor, f attention) *torch.Tensor {
	shape := x.Shape()
	heads := func(x *torch.Tensor) *torch.Tensor { // (B, heads, T, W/heads)
		return x.View(shape[0], shape[1], a.heads, shape[2]/a.heads).Transpose(1, 2)
	}
	var q, k, v *torch.Tensor
	if a.QKV != nil {
		parts := a.QKV.Forward(x).Split(-1, shape[2], shape[2], shape[2])
		q, k, v = parts[0], parts[1], parts[2]
		if a.QBias != nil {
			q, v = q.Add(a.QBias), v.Add(a.VBias)
		}
	} else {
		q, k, v = a.Q.Forward(x), a.K.Forward(x), a.V.Forward(x)
	}
	q, k, v = heads(q), heads(k), heads(v)
	if turns != nil {
		q, k = turn(q, turns), turn(k, turns)
	}
	y := f.of(q, k, v).Transpose(1, 2).Reshape(shape...)
	if a.Norm != nil {
		y = a.Norm.Forward(y)
	}
	return a.Out.Forward(y)
}

// Forward maps (..., W) to (..., W).
func (g *SwiGLU) Forward(x *torch.Tensor) *torch.Tensor {
	return g.Fc2.Forward(g.Norm.Forward(g.Gate.Forward(x).Silu().Mul(g.Fc1.Forward(x))))
}

// SetTraining switches gradient checkpointing; nothing is random.
func (v *Eva) SetTraining(on bool) { v.checkpointing.training = on }

// SetGradCheckpointing has the blocks computed again in the backward pass.
func (v *Eva) SetGradCheckpointing(on bool) { v.checkpointing.on = on }

// PatchWeight is (W, 3, P, P).
func (v *Eva) PatchWeight() *torch.Tensor { return v.Patches.Weight }

// Groups returns the patches with the tokens and positions, each block, the last with the norm, and the
// head with its pool.
func (v *Eva) Groups() []Group {
	return append(layers(Group{v.Patches, v.ClassToken, v.Positions, v.NormPre}, v.Blocks, v.Norm), Group{v.AttnPool, v.Proj})
}

// Initialize is timm's Eva.init_weights: 0.02 for every matrix and the positions, less for the last
// of each branch the deeper its block, a thousandth for the projection, and no bias. timm cuts the
// normal distribution at +-2, a hundred standard deviations. The patches keep PyTorch's default.
func (v *Eva) Initialize(s *torch.Scope) {
	for _, l := range v.linears() {
		normal(s, l.Weight, 0.02)
	}
	for i, b := range v.Blocks {
		std := 0.02 / math.Sqrt(2*float64(i+1))
		normal(s, b.Attn.Out.Weight, std)
		if b.GLU != nil {
			normal(s, b.GLU.Fc2.Weight, std)
		} else {
			normal(s, b.MLP.Fc2.Weight, std)
		}
	}
	normal(s, v.Proj.Weight, 0.02*0.001)
	normal(s, v.Positions, 0.02)
	if v.ClassToken != nil {
		normal(s, v.ClassToken, 0.02)
	}
	if v.AttnPool != nil {
		truncatedNormal(s, v.AttnPool.Latent, 1/math.Sqrt(float64(v.AttnPool.Latent.Size(2))))
	}
}

func (v *Eva) InitializeBiases(s *torch.Scope) {
	for _, l := range v.linears() {
		if l.Bias != nil {
			s.Alias(l.Bias).Fill(0)
		}
	}
	for _, b := range v.Blocks {
		if b.Attn.QBias != nil {
			s.Alias(b.Attn.QBias).Fill(0)
			s.Alias(b.Attn.VBias).Fill(0)
		}
	}
	if v.Patches.Bias != nil {
		initConvBias(s, v.Patches)
	}
}

func (v *Eva) linears() []*nn.Linear {
	all := []*nn.Linear{v.Proj}
	for _, b := range v.Blocks {
		if b.Attn.QKV != nil {
			all = append(all, b.Attn.QKV, b.Attn.Out, b.MLP.Fc1, b.MLP.Fc2)
		} else {
			all = append(all, b.Attn.Q, b.Attn.K, b.Attn.V, b.Attn.Out, b.GLU.Gate, b.GLU.Fc1, b.GLU.Fc2)
		}
	}
	if p := v.AttnPool; p != nil {
		all = append(all, p.Q, p.KV, p.Proj, p.MLP.Fc1, p.MLP.Fc2)
	}
	return all
}
