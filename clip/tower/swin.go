package tower

import (
	"github.com/goclip/goclip/internal/timm"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

var opRoll = torch.NewOp("aten::roll")

// Swin is a transformer whose attention sees a window of the image, shifted by half of it in every
// other block (Liu et al., arXiv 2103.14030), as timm's swin_transformer.py computes it under
// open_clip's timm_model.py. Between two of its four stages four neighbours become one of twice the
// width.
type Swin struct {
	Patches  *nn.Conv2d    `torch:"trunk.patch_embed.proj"` // (C, 3, P, P)
	Embedded *nn.LayerNorm `torch:"trunk.patch_embed.norm"`
	Stages   []*SwinStage  `torch:"trunk.layers"`
	Norm     *nn.LayerNorm `torch:"trunk.norm"`
	Proj     *nn.Linear    `torch:"head.proj"` // of the mean over places
	rows     int           // of patches
	columns  int

	checkpointing checkpointing
}

// SwinStage is blocks of one width at one resolution.
type SwinStage struct {
	Merge  *PatchMerging `torch:"downsample"` // nil in the first stage
	Blocks []*SwinBlock  `torch:"blocks"`
}

// PatchMerging makes one place of 2 x 2.
type PatchMerging struct {
	Norm      *nn.LayerNorm `torch:"norm"`      // (4C)
	Reduction *nn.Linear    `torch:"reduction"` // (2C, 4C), no bias
}

// SwinBlock is a pre-norm residual block of windows.
type SwinBlock struct {
	Norm1    *nn.LayerNorm `torch:"norm1"`
	Table    *torch.Tensor `torch:"attn.relative_position_bias_table"` // ((2*window-1)^2, heads)
	QKV      *nn.Linear    `torch:"attn.qkv"`                          // (3C, C)
	Out      *nn.Linear    `torch:"attn.proj"`
	Norm2    *nn.LayerNorm `torch:"norm2"`
	MLP      *TimmMLP      `torch:"mlp"`
	heads    int
	window   int
	shift    int
	dropPath float64 // the fraction of images that training leaves a branch out for
}

func newSwin(c *Config) *Swin {
	m := timm.Swins[c.Vision.TimmModelName] // validate has found it
	w, act := m.Width, activationOf(false, nil)
	norm := func(width int) *nn.LayerNorm { return newLayerNorm(width, nil) }
	rows, columns := c.Vision.ImageSize.Height/m.Patch, c.Vision.ImageSize.Width/m.Patch
	v := &Swin{Patches: strided(3, w, m.Patch), Embedded: norm(w), rows: rows, columns: columns}
	blocks := m.Depths[0] + m.Depths[1] + m.Depths[2] + m.Depths[3]
	before := 0
	for i, depth := range m.Depths {
		stage := &SwinStage{}
		if i > 0 {
			stage.Merge = &PatchMerging{Norm: norm(4 * w), Reduction: &nn.Linear{Weight: nn.Parameter(2*w, 4*w)}}
			w, rows, columns = 2*w, rows/2, columns/2
		}
		window := min(m.Window, rows, columns)
		for j := range depth {
			b := &SwinBlock{Norm1: norm(w), Table: nn.Parameter((2*window-1)*(2*window-1), m.Heads[i]), QKV: linear(w, 3*w), Out: linear(w, w),
				Norm2: norm(w), MLP: &TimmMLP{Fc1: linear(w, 4*w), Fc2: linear(4*w, w), act: act}, heads: m.Heads[i], window: window,
				dropPath: c.Vision.dropPath(0.1) * float64(before) / float64(max(1, blocks-1))}
			if j%2 == 1 && min(rows, columns) > window {
				b.shift = window / 2
			}
			stage.Blocks = append(stage.Blocks, b)
			before++
		}
		v.Stages = append(v.Stages, stage)
	}
	v.Norm, v.Proj = norm(w), linear(w, c.EmbedDim)
	if !c.Vision.TimmProjBias {
		v.Proj.Bias = nil
	}
	return v
}

// Forward maps normalised images (B, 3, R, R) to features (B, E).
func (v *Swin) Forward(pixels *torch.Tensor) *torch.Tensor {
	x := patches(pixels, v.Patches.Stride).Linear(v.Patches.Weight, v.Patches.Bias) // (B, R/4*R/4, C)
	x = v.Embedded.Forward(x).View(x.Size(0), v.rows, v.columns, -1)
	for _, stage := range v.Stages {
		if stage.Merge != nil {
			x = stage.Merge.Forward(x)
		}
		for _, b := range stage.Blocks {
			x = v.checkpointing.block(b, func(x, _ *torch.Tensor) *torch.Tensor { return b.Forward(x, v.checkpointing.training) }, x, nil)
		}
	}
	return v.Proj.Forward(v.Norm.Forward(x).Flatten(1, 2).MeanDim(1))
}

// Forward maps (B, H, W, C) to (B, H/2, W/2, 2C).
func (m *PatchMerging) Forward(x *torch.Tensor) *torch.Tensor {
	shape := x.Shape()
	b, rows, columns := shape[0], shape[1]/2, shape[2]/2
	x = x.Reshape(b, rows, 2, columns, 2, shape[3]).Permute(0, 1, 3, 4, 2, 5).Reshape(b, rows, columns, 4*shape[3])
	return m.Reduction.Forward(m.Norm.Forward(x))
}

// Forward keeps the shape (B, H, W, C).
func (b *SwinBlock) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	branch := func(x *torch.Tensor) *torch.Tensor {
		if training && b.dropPath > 0 {
			return dropPath(x, b.dropPath)
		}
		return x
	}
	x = x.Add(branch(b.attention(b.Norm1.Forward(x))))
	return x.Add(branch(b.MLP.Forward(b.Norm2.Forward(x))))
}

