package tower

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Initialize is timm's _init_weights of fastvit.py: 0.02 for every matrix and for all of a ConvMLP,
// no bias there, and branches that begin at 1e-5. timm cuts the normal distribution at +-2, a
// hundred standard deviations. The other convolutions keep PyTorch's default.
func (v *FastViT) Initialize(s *torch.Scope) {
	normal(s, v.Head.Weight, 0.02)
	for _, b := range v.blocks() {
		for _, c := range []*nn.Conv2d{b.MLP.Conv.Conv, b.MLP.Fc1, b.MLP.Fc2} {
			normal(s, c.Weight, 0.02)
		}
		scales := []*ChannelScale{b.Ls, b.Ls1, b.Ls2}
		if b.Mixer != nil {
			scales = append(scales, b.Mixer.Ls)
		} else {
			normal(s, b.Attention.QKV.Weight, 0.02)
			normal(s, b.Attention.Out.Weight, 0.02)
		}
		for _, scale := range scales {
			if scale != nil {
				s.Alias(scale.Gamma).Fill(1e-5)
			}
		}
	}
}

func (v *FastViT) InitializeBiases(s *torch.Scope) {
	s.Alias(v.Head.Bias).Fill(0)
	for _, b := range v.blocks() {
		s.Alias(b.MLP.Fc1.Bias).Fill(0)
		s.Alias(b.MLP.Fc2.Bias).Fill(0)
		if b.Attention != nil {
			s.Alias(b.Attention.Out.Bias).Fill(0)
		}
	}
	excite := func(m *MobileOne) {
		if m.SE != nil {
			initConvBias(s, m.SE.Fc1)
			initConvBias(s, m.SE.Fc2)
		}
	}
	for _, stage := range v.Stages {
		for _, m := range stage.Downsample {
			excite(m)
		}
		if stage.Positions != nil {
			initConvBias(s, stage.Positions)
		}
	}
	excite(v.FinalConv)
}

func (v *FastViT) blocks() (all []*FastViTBlock) {
	for _, stage := range v.Stages {
		all = append(all, stage.Blocks...)
	}
	return all
}

// Groups returns the stem, each block with the downsampling and the positions before it, and what
// follows the stages.
func (v *FastViT) Groups() []Group {
	groups := []Group{{v.Stem}}
	for _, stage := range v.Stages {
		for i, b := range stage.Blocks {
			if i == 0 {
				groups = append(groups, Group{stage.Downsample, stage.Positions, b})
			} else {
				groups = append(groups, Group{b})
			}
		}
	}
	return append(groups, Group{v.FinalConv, v.Head})
}

func (v *FastViT) Lock(unlocked int, freezeBNStats bool) {
	lockWithStatistics(v, unlocked, freezeBNStats)
}
