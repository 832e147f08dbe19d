package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
)

// rotary is by which angles attention turns queries and keys (Su et al., arXiv 2104.09864), half of
// them for a patch's row and half for its column (timm layers/pos_embed_sincos.py
// RotaryEmbeddingCat).
type rotary struct {
	rows, columns int
	bands         int // a quarter of a head's width
	first         int // tokens that are no patches and are not turned
	grid          int // rows and columns are scaled to so many
	offset        int // added to them before
	columnFirst   bool
}

// turns are cosines and sines (2, T, D/2) float32 for heads of width D, on the device of x; nil of
// a nil rotary. They are computed again each time, because a tower keeps no tensors beside its state
// dict.
func (r *rotary) turns(x *torch.Tensor) *torch.Tensor {
	if r == nil {
		return nil
	}
	count := func(n int) *torch.Tensor { return torch.ArangeLike(x, n).To(x.Device(), torch.Float32) }
	frequencies := count(r.bands).MulScalar(-math.Log(10000) / float64(r.bands)).Exp()
	angles := func(n int) *torch.Tensor { // (n, bands)
		return count(n).AddScalar(float64(r.offset)).MulScalar(float64(r.grid) / float64(n)).Unsqueeze(1).Mul(frequencies)
	}
	ofRow := angles(r.rows).Unsqueeze(1).Expand(r.rows, r.columns, r.bands)
	ofColumn := angles(r.columns).Unsqueeze(0).Expand(r.rows, r.columns, r.bands)
	if r.columnFirst {
		ofRow, ofColumn = ofColumn, ofRow
	}
	all := torch.Cat(2, ofRow, ofColumn).View(r.rows*r.columns, 2*r.bands)
	if r.first > 0 {
		all = torch.Cat(0, torch.OnesLike(x, r.first, 2*r.bands).Fill(0), all)
	}
	return torch.Stack(0, all.Cos(), all.Sin())
}

// turn turns each pair of neighbouring numbers of (B, heads, T, D) by its angle.
func turn(x, turns *torch.Tensor) *torch.Tensor {
	shape := x.Shape()
	pairs := x.Reshape(shape[0], shape[1], shape[2], shape[3]/2, 2)
	a, b := pairs.Select(-1, 0), pairs.Select(-1, 1)
	cos, sin := turns.Select(0, 0), turns.Select(0, 1)
	y := torch.Stack(-1, a.Mul(cos).Sub(b.Mul(sin)), b.Mul(cos).Add(a.Mul(sin)))
	return y.Reshape(shape...).To(x.Device(), x.DType())
}
