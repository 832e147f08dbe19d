package tower

import "github.com/goclip/goclip/torch"

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
