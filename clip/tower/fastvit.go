package tower

import (
	"github.com/goclip/goclip/internal/timm"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// FastViT is the image tower of MobileCLIP (Vasu et al., arXiv 2303.14189, 2311.17049; Faghri et
// al., 2508.20691), as timm's fastvit.py computes it under open_clip's timm_model.py: a stem and
// stages of convolutions, and attention in the last stages. What is trained in branches is folded
// into single convolutions for inference.
type FastViT struct {
	Stem      []*MobileOne    `torch:"trunk.stem"`
	Stages    []*FastViTStage `torch:"trunk.stages"`
	FinalConv *MobileOne      `torch:"trunk.final_conv"`
	Head      *nn.Linear      `torch:"trunk.head.fc"` // behind the mean over places
	training  bool
}

// FastViTStage is blocks of one width at one resolution; before them it halves height and width.
type FastViTStage struct {
	Downsample []*MobileOne    `torch:"downsample.proj"` // none in the first stage
	Positions  *nn.Conv2d      `torch:"pos_emb.pos_enc"` // (C, 1, 7, 7), added (Chu et al., arXiv 2102.10882); nil without attention
	Blocks     []*FastViTBlock `torch:"blocks"`
}

// FastViTBlock mixes places, by convolution or by attention, and then channels.
type FastViTBlock struct {
	Mixer     *RepMixer       `torch:"token_mixer"` // nil with attention, as Ls
	Ls        *ChannelScale   `torch:"layer_scale"`
	BatchNorm *nn.BatchNorm2d `torch:"norm"`        // before attention; of it MobileCLIP 2's S3 and S4 have the next one
	LayerNorm *nn.LayerNorm   `torch:"norm"`        // over channels
	Attention *ImageAttention `torch:"token_mixer"` // nil without, as Ls1 and Ls2
	Ls1       *ChannelScale   `torch:"layer_scale_1"`
	Ls2       *ChannelScale   `torch:"layer_scale_2"`
	MLP       *ConvMLP        `torch:"mlp"`
}

// RepMixer adds to each place what a convolution of its channel's surroundings differs from it.
type RepMixer struct {
	Norm  *MobileOne    `torch:"norm"`
	Mixer *MobileOne    `torch:"mixer"`
	Ls    *ChannelScale `torch:"layer_scale"`
}

// ImageAttention is multi-head self-attention of all places.
type ImageAttention struct {
	QKV *nn.Linear `torch:"qkv"` // (3C, C), no bias
	Out *nn.Linear `torch:"proj"`
}

// ConvMLP is a perceptron at each place behind a depthwise convolution.
type ConvMLP struct {
	Conv *ConvNorm  `torch:"conv"` // (C, 1, 7, 7)
	Fc1  *nn.Conv2d `torch:"fc1"`  // (hidden, C, 1, 1)
	Fc2  *nn.Conv2d `torch:"fc2"`
}

// ChannelScale is a [LayerScale] of images.
type ChannelScale struct {
	Gamma *torch.Tensor `torch:"gamma"` // (C, 1, 1)
}

func newFastViT(c *Config) *FastViT {
	m := timm.FastViTs[c.Vision.TimmModelName] // validate has found it
	w := m.Widths[0]
	v := &FastViT{Stem: []*MobileOne{mobileOne(3, w, 3, 2, 1), mobileOne(w, w, 3, 2, w), mobileOne(w, w, 1, 1, 1)}}
	if m.Second {
		v.Stem[0].Scale, v.Stem[1].Scale = nil, nil
	}
	for i, depth := range m.Depths {
		stage := &FastViTStage{}
		if out := m.Widths[i]; i > 0 {
			large := &MobileOne{Large: newConvNorm(w, out, 7, 2, w), Small: newConvNorm(w, out, 3, 2, w), kernel: 7, stride: 2, groups: w}
			if m.Excite > 0 && i >= m.Excite {
				large.SE = newSqueezeExcite(out, divisible(out/4))
			}
			stage.Downsample = []*MobileOne{large, mobileOne(out, out, 1, 1, 1)}
			w = out
		}
		if i >= m.Attention {
			stage.Positions = depthwise(w, 7)
		}
		for range depth {
			stage.Blocks = append(stage.Blocks, newFastViTBlock(w, int(float64(w)*m.MLPRatio), i >= m.Attention, m.Second))
		}
		v.Stages = append(v.Stages, stage)
	}
	v.FinalConv = mobileOne(w, 2*w, 3, 1, w)
	v.FinalConv.SE = newSqueezeExcite(2*w, 2*w/16)
	v.Head = linear(2*w, c.EmbedDim)
	return v
}

// divisible is n rounded to a multiple of 8, as timm's make_divisible does.
func divisible(n int) int { return max(8, (n+4)/8*8) }

func newFastViTBlock(w, hidden int, attention, second bool) *FastViTBlock {
	scale := func() *ChannelScale { return &ChannelScale{Gamma: nn.Parameter(w, 1, 1)} }
	b := &FastViTBlock{MLP: &ConvMLP{Conv: newConvNorm(w, w, 7, 1, w), Fc1: biased(conv(w, hidden, 1)), Fc2: biased(conv(hidden, w, 1))}}
	if !attention {
		mixer := &RepMixer{Norm: &MobileOne{Identity: nn.NewBatchNorm2d(w), kernel: 3, stride: 1, groups: w, linear: true}, Mixer: mobileOne(w, w, 3, 1, w), Ls: scale()}
		mixer.Mixer.linear = true
		b.Mixer, b.Ls = mixer, scale()
		return b
	}
	b.Attention, b.Ls1, b.Ls2 = &ImageAttention{QKV: &nn.Linear{Weight: nn.Parameter(3*w, w)}, Out: linear(w, w)}, scale(), scale()
	if second {
		b.LayerNorm = newLayerNorm(w, nil)
	} else {
		b.BatchNorm = nn.NewBatchNorm2d(w)
	}
	return b
}

// Forward maps normalised images (B, 3, H, W) to features (B, E).
func (v *FastViT) Forward(pixels *torch.Tensor) *torch.Tensor {
	x := pixels
	one := func(m *MobileOne) {
		x = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return m.Forward(x, v.training) }, x)
	}
	for _, m := range v.Stem {
		one(m) // in the end (B, C, H/4, W/4)
	}
	for _, stage := range v.Stages {
		for _, m := range stage.Downsample {
			one(m)
		}
		if stage.Positions != nil {
			x = x.Add(stage.Positions.Forward(x))
		}
		for _, b := range stage.Blocks {
			x = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return b.Forward(x, v.training) }, x)
		}
	}
	one(v.FinalConv)
	return v.Head.Forward(x.Flatten(2, 3).MeanDim(2))
}

