package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

var opAvgPool2d = torch.NewOp("aten::avg_pool2d")

// MBConvStem makes the tokens of a ViTamin: two stages of MBConv blocks and three halvings of height
// and width besides the stem's (Chen et al., arXiv 2404.02132; timm vitamin.py MbConvStages).
type MBConvStem struct {
	Conv1 *nn.Conv2d    `torch:"stem.conv1"` // (C, 3, 3, 3), stride 2
	Norm1 *nn.LayerNorm `torch:"stem.norm1"` // over channels, as all others
	Conv2 *nn.Conv2d    `torch:"stem.conv2"`
	// Stages are of 2 and 4 blocks.
	Stages   [][]*MBConv   `torch:"stages"`
	Proj     *nn.Conv2d    `torch:"pool.proj"` // (W, 2C, 3, 3), stride 2
	PoolNorm *nn.LayerNorm `torch:"pool.norm"` // before it
}

// MBConv is a residual block: channels widen fourfold, a depthwise convolution, and back.
type MBConv struct {
	Shortcut  *nn.Conv2d    `torch:"shortcut.expand"` // nil where nothing widens
	Norm      *nn.LayerNorm `torch:"pre_norm"`
	Expand    *nn.Conv2d    `torch:"conv1_1x1"` // (4C, in, 1, 1)
	Depthwise *nn.Conv2d    `torch:"conv2_kxk"` // (4C, 1, 3, 3), stride 2 in a stage's first block
	Project   *nn.Conv2d    `torch:"conv3_1x1"` // (C, 4C, 1, 1)
}

func newMBConvStem(widths []int, out int) *MBConvStem {
	norm := func(width int) *nn.LayerNorm { return newLayerNorm(width, &NormOptions{Eps: 1e-6}) }
	c := widths[0]
	s := &MBConvStem{Conv1: halving(3, c, 3, 1), Norm1: norm(c), Conv2: biased(conv(c, c, 3)), Proj: halving(widths[1], out, 3, 1), PoolNorm: norm(widths[1])}
	in := c
	for i, w := range widths {
		var stage []*MBConv
		for range []int{2, 4}[i] {
			b := &MBConv{Norm: norm(in), Expand: biased(conv(in, 4*w, 1)), Depthwise: depthwise(4*w, 3), Project: biased(conv(4*w, w, 1))}
			if len(stage) == 0 {
				b.Depthwise.Stride = 2
				if in != w {
					b.Shortcut = biased(conv(in, w, 1))
				}
			}
			stage, in = append(stage, b), w
		}
		s.Stages = append(s.Stages, stage)
	}
	return s
}

// Forward maps images (B, 3, R, R) to tokens (B, R/16*R/16, W).
func (s *MBConvStem) Forward(pixels *torch.Tensor) *torch.Tensor {
	x := torch.Tidy(func(x *torch.Tensor) *torch.Tensor {
		return s.Conv2.Forward(overChannels(s.Norm1, s.Conv1.Forward(x)).Gelu())
	}, pixels) // (B, C, R/2, R/2)
	for _, stage := range s.Stages {
		for _, b := range stage {
			x = torch.Tidy(b.Forward, x)
		}
	}
	return s.Proj.Forward(overChannels(s.PoolNorm, x)).Flatten(2, 3).Transpose(1, 2)
}

// Forward maps (B, in, H, W) to (B, C, H, W), or to half of the height and width.
func (b *MBConv) Forward(x *torch.Tensor) *torch.Tensor {
	y := b.Expand.Forward(overChannels(b.Norm, x)).Gelu()
	y = b.Project.Forward(b.Depthwise.Forward(y).Gelu())
	if b.Depthwise.Stride == 2 { // the mean of 3 x 3 places, of those that there are
		x = opAvgPool2d.Call(x, []int{3, 3}, []int{2, 2}, []int{1, 1}, false, false)
	}
	if b.Shortcut != nil {
		x = b.Shortcut.Forward(x)
	}
	return y.Add(x)
}

func (s *MBConvStem) convs() []*nn.Conv2d {
	all := []*nn.Conv2d{s.Conv1, s.Conv2, s.Proj}
	for _, stage := range s.Stages {
		for _, b := range stage {
			all = append(all, b.Expand, b.Depthwise, b.Project)
			if b.Shortcut != nil {
				all = append(all, b.Shortcut)
			}
		}
	}
	return all
}

// initialize is timm's _init_conv: by the fan-out of each convolution, and no bias. The last one
// keeps PyTorch's default.
func (s *MBConvStem) initialize(scope *torch.Scope) {
	for _, c := range s.convs() {
		if c != s.Proj {
			shape := c.Weight.Shape()
			normal(scope, c.Weight, math.Sqrt(2*float64(max(1, c.Groups))/float64(shape[0]*shape[2]*shape[3])))
		}
	}
}

func (s *MBConvStem) initializeBiases(scope *torch.Scope) {
	for _, c := range s.convs() {
		scope.Alias(c.Bias).Fill(0)
	}
	initConvBias(scope, s.Proj)
}

// GEGLU is a perceptron whose hidden layer is gated by GELU (Shazeer, arXiv 2002.05202), normalised
// before (timm vitamin.py GeGluMlp).
type GEGLU struct {
	Norm *nn.LayerNorm `torch:"norm"`
	W0   *nn.Linear    `torch:"w0"` // the gate
	W1   *nn.Linear    `torch:"w1"`
	W2   *nn.Linear    `torch:"w2"`
}

// Forward maps (..., W) to (..., W).
func (g *GEGLU) Forward(x *torch.Tensor) *torch.Tensor {
	x = g.Norm.Forward(x)
	return g.W2.Forward(activationOf(false, nil).between(g.W0, nil, x).Mul(g.W1.Forward(x)))
}

// biased gives a convolution a bias.
func biased(c *nn.Conv2d) *nn.Conv2d {
	c.Bias = nn.Parameter(c.Weight.Size(0))
	return c
}

// halving has a bias and stride 2.
func halving(in, out, kernel, padding int) *nn.Conv2d {
	return &nn.Conv2d{Weight: nn.Parameter(out, in, kernel, kernel), Bias: nn.Parameter(out), Stride: 2, Padding: padding}
}
