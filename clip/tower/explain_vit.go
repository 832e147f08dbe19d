package tower

import "github.com/goclip/goclip/torch"

// with is [Attention.Forward] of sequences of one length with another way to attend.
func (a *Attention) with(x *torch.Tensor, f attention) *torch.Tensor {
	return a.Out.Forward(attend(a.InLoRA.Add(x.Linear(a.InWeight, a.InBias), x), a.heads, f))
}

// with is [Block.Forward] likewise.
func (b *Block) with(x *torch.Tensor, f attention) *torch.Tensor {
	x = x.Add(b.Ls1.Forward(b.Attn.with(b.Ln1.Forward(x), f)))
	return x.Add(b.Ls2.Forward(b.MLP.Forward(b.Ln2.Forward(x))))
}

// Places reads the class token's last attention at each patch alone, without the residual and the
// perceptron, which are the patch's own and not what the class token takes of it (Zhou et al.,
// MaskCLIP, arXiv 2112.01071; Li et al., CLIP Surgery, arXiv 2304.05653). Where something else
// pools, that reads each patch behind the last block.
func (v *ViT) Places(pixels *torch.Tensor) *torch.Tensor {
	x, last := v.embed(pixels), len(v.Transformer.Blocks)-1
	for _, b := range v.Transformer.Blocks[:last] {
		x = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return b.Forward(x, nil, nil) }, x)
	}
	switch b := v.Transformer.Blocks[last]; {
	case v.AttnPool != nil:
		x = v.AttnPool.values(b.Forward(x, nil, nil))
	case v.config.PoolType == "avg":
		x = b.Forward(x, nil, nil)
	default:
		x = b.Ls1.Forward(b.Attn.with(b.Ln1.Forward(x), onlyValues))
	}
	return grid(withoutClass(v.LnPost.Forward(x)).Select(0, 0).MatMul(v.Proj), pixels, v.config.PatchSize)
}

// Relevance returns the rollout of gradient x attention, read at what is pooled.
func (v *ViT) Relevance(pixels *torch.Tensor, score func(feature *torch.Tensor) *torch.Tensor) *torch.Tensor {
	var maps attentionMaps
	x := v.embed(recorded(pixels))
	for _, b := range v.Transformer.Blocks {
		x = b.with(x, maps.attend)
	}
	if v.AttnPool != nil {
		x = v.AttnPool.with(x, maps.attend)
	}
	r := maps.rollout(score(v.read(x).MatMul(v.Proj)), v.AttnPool != nil) // (rows, 1 + G*G)
	if v.config.PoolType == "avg" {                                       // which leaves out the first
		r = r.Narrow(0, 1, r.Size(0)-1).MeanDim(0)
	} else {
		r = r.Select(0, 0)
	}
	return grid(r.Narrow(0, 1, r.Size(0)-1), pixels, v.config.PatchSize)
}

// with is [AttentionalPool.Forward] with another way to attend.
func (p *AttentionalPool) with(x *torch.Tensor, f attention) *torch.Tensor {
	return p.Attn.with(p.LnQ.Forward(x.Borrow(p.Query)), p.LnK.Forward(x), f)
}

// values is what the pool makes of each token alone: (B, T, W) -> (B, T, E).
func (p *AttentionalPool) values(x *torch.Tensor) *torch.Tensor {
	return p.Attn.Out.Forward(p.Attn.project(p.LnK.Forward(x), 2, p.Attn.VWeight))
}
