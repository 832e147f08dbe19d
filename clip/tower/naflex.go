package tower

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

var opFloor = torch.NewOp("aten::floor")

// NaFlexPatches embeds images of any shape (SigLIP 2, Tschannen et al., arXiv 2502.14786; timm naflexvit.py,
// transformers modeling_siglip2.py). An image comes as the patches that [preprocess.Patches] cuts, which stand behind
// a row that tells its grid; positions are resampled to that grid, and what follows the last patch is padding.
type NaFlexPatches struct {
	Proj      *nn.Linear    `torch:"proj"`      // (W, P*P*3)
	Positions *torch.Tensor `torch:"pos_embed"` // (1, G, G, W)
	patch     int
}

func newNaFlexPatches(width, patch, side int) *NaFlexPatches {
	return &NaFlexPatches{Proj: linear(3*patch*patch, width), Positions: nn.Parameter(1, side, side, width), patch: patch}
}

// Forward maps laid-out images (B, 3, (1+R)*P, C*P) to tokens (B, R*C, W).
func (e *NaFlexPatches) Forward(pixels *torch.Tensor) *torch.Tensor {
	b, p := pixels.Size(0), e.patch
	rows, columns := pixels.Size(2)/p-1, pixels.Size(3)/p
	x := pixels.Narrow(2, p, rows*p).Reshape(b, 3, rows, p, columns, p).Permute(0, 2, 4, 3, 5, 1).Reshape(b, rows*columns, 3*p*p)
	return e.Proj.Forward(x).Add(e.positions(pixels, rows*columns))
}

// grid is how many rows and columns of patches each image has: (B, 1, 1) float32.
func (e *NaFlexPatches) grid(pixels *torch.Tensor) (rows, columns *torch.Tensor) {
	numbers := pixels.Narrow(2, 0, 1).Narrow(3, 0, 2).To(pixels.Device(), torch.Float32) // (B, 3, 1, 2)
	number := func(channel int) *torch.Tensor {
		n := numbers.Select(1, channel) // (B, 1, 2)
		return n.Narrow(2, 0, 1).MulScalar(256).Add(n.Narrow(2, 1, 1))
	}
	return number(0), number(1)
}

// real tells which of n tokens are patches: (B, 1, 1, n).
func (e *NaFlexPatches) real(pixels *torch.Tensor, n int) *torch.Tensor {
	rows, columns := e.grid(pixels)
	return torch.ArangeLike(pixels, n).Lt(rows.Mul(columns)).Unsqueeze(2).Reshape(pixels.Size(0), 1, 1, n)
}

// positions are resampled linearly with antialiasing, which is a sum over the rows and columns of the table:
// (B, n, W). Padding has those of the first patch.
func (e *NaFlexPatches) positions(pixels *torch.Tensor, n int) *torch.Tensor {
	side, w := e.Positions.Size(1), e.Positions.Size(3)
	rows, columns := e.grid(pixels)
	at := torch.ArangeLike(pixels, n).To(pixels.Device(), torch.Float32).View(1, n, 1)
	at = at.Mul(at.Lt(rows.Mul(columns)).To(pixels.Device(), torch.Float32)) // (B, n, 1)
	row := opFloor.Call(at.Div(columns))
	shares := func(at, size *torch.Tensor) *torch.Tensor { // (B, n, G)
		scale := size.Pow(-1).MulScalar(float64(side))
		centre := at.AddScalar(0.5).Mul(scale).AddScalar(-0.5)
		from := torch.ArangeLike(size, side).To(size.Device(), torch.Float32)
		x := from.Sub(centre).Abs().Div(scale.ClampMin(1)).Neg().AddScalar(1).ClampMin(0)
		return x.Div(x.SumDim(2).Unsqueeze(2))
	}
	x := shares(row, rows).Unsqueeze(3).Mul(shares(at.Sub(row.Mul(columns)), columns).Unsqueeze(2)) // (B, n, G, G)
	table := x.Borrow(e.Positions).View(side*side, w)
	return x.Reshape(-1, n, side*side).MatMul(table.To(table.Device(), torch.Float32)).To(table.Device(), table.DType())
}

// masked is attention that sees no padding, which none has where real is nil.
func masked(real *torch.Tensor) attention {
	if real == nil {
		return nil
	}
	return func(q, k, v *torch.Tensor) *torch.Tensor {
		return torch.MaskedAttention(q, k, v, real.Expand(q.Size(0), 1, q.Size(2), k.Size(2)), 0)
	}
}

// shape is the grid of one image, read from the device.
func (e *NaFlexPatches) shape(pixels *torch.Tensor) (rows, columns int) {
	r, c := e.grid(pixels)
	return int(r.Item()), int(c.Item())
}
