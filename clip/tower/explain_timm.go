package tower

import "github.com/goclip/goclip/torch"

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
		x = withoutClass(v.Norm.Forward(v.Blocks[last].attend(x, onlyValues)))
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
