package tower

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

var opDiag = torch.NewOp("aten::diag")

// MobileOne is branches that are trained side by side and computed as one convolution (Vasu et al.,
// arXiv 2206.04040; timm fastvit.py MobileOneBlock, ReparamLargeKernelConv): kernels of one or two
// sizes and the image itself, each with batch normalisation.
type MobileOne struct {
	Identity *nn.BatchNorm2d `torch:"identity"`   // nil where the shape changes
	KxK      []*ConvNorm     `torch:"conv_kxk"`   // one or none
	Scale    *ConvNorm       `torch:"conv_scale"` // 1 x 1, or nil
	Large    *ConvNorm       `torch:"large_conv"` // of a downsampling, with the next one; else nil
	Small    *ConvNorm       `torch:"small_conv"` // 3 x 3
	SE       *SqueezeExcite  `torch:"se"`         // nil without
	kernel   int
	stride   int
	groups   int
	linear   bool // no GELU
}

// ConvNorm is a convolution without bias, batch-normalised.
type ConvNorm struct {
	Conv *nn.Conv2d      `torch:"conv"`
	Bn   *nn.BatchNorm2d `torch:"bn"` // nil without
}

// SqueezeExcite weighs each channel by what all places have in common (Hu et al., arXiv 1709.01507).
type SqueezeExcite struct {
	Fc1 *nn.Conv2d `torch:"fc1"` // (C/16 or C/4, C, 1, 1)
	Fc2 *nn.Conv2d `torch:"fc2"`
}

// mobileOne is a block of one kernel; groups is in for a depthwise convolution.
func mobileOne(in, out, kernel, stride, groups int) *MobileOne {
	m := &MobileOne{KxK: []*ConvNorm{newConvNorm(in, out, kernel, stride, groups)}, kernel: kernel, stride: stride, groups: groups}
	if in == out && stride == 1 {
		m.Identity = nn.NewBatchNorm2d(out)
	}
	if kernel > 1 {
		m.Scale = newConvNorm(in, out, 1, stride, groups)
	}
	return m
}

func newConvNorm(in, out, kernel, stride, groups int) *ConvNorm {
	c := &ConvNorm{Conv: conv(in/groups, out, kernel), Bn: nn.NewBatchNorm2d(out)}
	c.Conv.Stride, c.Conv.Groups = stride, groups
	return c
}

func newSqueezeExcite(width, reduced int) *SqueezeExcite {
	return &SqueezeExcite{Fc1: biased(conv(width, reduced, 1)), Fc2: biased(conv(reduced, width, 1))}
}

// Forward maps (B, in, H, W) to (B, out, H/stride, W/stride).
func (m *MobileOne) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	if training {
		x = m.branches(x)
	} else {
		x = m.fold(x).forward(x, m.stride, m.groups)
	}
	if m.SE != nil {
		x = m.SE.Forward(x)
	}
	if m.linear {
		return x
	}
	return x.Gelu()
}

// branches computes each separately, which counts its statistics.
func (m *MobileOne) branches(x *torch.Tensor) (sum *torch.Tensor) {
	add := func(y *torch.Tensor) {
		if sum == nil {
			sum = y
		} else {
			sum = sum.Add(y)
		}
	}
	if m.Scale != nil {
		add(m.Scale.Forward(x, true))
	}
	if m.Identity != nil {
		add(m.Identity.Forward(x, true))
	}
	for _, c := range append([]*ConvNorm{m.Large, m.Small}, m.KxK...) {
		if c != nil {
			add(c.Forward(x, true))
		}
	}
	return sum
}

// folded is a convolution's kernel with the normalisation behind it in it.
type folded struct{ weight, bias *torch.Tensor }

func (f folded) forward(x *torch.Tensor, stride, groups int) *torch.Tensor {
	weight, bias := f.weight.To(x.Device(), x.DType()), f.bias.To(x.Device(), x.DType())
	return x.Conv2d(weight, bias, stride, f.weight.Size(3)/2, groups)
}

// fold makes one kernel of all branches, which costs less than one place of an image.
func (m *MobileOne) fold(x *torch.Tensor) (sum folded) {
	add := func(weight, bias *torch.Tensor) {
		if missing := (m.kernel - weight.Size(3)) / 2; missing > 0 {
			weight = opPad.Call(weight, []int{missing, missing, missing, missing}, 0.0)
		}
		if sum.weight == nil {
			sum = folded{weight, bias}
		} else {
			sum = folded{sum.weight.Add(weight), sum.bias.Add(bias)}
		}
	}
	for _, c := range append([]*ConvNorm{m.Large, m.Small, m.Scale}, m.KxK...) {
		if c != nil {
			f := c.fold(x)
			add(f.weight, f.bias)
		}
	}
	if m.Identity != nil {
		scale, bias := foldNorm(x, m.Identity)
		if m.groups == 1 {
			scale = opDiag.Call(scale)
		}
		add(scale.View(scale.Size(0), -1, 1, 1), bias)
	}
	return sum
}

func (c *ConvNorm) fold(x *torch.Tensor) folded {
	scale, bias := foldNorm(x, c.Bn)
	return folded{x.Borrow(c.Conv.Weight).Mul(scale.View(-1, 1, 1, 1)), bias}
}

// foldNorm is what a normalisation with its running statistics multiplies by and adds: (C) each.
func foldNorm(x *torch.Tensor, bn *nn.BatchNorm2d) (scale, bias *torch.Tensor) {
	scale = x.Borrow(bn.Weight).Div(x.Borrow(bn.RunningVar).AddScalar(1e-5).Sqrt())
	return scale, x.Borrow(bn.Bias).Sub(x.Borrow(bn.RunningMean).Mul(scale))
}

// Forward maps (B, in, H, W) to (B, out, H/stride, W/stride).
func (c *ConvNorm) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	if x = c.Conv.Forward(x); c.Bn != nil {
		x = c.Bn.Forward(x, training)
	}
	return x
}

// Forward keeps the shape (B, C, H, W).
func (s *SqueezeExcite) Forward(x *torch.Tensor) *torch.Tensor {
	mean := x.Flatten(2, 3).MeanDim(2).Unsqueeze(2).Unsqueeze(3) // (B, C, 1, 1)
	return x.Mul(s.Fc2.Forward(s.Fc1.Forward(mean).Relu()).Sigmoid())
}

// ConvStem is MobileCLIP B's three convolutions in the place of patches, each behind the other (timm
// vision_transformer_hybrid.py).
type ConvStem struct {
	First  *ConvNorm `torch:"0"` // stride 4
	Second *ConvNorm `torch:"1"` // stride 2
	Last   *ConvNorm `torch:"2"` // stride 2, with a bias and nothing behind it
}

func newConvStem(widths []int) *ConvStem {
	return &ConvStem{
		First:  &ConvNorm{Conv: bare(strided(3, widths[0], 4)), Bn: nn.NewBatchNorm2d(widths[0])},
		Second: &ConvNorm{Conv: bare(strided(widths[0], widths[1], 2)), Bn: nn.NewBatchNorm2d(widths[1])},
		Last:   &ConvNorm{Conv: strided(widths[1], widths[2], 2)},
	}
}

func bare(c *nn.Conv2d) *nn.Conv2d {
	c.Bias = nil
	return c
}

// Forward maps images (B, 3, R, R) to tokens (B, R/16*R/16, W).
func (s *ConvStem) Forward(pixels *torch.Tensor, training bool) *torch.Tensor {
	x := s.Second.Forward(s.First.Forward(pixels, training).Gelu(), training).Gelu()
	return s.Last.Conv.Forward(x).Flatten(2, 3).Transpose(1, 2)
}
