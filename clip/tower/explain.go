package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
)

// Localizer is an image tower that can tell which places of an image a feature comes from. Places
// are a transformer's patches or the cells of a convolutional tower's last grid. Both methods take
// one image (1, 3, H, W).
type Localizer interface {
	// Places is the feature of each place on its own, (rows, columns, E) and not L2-normalised: what
	// the tower makes of the image if its last attention sees that place and no other.
	Places(pixels *torch.Tensor) *torch.Tensor
	// Relevance is how much each place adds to a score of the feature (1, E): (rows, columns), never
	// below 0. It needs gradients, and so torch.Do.
	Relevance(pixels *torch.Tensor, score func(feature *torch.Tensor) *torch.Tensor) *torch.Tensor
}

// attention is a way to attend: queries, keys and values (B, heads, T, D) to (B, heads, T, D). Nil
// attends to every position.
type attention func(q, k, v *torch.Tensor) *torch.Tensor

func (f attention) of(q, k, v *torch.Tensor) *torch.Tensor {
	if f == nil {
		return torch.ScaledDotProductAttention(q, k, v, false)
	}
	return f(q, k, v)
}

// onlyValues is what each position would take from itself alone.
func onlyValues(_, _, v *torch.Tensor) *torch.Tensor { return v }

// attentionMaps keeps the probabilities (B, heads, T, S) of each attention that it computes, whose
// result is that of scaled-dot-product attention.
type attentionMaps []*torch.Tensor

func (m *attentionMaps) attend(q, k, v *torch.Tensor) *torch.Tensor {
	p := q.MulScalar(1 / math.Sqrt(float64(q.Size(3)))).MatMul(k.Transpose(2, 3)).Softmax(-1)
	*m = append(*m, p)
	return p.MatMul(v)
}

// rollout traces a score back through self-attention: (T, T), how much each position at the end
// took from each position at the beginning. Of every layer it takes what raised the score, the mean
// over the heads of the positive part of gradient x attention, and adds it to the identity that
// stands for the residual (Chefer et al., arXiv 2103.15679, equations 5 and 6). If the last attention
// is a pool's, without a residual, the result is (queries, T).
func (m attentionMaps) rollout(score *torch.Tensor, pooled bool) *torch.Tensor {
	r := eye(m[0])
	for i, cam := range m.cams(score) {
		if taken := cam.MatMul(r); pooled && i == len(m)-1 {
			r = taken
		} else {
			r = r.Add(taken)
		}
	}
	return r
}

// cams are, for each attention of one image, the mean over the heads of the positive part of
// gradient x attention: (T, S).
func (m attentionMaps) cams(score *torch.Tensor) []*torch.Tensor {
	list := torch.Gradients(score, m...)
	for i, g := range list {
		list[i] = g.Mul(m[i]).Relu().MeanDim(1).Select(0, 0).Detach()
	}
	return list
}

// eye is the identity (T, T) for probabilities (1, heads, T, T).
func eye(p *torch.Tensor) *torch.Tensor {
	n := torch.ArangeLike(p, p.Size(3))
	return n.Unsqueeze(0).Eq(n.Unsqueeze(1)).To(p.Device(), p.DType())
}

// gradCAM is the positive part of the channels of activations (1, C, H, W), each weighed by the
// mean of its gradient: (H, W) (Selvaraju et al., arXiv 1610.02391, equations 1 and 2).
func gradCAM(score, activations *torch.Tensor) *torch.Tensor {
	g := torch.Gradients(score, activations)[0].Flatten(2, 3).MeanDim(2).Unsqueeze(2).Unsqueeze(3) // (1, C, 1, 1)
	return activations.Mul(g).SumDim(1).Relu().Select(0, 0).Detach()
}

// grid lays out what there is for each patch of p x p pixels: (places, ...) -> (rows, columns, ...).
func grid(x, pixels *torch.Tensor, p int) *torch.Tensor {
	return x.Reshape(append([]int{pixels.Size(2) / p, pixels.Size(3) / p}, x.Shape()[1:]...)...)
}

// recorded has an image record gradients, whatever the weights do.
func recorded(pixels *torch.Tensor) *torch.Tensor { return pixels.Detach().SetRequiresGrad(true) }

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

// Places is [ViT.Places]; a latent pool and a mean read each patch behind the last block.
func (v *TimmViT) Places(pixels *torch.Tensor) *torch.Tensor {
	v.refuseRelative()
	x, last := v.real(v.embed(pixels), pixels), len(v.Blocks)-1
	for _, b := range v.Blocks[:last] {
		x = torch.Tidy(b.Forward, x)
	}
	switch {
	case v.AttnPool != nil:
		x = v.AttnPool.values(v.Norm.Forward(v.Blocks[last].Forward(x)))
	case v.ClassToken != nil:
		x = withoutClass(v.Norm.Forward(v.Blocks[last].attend(v.Blocks[last].Norm1.Forward(x), onlyValues)))
	case v.Norm != nil:
		x = v.Norm.Forward(v.Blocks[last].Forward(x))
	default:
		x = v.NormPooled.Forward(v.Blocks[last].Forward(x))
	}
	return v.grid(v.project(x).Select(0, 0), pixels)
}

