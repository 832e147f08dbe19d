package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// ResNet is CLIP's convolutional image tower (paper, section 2.4; openai/CLIP clip/model.py ModifiedResNet): a
// ResNet-D (He et al., arXiv 1812.01187) with three convolutions for a stem, blurred downsampling and attention for a
// last pooling.
type ResNet struct {
	Conv1    *nn.Conv2d      `torch:"conv1"` // (W/2, 3, 3, 3), stride 2
	Bn1      *nn.BatchNorm2d `torch:"bn1"`
	Conv2    *nn.Conv2d      `torch:"conv2"` // (W/2, W/2, 3, 3)
	Bn2      *nn.BatchNorm2d `torch:"bn2"`
	Conv3    *nn.Conv2d      `torch:"conv3"` // (W, W/2, 3, 3)
	Bn3      *nn.BatchNorm2d `torch:"bn3"`
	Layer1   []*Bottleneck   `torch:"layer1"`
	Layer2   []*Bottleneck   `torch:"layer2"`
	Layer3   []*Bottleneck   `torch:"layer3"`
	Layer4   []*Bottleneck   `torch:"layer4"`
	AttnPool *AttentionPool  `torch:"attnpool"`
	training bool
}

func newResNet(c *Config) *ResNet {
	v := c.Vision
	w := v.Width
	rows, columns := v.Grid()
	r := &ResNet{
		Conv1: conv(3, w/2, 3), Bn1: nn.NewBatchNorm2d(w / 2),
		Conv2: conv(w/2, w/2, 3), Bn2: nn.NewBatchNorm2d(w / 2),
		Conv3: conv(w/2, w, 3), Bn3: nn.NewBatchNorm2d(w),
		Layer1:   newStage(w, w, v.Layers[0], 1),
		Layer2:   newStage(4*w, 2*w, v.Layers[1], 2),
		Layer3:   newStage(8*w, 4*w, v.Layers[2], 2),
		Layer4:   newStage(16*w, 8*w, v.Layers[3], 2),
		AttnPool: newAttentionPool(rows*columns, 32*w, c.EmbedDim, 32*w/v.HeadWidth),
	}
	r.Conv1.Stride = 2
	return r
}

func newStage(in, planes, blocks, stride int) []*Bottleneck {
	stage := []*Bottleneck{newBottleneck(in, planes, stride)}
	for range blocks - 1 {
		stage = append(stage, newBottleneck(expansion*planes, planes, 1))
	}
	return stage
}

// Forward maps normalised images (B, 3, R, R) to features (B, E).
func (r *ResNet) Forward(pixels *torch.Tensor) *torch.Tensor {
	return r.AttnPool.Forward(r.grid(pixels))
}

// grid maps (B, 3, R, R) to what is pooled, (B, 32W, R/32, R/32).
func (r *ResNet) grid(pixels *torch.Tensor) *torch.Tensor {
	x := torch.Tidy(r.stem, pixels) // (B, W, R/4, R/4)
	for _, stage := range [][]*Bottleneck{r.Layer1, r.Layer2, r.Layer3, r.Layer4} {
		for _, b := range stage { // a block's temporaries die with the block
			x = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return b.Forward(x, r.training) }, x)
		}
	}
	return x
}

func (r *ResNet) stem(x *torch.Tensor) *torch.Tensor {
	x = r.Bn1.Forward(r.Conv1.Forward(x), r.training).Relu()
	x = r.Bn2.Forward(r.Conv2.Forward(x), r.training).Relu()
	x = r.Bn3.Forward(r.Conv3.Forward(x), r.training).Relu()
	return x.AvgPool2d(2)
}

// expansion is how many times wider a bottleneck's ends are than its middle.
const expansion = 4

// Bottleneck is a residual block. No convolution strides: a mean over squares goes before the last one instead.
type Bottleneck struct {
	Conv1      *nn.Conv2d      `torch:"conv1"` // (P, in, 1, 1)
	Bn1        *nn.BatchNorm2d `torch:"bn1"`
	Conv2      *nn.Conv2d      `torch:"conv2"` // (P, P, 3, 3)
	Bn2        *nn.BatchNorm2d `torch:"bn2"`
	Conv3      *nn.Conv2d      `torch:"conv3"` // (4P, P, 1, 1)
	Bn3        *nn.BatchNorm2d `torch:"bn3"`
	Downsample *Downsample     `torch:"downsample"` // nil where the shape stays
	stride     int
}