// Forward keeps the shape (B, C, H, W).
func (b *FastViTBlock) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	if b.Mixer != nil {
		x = b.Mixer.Forward(x, training)
		return x.Add(b.MLP.Forward(x, training).Mul(b.Ls.Gamma))
	}
	var y *torch.Tensor
	if b.LayerNorm != nil {
		y = overChannels(b.LayerNorm, x)
	} else {
		y = b.BatchNorm.Forward(x, training)
	}
	x = x.Add(b.Attention.Forward(y).Mul(b.Ls1.Gamma))
	return x.Add(b.MLP.Forward(x, training).Mul(b.Ls2.Gamma))
}

// Forward keeps the shape (B, C, H, W).
func (r *RepMixer) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	if training {
		return x.Add(r.Mixer.branches(x).Sub(r.Norm.branches(x)).Mul(r.Ls.Gamma))
	}
	mixer, norm := r.Mixer.fold(x), r.Norm.fold(x)
	gamma := x.Borrow(r.Ls.Gamma)
	weight := mixer.weight.Sub(norm.weight).Mul(gamma.Unsqueeze(1))
	weight = weight.Add(opPad.Call(torch.OnesLike(weight, 1, 1, 1, 1), []int{1, 1, 1, 1}, 0.0)) // and the place itself
	return folded{weight, mixer.bias.Sub(norm.bias).Mul(gamma.Flatten(0, 2))}.forward(x, 1, r.Mixer.groups)
}

// headWidth is of every head in a FastViT.
const headWidth = 32

// Forward keeps the shape (B, C, H, W).
func (a *ImageAttention) Forward(x *torch.Tensor) *torch.Tensor {
	shape := x.Shape()
	y := attend(a.QKV.Forward(x.Flatten(2, 3).Transpose(1, 2)), shape[1]/headWidth, func(q, k, v *torch.Tensor) *torch.Tensor {
		return torch.ScaledDotProductAttention(q, k, v, false)
	})
	return a.Out.Forward(y).Transpose(1, 2).Reshape(shape...)
}

// Forward keeps the shape (B, C, H, W).
func (m *ConvMLP) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	if training {
		x = m.Conv.Forward(x, true)
	} else {
		x = m.Conv.fold(x).forward(x, 1, m.Conv.Conv.Groups)
	}
	return m.Fc2.Forward(m.Fc1.Forward(x).Gelu())
}

// SetTraining switches between branches with the batch's statistics and what they fold into.
func (v *FastViT) SetTraining(on bool) { v.training = on }
