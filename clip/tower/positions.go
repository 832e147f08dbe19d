package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
)

// sinCosPositions is the embedding, fixed and so without gradient, of a side x side grid behind a class token, whose
// row is zero (open_clip pos_embed.py; MoCo v3, arXiv 2104.02057): (1 + side*side, width). Half of the width tells the
// column, half the row.
func sinCosPositions(width, side int) *torch.Tensor {
	table := make([]float32, (1+side*side)*width)
	quarter := width / 4
	for patch := range side * side {
		row := table[(1+patch)*width : (2+patch)*width]
		for half, at := range [2]int{patch % side, patch / side} {
			for i := range quarter {
				angle := float64(at) / math.Pow(10000, float64(i)/float64(quarter))
				row[half*2*quarter+i] = float32(math.Sin(angle))
				row[half*2*quarter+quarter+i] = float32(math.Cos(angle))
			}
		}
	}
	return torch.FromSlice(nil, table, 1+side*side, width)
}

// ResizeImagePositions resamples the position embeddings of an image tower from one grid of patches to another, as
// open_clip does on loading (src/open_clip/model.py resize_pos_embed): bicubic with antialiasing. The first rows belong
// to no patch (the class token) and stay: (first + rows*columns, W) -> (first + toRows*toColumns, W). It is for
// torch.Do.
func ResizeImagePositions(p *torch.Tensor, first, rows, columns, toRows, toColumns int) *torch.Tensor {
	width := p.Size(1)
	grid := p.Narrow(0, first, rows*columns).Reshape(1, rows, columns, width).Permute(0, 3, 1, 2) // (1, W, rows, columns)
	grid = grid.ResizeBicubic(toRows, toColumns).Permute(0, 2, 3, 1).Reshape(toRows*toColumns, width)
	return torch.Cat(0, p.Narrow(0, 0, first), grid)
}

// ResizeTextPositions resamples the position embeddings of a text tower to another context length, as open_clip does on
// loading (src/open_clip/model.py resize_text_pos_embed): linear, (L, W) -> (to, W). It runs inside torch.Do.
func ResizeTextPositions(p *torch.Tensor, to int) *torch.Tensor {
	return p.T().Unsqueeze(0).ResizeLinear(to).Squeeze(0).T() // (1, W, L) -> (1, W, to)
}
