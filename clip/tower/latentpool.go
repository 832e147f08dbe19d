package tower

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// LatentPool is SigLIP's pooling: one learned query attends to the patches, and a perceptron follows (timm
// layers/attention_pool.py AttentionPoolLatent; the MAP head of Zhai et al., arXiv 2106.04560).
type LatentPool struct {
	Latent *torch.Tensor `torch:"latent"` // (1, 1, W)
	Q      *nn.Linear    `torch:"q"`
	KV     *nn.Linear    `torch:"kv"` // (2W, W)
	Proj   *nn.Linear    `torch:"proj"`
	Norm   *nn.LayerNorm `torch:"norm"`
	MLP    *TimmMLP      `torch:"mlp"`
	heads  int
}

func newLatentPool(width, heads, hidden int, eps float64, act activation) *LatentPool {
	return &LatentPool{Latent: nn.Parameter(1, 1, width), Q: linear(width, width), KV: linear(width, 2*width), Proj: linear(width, width),
		Norm: newLayerNorm(width, &NormOptions{Eps: eps}), MLP: &TimmMLP{Fc1: linear(width, hidden), Fc2: linear(hidden, width), act: act}, heads: heads}
}

// Forward maps (B, T, W) to (B, W).
func (p *LatentPool) Forward(x *torch.Tensor) *torch.Tensor { return p.with(x, nil) }

// with is Forward with another way to attend.
func (p *LatentPool) with(x *torch.Tensor, f attention) *torch.Tensor {
	shape := x.Shape()
	b, t, w := shape[0], shape[1], shape[2]
	d := w / p.heads
	q := p.Q.Forward(x.Borrow(p.Latent)).View(1, 1, p.heads, d).Transpose(1, 2).Expand(b, p.heads, 1, d)
	kv := p.KV.Forward(x).View(b, t, 2, p.heads, d).Permute(2, 0, 3, 1, 4) // (2, B, heads, T, W/heads)
	return p.finish(f.of(q, kv.Select(0, 0), kv.Select(0, 1)).Transpose(1, 2).Reshape(b, w))
}

// values is what the pool makes of each token alone: (B, T, W) -> (B, T, W).
func (p *LatentPool) values(x *torch.Tensor) *torch.Tensor {
	w := x.Size(2)
	return p.finish(p.KV.Forward(x).Narrow(2, w, w))
}

// finish is what follows attention: (..., W) -> (..., W).
func (p *LatentPool) finish(x *torch.Tensor) *torch.Tensor {
	x = p.Proj.Forward(x)
	return x.Add(p.MLP.Forward(p.Norm.Forward(x)))
}
