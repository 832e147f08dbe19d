package tower

import (
	"slices"

	"github.com/goclip/goclip/internal/timm"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// ConvNeXt is a convolutional image tower in the manner of a transformer (Liu et al., arXiv
// 2201.03545), as timm's convnext.py computes it under open_clip's timm_model.py: a stem that cuts
// patches of 4 x 4 pixels, four stages of blocks, between two of them a convolution that halves
// height and width, and the normalised mean over all places.
type ConvNeXt struct {
	Stem          *nn.Conv2d       `torch:"trunk.stem.0"` // (C, 3, 4, 4), stride 4
	StemNorm      *nn.LayerNorm    `torch:"trunk.stem.1"` // over channels, as all others
	Stages        []*ConvNeXtStage `torch:"trunk.stages"`
	Norm          *nn.LayerNorm    `torch:"trunk.head.norm"` // behind the mean
	Proj          *nn.Linear       `torch:"head.proj"`       // nil with timm_proj mlp
	MLP           *TimmMLP         `torch:"head.mlp"`        // nil with timm_proj linear
	checkpointing checkpointing
}

// ConvNeXtStage is blocks of one width at one resolution.
type ConvNeXtStage struct {
	Downsample *ConvNeXtDownsample `torch:"downsample"` // nil in the first stage
	Blocks     []*ConvNeXtBlock    `torch:"blocks"`
}

// ConvNeXtDownsample halves height and width, rounded down, and widens the channels.
type ConvNeXtDownsample struct {
	Norm *nn.LayerNorm `torch:"0"`
	Conv *nn.Conv2d    `torch:"1"` // (C, in, 2, 2), stride 2
}

// ConvNeXtBlock is a residual block: each channel's surroundings of 7 x 7 places, then a perceptron
// at each place.
type ConvNeXtBlock struct {
	Depthwise *nn.Conv2d    `torch:"conv_dw"` // (C, 1, 7, 7)
	Norm      *nn.LayerNorm `torch:"norm"`
	MLP       *TimmMLP      `torch:"mlp"`
	Gamma     *torch.Tensor `torch:"gamma"` // (C), as in [LayerScale]
	dropPath  float64       // the fraction of images that training leaves the branch out for
}

func newConvNeXt(c *Config) *ConvNeXt {
	m := timm.ConvNeXts[c.Vision.TimmModelName] // validate has found it
	norm := func(width int) *nn.LayerNorm { return newLayerNorm(width, &NormOptions{Eps: m.Eps}) }
	mlp := func(in, hidden, out int) *TimmMLP {
		return &TimmMLP{Fc1: linear(in, hidden), Fc2: linear(hidden, out), act: activationOf(false, nil)}
	}
	v := &ConvNeXt{Stem: strided(3, m.Widths[0], 4), StemNorm: norm(m.Widths[0]), Norm: norm(m.Widths[3])}
	blocks := m.Depths[0] + m.Depths[1] + m.Depths[2] + m.Depths[3]
	before := 0
	for i, depth := range m.Depths {
		w, stage := m.Widths[i], &ConvNeXtStage{}
		if i > 0 {
			stage.Downsample = &ConvNeXtDownsample{Norm: norm(m.Widths[i-1]), Conv: strided(m.Widths[i-1], w, 2)}
		}
		for range depth {
			stage.Blocks = append(stage.Blocks, &ConvNeXtBlock{Depthwise: depthwise(w, 7), Norm: norm(w), MLP: mlp(w, 4*w, w),
				Gamma: nn.Parameter(w), dropPath: c.Vision.dropPath(0) * float64(before) / float64(max(1, blocks-1))})
			before++
		}
		v.Stages = append(v.Stages, stage)
	}
	if c.Vision.TimmProj == "mlp" {
		v.MLP = mlp(m.Widths[3], 2*c.EmbedDim, c.EmbedDim)
	} else {
		v.Proj = linear(m.Widths[3], c.EmbedDim)
	}
	if !c.Vision.TimmProjBias {
		v.last().Bias = nil
	}
	return v
}

// strided has a bias and windows of size x size that do not overlap.
func strided(in, out, size int) *nn.Conv2d {
	return &nn.Conv2d{Weight: nn.Parameter(out, in, size, size), Bias: nn.Parameter(out), Stride: size}
}

// depthwise has a bias and keeps channels apart, height and width; kernel is odd.
func depthwise(width, kernel int) *nn.Conv2d {
	c := conv(1, width, kernel)
	c.Bias, c.Groups = nn.Parameter(width), width
	return c
}

// Forward maps normalised images (B, 3, H, W) to features (B, E).
func (v *ConvNeXt) Forward(pixels *torch.Tensor) *torch.Tensor {
	return v.read(v.grid(pixels).Flatten(2, 3).MeanDim(2)) // (B, C)
}

// grid maps (B, 3, H, W) to what is pooled, (B, C, H/32, W/32).
func (v *ConvNeXt) grid(pixels *torch.Tensor) *torch.Tensor {
	x := overChannels(v.StemNorm, v.Stem.Forward(pixels)) // (B, C, H/4, W/4)
	for _, stage := range v.Stages {
		if d := stage.Downsample; d != nil {
			x = d.Conv.Forward(overChannels(d.Norm, x))
		}
		for _, b := range stage.Blocks {
			x = v.checkpointing.block(b, func(x, _ *torch.Tensor) *torch.Tensor { return b.Forward(x, v.checkpointing.training) }, x, nil)
		}
	}
	return x
}

// read maps what was pooled, (..., C), to (..., E).
func (v *ConvNeXt) read(x *torch.Tensor) *torch.Tensor {
	x = v.Norm.Forward(x)
	if v.MLP != nil {
		return v.MLP.Forward(x)
	}
	return v.Proj.Forward(x)
}

// overChannels normalises the channels of each place: (B, C, H, W) -> (B, C, H, W), timm's
// LayerNorm2d.
func overChannels(norm *nn.LayerNorm, x *torch.Tensor) *torch.Tensor {
	return norm.Forward(x.Permute(0, 2, 3, 1)).Permute(0, 3, 1, 2)
}

// Forward maps (B, C, H, W) to (B, C, H, W).
func (b *ConvNeXtBlock) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	y := b.Depthwise.Forward(x).Permute(0, 2, 3, 1) // (B, H, W, C)
	y = b.MLP.Forward(b.Norm.Forward(y)).Mul(b.Gamma).Permute(0, 3, 1, 2)
	if training && b.dropPath > 0 {
		y = dropPath(y, b.dropPath)
	}
	return x.Add(y)
}