// attention is within windows, of which a shifted image's last ones hold places that were not
// neighbours: these do not see each other.
func (b *SwinBlock) attention(x *torch.Tensor) *torch.Tensor {
	shape := x.Shape()
	rows, columns, area := shape[1], shape[2], b.window*b.window
	mask := relativeBias(x.Borrow(b.Table), b.window, b.window).Unsqueeze(0) // (1, heads, area, area)
	if b.shift > 0 {
		x = opRoll.Call(x, []int{-b.shift, -b.shift}, []int{1, 2})
		regions := b.windows(b.regions(x, rows, columns)).View(-1, area)
		apart := regions.Unsqueeze(1).Sub(regions.Unsqueeze(2)).NeScalar(0)
		walls := torch.OnesLike(x, 1).Fill(0).To(x.Device(), x.DType()).Expand(apart.Shape()...).MaskedFill(apart, -100) // (windows, area, area)
		n := walls.Size(0)
		mask = mask.Add(walls.Unsqueeze(1)).Unsqueeze(0).Expand(shape[0], n, b.heads, area, area).Reshape(shape[0]*n, b.heads, area, area)
	}
	mask = mask.To(x.Device(), x.DType())
	y := attend(b.QKV.Forward(b.windows(x)), b.heads, func(q, k, v *torch.Tensor) *torch.Tensor { return biasedAttention(q, k, v, mask, 0) })
	y = b.Out.Forward(y).View(shape[0], rows/b.window, columns/b.window, b.window, b.window, shape[3])
	y = y.Permute(0, 1, 3, 2, 4, 5).Reshape(shape...)
	if b.shift > 0 {
		y = opRoll.Call(y, []int{b.shift, b.shift}, []int{1, 2})
	}
	return y
}

// windows cuts (B, H, W, C) into (B*windows, area, C).
func (b *SwinBlock) windows(x *torch.Tensor) *torch.Tensor {
	shape := x.Shape()
	x = x.Reshape(shape[0], shape[1]/b.window, b.window, shape[2]/b.window, b.window, shape[3])
	return x.Permute(0, 1, 3, 2, 4, 5).Reshape(-1, b.window*b.window, shape[3])
}

// regions number the places of a shifted image by what were neighbours: (1, H, W, 1).
func (b *SwinBlock) regions(x *torch.Tensor, rows, columns int) *torch.Tensor {
	region := func(i, n int) float32 {
		switch {
		case i < n-b.window:
			return 0
		case i < n-b.shift:
			return 1
		}
		return 2
	}
	numbers := make([]float32, 0, rows*columns)
	for i := range rows {
		for j := range columns {
			numbers = append(numbers, 3*region(i, rows)+region(j, columns))
		}
	}
	return torch.FromSliceLike(x, numbers, 1, rows, columns, 1)
}

// SetTraining switches stochastic depth.
func (v *Swin) SetTraining(on bool) { v.checkpointing.training = on }

// SetGradCheckpointing has the blocks computed again in the backward pass.
func (v *Swin) SetGradCheckpointing(on bool) { v.checkpointing.on = on }

// PatchWeight is (C, 3, P, P).
func (v *Swin) PatchWeight() *torch.Tensor { return v.Patches.Weight }

// Groups returns the patches, each block with the merging before it, the last one with the LayerNorm.
// The projection is no part of timm's model.
func (v *Swin) Groups() []Group {
	groups := []Group{{v.Patches, v.Embedded}}
	for _, stage := range v.Stages {
		for i, b := range stage.Blocks {
			if i == 0 {
				groups = append(groups, Group{stage.Merge, b})
			} else {
				groups = append(groups, Group{b})
			}
		}
	}
	last := len(groups) - 1
	groups[last] = append(groups[last], v.Norm)
	return groups
}

// Initialize is timm's init_weights_vit_timm: 0.02 for every matrix, no bias. The patches and the
// head keep PyTorch's default.
func (v *Swin) Initialize(s *torch.Scope) {
	for _, l := range v.linears() {
		normal(s, l.Weight, 0.02)
	}
	for _, stage := range v.Stages {
		for _, b := range stage.Blocks {
			normal(s, b.Table, 0.02)
		}
	}
}

func (v *Swin) InitializeBiases(s *torch.Scope) {
	for _, l := range v.linears() {
		if l.Bias != nil {
			s.Alias(l.Bias).Fill(0)
		}
	}
	initConvBias(s, v.Patches)
	if v.Proj.Bias != nil {
		initBias(s, v.Proj)
	}
}

func (v *Swin) linears() (all []*nn.Linear) {
	for _, stage := range v.Stages {
		if stage.Merge != nil {
			all = append(all, stage.Merge.Reduction)
		}
		for _, b := range stage.Blocks {
			all = append(all, b.QKV, b.Out, b.MLP.Fc1, b.MLP.Fc2)
		}
	}
	return all
}
