package nn

import "github.com/goclip/goclip/torch"

// Conv2d is a convolution with Weight (O, C, K, K) and Bias (O), which may be absent.
type Conv2d struct {
	Weight  *torch.Tensor `torch:"weight"`
	Bias    *torch.Tensor `torch:"bias"`
	Stride  int           `torch:"-"`
	Padding int           `torch:"-"` // zeros on each side
}

// NewConv2d allocates a convolution of stride 1 that keeps height and width, without bias, uninitialised; kernel is odd.
func NewConv2d(in, out, kernel int) *Conv2d {
	return &Conv2d{Weight: Parameter(out, in, kernel, kernel), Stride: 1, Padding: kernel / 2}
}

// NewPatches allocates a convolution with bias that cuts a picture into patches of size x size and maps each to width
// numbers, uninitialised.
func NewPatches(width, size int) *Conv2d {
	return &Conv2d{Weight: Parameter(width, 3, size, size), Bias: Parameter(width), Stride: size}
}

// Forward maps (B, C, H, W) to (B, O, H', W').
func (c *Conv2d) Forward(x *torch.Tensor) *torch.Tensor {
	return x.Conv2d(c.Weight, c.Bias, c.Stride, c.Padding)
}

// BatchNorm2d normalises each channel (Ioffe and Szegedy, arXiv 1502.03167). Its keys and its constants, eps 1e-5 and
// momentum 0.1, are torch.nn.BatchNorm2d's.
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
	b := &BatchNorm2d{Weight: Parameter(channels), Bias: Parameter(channels),
		RunningMean:       torch.Zeros(nil, torch.CPU, torch.Float32, channels),
		RunningVar:        torch.Ones(nil, torch.CPU, torch.Float32, channels),
		NumBatchesTracked: torch.Zeros(nil, torch.CPU, torch.Int64)}
	b.Weight.Detach().Fill(1)
	b.Bias.Detach().Fill(0)
	return b
}

// Forward keeps the shape (B, C, H, W). In training it normalises with the batch's statistics and counts them into the
// running ones; else, and if it is frozen, with the running ones, so that pictures do not depend on their neighbours.
func (b *BatchNorm2d) Forward(x *torch.Tensor, training bool) *torch.Tensor {
	training = training && !b.Frozen
	if training {
		b.NumBatchesTracked.AddInPlace(1)
	}
	return x.BatchNorm(b.Weight, b.Bias, b.RunningMean, b.RunningVar, training, 0.1, 1e-5)
}