// dropPath is stochastic depth (Huang et al., arXiv 1603.09382; timm layers/drop.py drop_path): a
// residual branch becomes 0 for a random fraction of the images, and is divided by 1-dropPath for the
// others.
func dropPath(branch *torch.Tensor, share float64) *torch.Tensor {
	shape := slices.Repeat([]int{1}, branch.Dim())
	shape[0] = branch.Size(0)
	ones := torch.OnesLike(branch, shape...).To(branch.Device(), branch.DType())
	return branch.Mul(ones.Dropout(share))
}

// SetTraining switches stochastic depth.
func (v *ConvNeXt) SetTraining(on bool) { v.checkpointing.training = on }

// SetGradCheckpointing has the blocks computed again in the backward pass.
func (v *ConvNeXt) SetGradCheckpointing(on bool) { v.checkpointing.on = on }

// Groups returns the stem, each block with the downsampling before it, and the last LayerNorm. The
// projection is no part of timm's model.
func (v *ConvNeXt) Groups() []Group {
	groups := []Group{{v.Stem, v.StemNorm}}
	for _, stage := range v.Stages {
		for i, b := range stage.Blocks {
			if i == 0 {
				groups = append(groups, Group{stage.Downsample, b})
			} else {
				groups = append(groups, Group{b})
			}
		}
	}
	return append(groups, Group{v.Norm})
}

// Initialize is timm's _init_weights of convnext.py: 0.02 for every matrix and convolution, no
// bias, and branches that begin at a millionth. timm cuts the normal distribution at +-2, a hundred
// standard deviations. The head keeps PyTorch's default.
func (v *ConvNeXt) Initialize(s *torch.Scope) {
	for _, w := range v.weights() {
		normal(s, w[0], 0.02)
	}
	for _, stage := range v.Stages {
		for _, b := range stage.Blocks {
			s.Alias(b.Gamma).Fill(1e-6)
		}
	}
}

func (v *ConvNeXt) InitializeBiases(s *torch.Scope) {
	for _, w := range v.weights() {
		s.Alias(w[1]).Fill(0)
	}
	if v.MLP != nil {
		initBias(s, v.MLP.Fc1)
	}
	if last := v.last(); last.Bias != nil {
		initBias(s, last)
	}
}

// last is the layer that gives the features.
func (v *ConvNeXt) last() *nn.Linear {
	if v.MLP != nil {
		return v.MLP.Fc2
	}
	return v.Proj
}

// weights are the trunk's convolutions and matrices, each with its bias.
func (v *ConvNeXt) weights() (all [][2]*torch.Tensor) {
	all = append(all, [2]*torch.Tensor{v.Stem.Weight, v.Stem.Bias})
	for _, stage := range v.Stages {
		if d := stage.Downsample; d != nil {
			all = append(all, [2]*torch.Tensor{d.Conv.Weight, d.Conv.Bias})
		}
		for _, b := range stage.Blocks {
			all = append(all, [2]*torch.Tensor{b.Depthwise.Weight, b.Depthwise.Bias},
				[2]*torch.Tensor{b.MLP.Fc1.Weight, b.MLP.Fc1.Bias}, [2]*torch.Tensor{b.MLP.Fc2.Weight, b.MLP.Fc2.Bias})
		}
	}
	return all
}