// Downsample fits a block's input to its output.
type Downsample struct {
	Conv *nn.Conv2d      `torch:"0"` // (4P, in, 1, 1), behind the mean over squares
	Bn   *nn.BatchNorm2d `torch:"1"`
}

func newBottleneck(in, planes, stride int) *Bottleneck {
	out := expansion * planes
	b := &Bottleneck{
		Conv1: conv(in, planes, 1), Bn1: nn.NewBatchNorm2d(planes),
		Conv2: conv(planes, planes, 3), Bn2: nn.NewBatchNorm2d(planes),
		Conv3: conv(planes, out, 1), Bn3: nn.NewBatchNorm2d(out),
		stride: stride,
	}
	if stride > 1 || in != out {
		b.Downsample = &Downsample{Conv: conv(in, out, 1), Bn: nn.NewBatchNorm2d(out)}
	}
	return b
}

// Forward maps (B, in, H, W) to (B, 4P, H/stride, W/stride).
func (b *Bottleneck) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	y := b.Bn1.Forward(b.Conv1.Forward(x), training).Relu()
	y = b.Bn2.Forward(b.Conv2.Forward(y), training).Relu()
	if b.stride > 1 {
		y = y.AvgPool2d(b.stride)
	}
	y = b.Bn3.Forward(b.Conv3.Forward(y), training)
	if d := b.Downsample; d != nil {
		if b.stride > 1 {
			x = x.AvgPool2d(b.stride)
		}
		x = d.Bn.Forward(d.Conv.Forward(x), training)
	}
	return y.Add(x).Relu()
}

// AttentionPool is one layer of attention whose only query is the mean over the image (openai/CLIP clip/model.py
// AttentionPool2d).
type AttentionPool struct {
	PositionalEmbedding *torch.Tensor `torch:"positional_embedding"` // (1 + G*G, D), the mean's first
	K                   *nn.Linear    `torch:"k_proj"`
	Q                   *nn.Linear    `torch:"q_proj"`
	V                   *nn.Linear    `torch:"v_proj"`
	C                   *nn.Linear    `torch:"c_proj"` // to the features
	heads               int
}

func newAttentionPool(places, width, embed, heads int) *AttentionPool {
	return &AttentionPool{PositionalEmbedding: nn.Parameter(1+places, width), K: linear(width, width),
		Q: linear(width, width), V: linear(width, width), C: linear(width, embed), heads: heads}
}

// Forward maps (B, D, G, G) to (B, E).
func (p *AttentionPool) Forward(x *torch.Tensor) *torch.Tensor {
	x = x.Flatten(2, 3).Transpose(1, 2)                                       // (B, G*G, D)
	x = torch.Cat(1, x.MeanDim(1).Unsqueeze(1), x).Add(p.PositionalEmbedding) // (B, 1 + G*G, D)
	b, d := x.Size(0), x.Size(2)
	heads := func(x *torch.Tensor) *torch.Tensor { // (B, heads, T, D/heads)
		return x.View(b, x.Size(1), p.heads, d/p.heads).Transpose(1, 2)
	}
	q, k, v := heads(p.Q.Forward(x.Narrow(1, 0, 1))), heads(p.K.Forward(x)), heads(p.V.Forward(x))
	y := torch.ScaledDotProductAttention(q, k, v, false) // (B, heads, 1, D/heads)
	return p.C.Forward(y.Transpose(1, 2).Reshape(b, d))
}

// SetTraining switches between the batch's statistics and the running ones.
func (r *ResNet) SetTraining(on bool) { r.training = on }

// Initialize is initialize_parameters of openai/CLIP clip/model.py: the last normalisation of a block begins at zero,
// so that the block begins as the identity.
func (r *ResNet) Initialize(s *torch.Scope) {
	p := r.AttnPool
	std := 1 / math.Sqrt(float64(p.C.Weight.Size(1)))
	normal(s, p.PositionalEmbedding, std)
	for _, l := range []*nn.Linear{p.Q, p.K, p.V, p.C} {
		normal(s, l.Weight, std)
	}
	for _, stage := range [][]*Bottleneck{r.Layer1, r.Layer2, r.Layer3, r.Layer4} {
		for _, b := range stage {
			s.Alias(b.Bn3.Weight).Fill(0)
		}
	}
}

func (r *ResNet) InitializeBiases(s *torch.Scope) {
	for _, l := range []*nn.Linear{r.AttnPool.Q, r.AttnPool.K, r.AttnPool.V, r.AttnPool.C} {
		initBias(s, l)
	}
}
