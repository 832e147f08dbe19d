// Package tower holds the two halves of a CLIP and their configs: [ViT], CLIP's own vision
// transformer; [ResNet]; [TimmViT], which is SigLIP's; [ConvNeXt]; [Eva]; [FastViT], which is
// MobileCLIP's; [Swin]; the text transformer [Text]; [Roberta], also for BERT; [M2M100], which is NLLB's; and [MT5].
//
// Each tower is a file that reads like its paper, made of shared parts: [Transformer], [AttentionalPool],
// patches, positions. Fields carry open_clip's state-dict keys as tags, so a tower is its own state dict.
// Methods on tensors run inside torch.Do and panic with *torch.Error.
//
// A [Tower] needs Forward alone, so a program can bring its own. What a tower can do beyond that, it offers by
// implementing the small interfaces of this file; package clip asks for them where an option needs one.
package tower

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Tower maps normalised pixels (B, 3, H, W), or tokens (B, T) int64, to features (B, E) that are not yet
// L2-normalised. Its parameters are the exported fields that [nn.Params] finds.
type Tower interface {
	Forward(x *torch.Tensor) *torch.Tensor
}

// Mode is a tower that computes differently in training: patch dropout, dropout, batch statistics.
type Mode interface{ SetTraining(on bool) }

// Initializer is a tower that draws random weights as its authors do. Biases are drawn first, for both
// towers of a model, then the rest; what neither touches has PyTorch's defaults.
type Initializer interface {
	InitializeBiases(s *torch.Scope)
	Initialize(s *torch.Scope)
}

// Grouper is a tower whose parameters form groups, from the bottom to the top: for locking and for
// learning rates by depth.
type Grouper interface{ Groups() []Group }

// Locker is a tower with its own rules of what stays fixed when all but the last unlocked groups are locked.
// freezeNorm has open_clip's meaning: of a ResNet's batch statistics, or of a RoBERTa's layer norms.
type Locker interface {
	Lock(unlocked int, freezeNorm bool)
}

// Checkpointer is a tower that can compute its blocks again in the backward pass instead of keeping their
// activations (Chen et al., arXiv 1604.06174).
type Checkpointer interface{ SetGradCheckpointing(on bool) }

// PatchDropper is a tower that leaves out a fraction of an image's patches in training (arXiv 2212.00794).
type PatchDropper interface {
	SetPatchDropout(fraction float64)
	PatchDropout() float64
}

// Patcher is a tower that cuts images into patches and maps them with one weight (W, 3, P, P).
type Patcher interface{ PatchWeight() *torch.Tensor }

// Adapter is a tower with matrices for low-rank adaptation.
type Adapter interface{ Adapted() []Adapted }

// Arranger is a text tower that reads texts up to their end token alone and takes them arranged on the
// host, so that nothing waits for the device.
type Arranger interface {
	// Arrange prepares rows of length tokens for products of a type. It is nil where the tower cannot.
	// With room, the number of rows becomes a multiple of it; see [Texts].
	Arrange(tokens []int64, length int, products torch.DType, room int) *Texts
	// ForwardArranged maps texts to features (n, E). numbers are t.Numbers(), int64 on the tower's device.
	ForwardArranged(t *Texts, numbers *torch.Tensor) *torch.Tensor
}

// Measurer is a text tower that says at how many tokens it computes each text of a batch.
type Measurer interface {
	// Lengths takes rows of length tokens; the result is in no particular order.
	Lengths(tokens []int64, length int, products torch.DType) []int
}

// Image makes the image tower that a config describes, with weights that are not initialised.
func Image(c *Config) Tower {
	f, ok := c.Vision.timmFamily()
	switch {
	case ok:
		return f.tower(c)
	case c.Vision.IsResNet():
		return newResNet(c)
	default:
		return newViT(c)
	}
}

// TextOf makes the text tower that a config describes, with weights that are not initialised.
func TextOf(c *Config) Tower {
	if c.Text.HFModelName == "" {
		return newText(c)
	}
	switch h, _ := c.Text.Encoder(); h.ModelType {
	case typeM2M100:
		return newM2M100(c)
	case typeMT5:
		return newMT5(c)
	default:
		return newRoberta(c)
	}
}

// Group is modules and parameters that are locked together; nil ones are absent.
type Group []any

// Learn says whether the group's parameters are trained.
func (g Group) Learn(on bool) {
	for _, p := range nn.Params([]any(g)) {
		p.SetRequiresGrad(on)
	}
}

// LockAllBut trains the last unlocked of the groups, which go from the bottom to the top, and no other.
func LockAllBut(unlocked int, groups []Group) {
	for i, g := range groups {
		g.Learn(len(groups)-i <= unlocked)
	}
}

// Adapted is a weight that low-rank adaptation changes.
type Adapted struct {
	Weight *torch.Tensor
	LoRA   **nn.LoRA // where the tower keeps the product
	Parts  int       // of equal height, each adapted separately
}

func adaptLinear(l *nn.Linear, parts int) Adapted { return Adapted{l.Weight, &l.LoRA, parts} }

// linear, conv and patchConv allocate without initialising: weights are read from a file, or drawn for the
// whole model at once.
func linear(in, out int) *nn.Linear {
	return &nn.Linear{Weight: nn.Parameter(out, in), Bias: nn.Parameter(out)}
}

// conv keeps height and width and has no bias; kernel is odd.
func conv(in, out, kernel int) *nn.Conv2d {
	return &nn.Conv2d{Weight: nn.Parameter(out, in, kernel, kernel), Stride: 1, Padding: kernel / 2}
}

// patchConv cuts an image into patches of size x size and maps each to width numbers, with a bias.
func patchConv(width, size int) *nn.Conv2d {
	return &nn.Conv2d{Weight: nn.Parameter(width, 3, size, size), Bias: nn.Parameter(width), Stride: size}
}
