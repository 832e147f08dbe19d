package nn

import "github.com/goclip/goclip/torch"

// Conv2d is a convolution with a square kernel.
type Conv2d struct {
	Weight  *torch.Tensor `torch:"weight"` // (O, C/groups, K, K)
	Bias    *torch.Tensor `torch:"bias"`   // (O), nil for none
	Stride  int           `torch:"-"`
	Padding int           `torch:"-"` // zeros on each side
	Groups  int           `torch:"-"` // of channels that do not see each other; 0 is one group
}

// NewConv2d returns a convolution of stride 1 that, with an odd kernel, keeps height and width. It has
// no bias, as in front of a normalisation; [Conv2d.WithBias] adds one. It is initialised as
// torch.nn.Conv2d(in, out, kernel, bias=False).
func NewConv2d(in, out, kernel int) *Conv2d {
	return &Conv2d{Weight: kaimingUniform(in*kernel*kernel, out, in, kernel, kernel), Stride: 1, Padding: kernel / 2}
}

// WithBias gives c a bias as torch.nn.Conv2d initialises one, and returns c.
func (c *Conv2d) WithBias() *Conv2d {
	shape := c.Weight.Shape()
	c.Bias = fanUniform(shape[1]*shape[2]*shape[3], shape[0])
	return c
}

// NewPatches returns a convolution with bias that cuts an image of three channels into patches of size x
// size and maps each to width numbers, initialised as torch.nn.Conv2d(3, width, size, stride=size):
// (B, 3, H, W) -> (B, width, H/size, W/size).
func NewPatches(width, size int) *Conv2d {
	c := NewConv2d(3, width, size).WithBias()
	c.Stride, c.Padding = size, 0
	return c
}

// Forward maps (B, C, H, W) to (B, O, H', W').
func (c *Conv2d) Forward(x *torch.Tensor) *torch.Tensor {
	return x.Conv2d(c.Weight, c.Bias, c.Stride, c.Padding, max(1, c.Groups))
}

// BatchNorm2d normalises each channel (Ioffe and Szegedy, arXiv 1502.03167). Its keys and its
// constants, eps 1e-5 and momentum 0.1, are torch.nn.BatchNorm2d's.
type BatchNorm2d struct {
	Weight            *torch.Tensor `torch:"weight"`                     // (C)
	Bias              *torch.Tensor `torch:"bias"`                       // (C)
	RunningMean       *torch.Tensor `torch:"running_mean,buffer"`        // (C)
	RunningVar        *torch.Tensor `torch:"running_var,buffer"`         // (C), of the population
	NumBatchesTracked *torch.Tensor `torch:"num_batches_tracked,buffer"` // () int64
	Frozen            bool          `torch:"-"`                          // compute in training as in evaluation
}

// NewBatchNorm2d has gain 1, bias 0 and the statistics of a standard normal distribution.
func NewBatchNorm2d(channels int) *BatchNorm2d {
	return &BatchNorm2d{Weight: Constant(1, channels), Bias: Constant(0, channels),
		RunningMean:       torch.Zeros(nil, torch.CPU, torch.Float32, channels),
		RunningVar:        torch.Ones(nil, torch.CPU, torch.Float32, channels),
		NumBatchesTracked: torch.Zeros(nil, torch.CPU, torch.Int64)}
}

// Forward keeps the shape (B, C, H, W). In training it normalises with the batch's statistics and
// counts them into the running ones; else, and if it is frozen, with the running ones, so that
// images do not depend on their neighbours.
func (b *BatchNorm2d) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	training = training && !b.Frozen
	if training {
		b.NumBatchesTracked.AddInPlace(1)
	}
	return x.BatchNorm(b.Weight, b.Bias, b.RunningMean, b.RunningVar, training, 0.1, 1e-5)
}