// Relevance is [ViT.Relevance].
func (v *TimmViT) Relevance(pixels *torch.Tensor, score func(feature *torch.Tensor) *torch.Tensor) *torch.Tensor {
	v.refuseRelative()
	var maps attentionMaps
	x := v.real(v.embed(recorded(pixels)), pixels)
	for _, b := range v.Blocks {
		x = b.with(x, maps.attend)
	}
	r := maps.rollout(score(v.read(x, maps.attend)), v.AttnPool != nil)
	switch {
	case v.AttnPool != nil:
		r = r.Select(0, 0)
	case v.ClassToken != nil:
		r = r.Select(0, 0).Narrow(0, 1, r.Size(1)-1)
	default:
		r = r.MeanDim(0)
	}
	return v.grid(r, pixels)
}

// real leaves out the padding of one image of any shape: (1, T, W).
func (v *TimmViT) real(x, pixels *torch.Tensor) *torch.Tensor {
	if v.NaFlex == nil {
		return x
	}
	rows, columns := v.NaFlex.shape(pixels)
	return x.Narrow(1, 0, rows*columns)
}

// grid lays out what there is for each patch of an image: (places, ...) -> (rows, columns, ...).
func (v *TimmViT) grid(x, pixels *torch.Tensor) *torch.Tensor {
	if v.NaFlex == nil {
		return grid(x, pixels, v.patch)
	}
	rows, columns := v.NaFlex.shape(pixels)
	return x.Reshape(append([]int{rows, columns}, x.Shape()[1:]...)...)
}

// refuseRelative: attention with relative positions is not that of the maps.
func (v *TimmViT) refuseRelative() {
	if v.isRelative() {
		panic(&torch.Error{Op: "explain", Msg: "the image tower has relative positions, whose attention this method does not follow; the method windows explains it"})
	}
}

// Places is [ViT.Places] likewise.
func (v *Eva) Places(pixels *torch.Tensor) *torch.Tensor {
	x, last := v.embed(pixels), len(v.Blocks)-1
	turns := v.rotary.turns(x)
	for _, b := range v.Blocks[:last] {
		x = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return b.Forward(x, turns) }, x)
	}
	if v.AttnPool != nil {
		x = v.AttnPool.values(v.Norm.Forward(v.Blocks[last].Forward(x, turns)))
	} else {
		x = v.Norm.Forward(v.Blocks[last].attend(x, turns, onlyValues))
	}
	if v.ClassToken != nil {
		x = withoutClass(x)
	}
	return grid(v.Proj.Forward(x).Select(0, 0), pixels, v.Patches.Stride)
}

// Relevance is [ViT.Relevance].
func (v *Eva) Relevance(pixels *torch.Tensor, score func(feature *torch.Tensor) *torch.Tensor) *torch.Tensor {
	var maps attentionMaps
	x := v.embed(recorded(pixels))
	turns := v.rotary.turns(x)
	for _, b := range v.Blocks {
		x = b.with(x, turns, maps.attend)
	}
	if v.AttnPool != nil {
		x = v.AttnPool.with(v.Norm.Forward(x), maps.attend)
	} else {
		x = v.Norm.Forward(x.Select(1, 0))
	}
	r := maps.rollout(score(v.Proj.Forward(x)), v.AttnPool != nil).Select(0, 0)
	if v.ClassToken != nil {
		r = r.Narrow(0, 1, r.Size(0)-1)
	}
	return grid(r, pixels, v.Patches.Stride)
}

// Places returns what the pool makes of each cell of the last grid alone (Zhou et al., MaskCLIP, arXiv
// 2112.01071).
func (r *ResNet) Places(pixels *torch.Tensor) *torch.Tensor {
	y := r.grid(pixels)
	x := y.Flatten(2, 3).Transpose(1, 2) // (1, G*G, D)
	x = x.Add(x.Borrow(r.AttnPool.PositionalEmbedding).Narrow(0, 1, x.Size(1)))
	return grid(r.AttnPool.C.Forward(r.AttnPool.V.Forward(x)).Select(0, 0), y, 1)
}

// Relevance is Grad-CAM of the last grid.
func (r *ResNet) Relevance(pixels *torch.Tensor, score func(feature *torch.Tensor) *torch.Tensor) *torch.Tensor {
	x := r.grid(recorded(pixels))
	return gradCAM(score(r.AttnPool.Forward(x)), x)
}

// Places is each cell of the last grid in the place of their mean (Zhou et al., class activation
// maps, arXiv 1512.04150).
func (v *ConvNeXt) Places(pixels *torch.Tensor) *torch.Tensor {
	return v.read(v.grid(pixels).Permute(0, 2, 3, 1)).Select(0, 0)
}

// Relevance is Grad-CAM of the last grid.
func (v *ConvNeXt) Relevance(pixels *torch.Tensor, score func(feature *torch.Tensor) *torch.Tensor) *torch.Tensor {
	x := v.grid(recorded(pixels))
	return gradCAM(score(v.read(x.Flatten(2, 3).MeanDim(2))), x)
}
