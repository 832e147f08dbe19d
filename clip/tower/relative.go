package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

var opPad = torch.NewOp("aten::constant_pad_nd")

// RelativePositions tell attention how far two patches are apart: a perceptron makes of each pair's
// offset, row and column, a number for each head (Liu et al., Swin Transformer V2, arXiv
// 2111.09883; timm layers/pos_embed_rel.py RelPosMlp). A class token has no place.
type RelativePositions struct {
	Fc1           *nn.Linear `torch:"mlp.fc1"` // (hidden, 2)
	Fc2           *nn.Linear `torch:"mlp.fc2"` // (heads, hidden)
	rows, columns int
}

func newRelativePositions(rows, columns, hidden, heads int) *RelativePositions {
	return &RelativePositions{Fc1: linear(2, hidden), Fc2: linear(hidden, heads), rows: rows, columns: columns}
}

// bias is what attention adds to its products: (1, heads, 1+N, 1+N) of the queries' type.
func (r *RelativePositions) bias(q *torch.Tensor, training bool) *torch.Tensor {
	offsets := func(n int) *torch.Tensor { // (2n-1), signed logarithms
		x := torch.ArangeLike(q, 2*n-1).To(q.Device(), torch.Float32).AddScalar(float64(1 - n))
		return x.Relu().AddScalar(1).Log().Sub(x.Neg().Relu().AddScalar(1).Log())
	}
	rows, columns := 2*r.rows-1, 2*r.columns-1
	x := torch.Stack(2, offsets(r.rows).Unsqueeze(1).Expand(rows, columns), offsets(r.columns).Unsqueeze(0).Expand(rows, columns))
	x = r.Fc1.Forward(x.View(rows*columns, 2).To(q.Device(), r.Fc1.Weight.DType())).Relu()
	if training {
		x = x.Dropout(0.125)
	}
	x = relativeBias(r.Fc2.Forward(x), r.rows, r.columns)
	return opPad.Call(x, []int{1, 0, 1, 0}, 0.0).Unsqueeze(0).To(q.Device(), q.DType())
}

// relativeBias looks up each pair of places of a grid in a table of their offsets,
// ((2*rows-1)*(2*columns-1), heads) -> (heads, N, N), as Swin does (Liu et al., arXiv 2103.14030).
func relativeBias(table *torch.Tensor, rows, columns int) *torch.Tensor {
	n := rows * columns
	count := func(n int) *torch.Tensor { return torch.ArangeLike(table, n).To(table.Device(), torch.Float32) }
	row := count(rows).Unsqueeze(1).Expand(rows, columns).Reshape(n)
	column := count(columns).Unsqueeze(0).Expand(rows, columns).Reshape(n)
	offset := func(x *torch.Tensor, most int) *torch.Tensor { // (N, N), from 0
		return x.Unsqueeze(1).Sub(x.Unsqueeze(0)).AddScalar(float64(most - 1))
	}
	index := offset(row, rows).MulScalar(float64(2*columns - 1)).Add(offset(column, columns))
	return table.IndexSelect(0, index.To(table.Device(), torch.Int64).View(n*n)).View(n, n, -1).Permute(2, 0, 1)
}

// biasedAttention is attention of heads (B, heads, T, D) with numbers that are learned added to its
// products. libtorch's own kernels would choose by whether they are, and round differently when
// gradient checkpointing computes it again.
func biasedAttention(q, k, v, bias *torch.Tensor, dropout float64) *torch.Tensor {
	x := q.MulScalar(1 / math.Sqrt(float64(q.Size(3)))).MatMul(k.Transpose(2, 3)).Add(bias).Softmax(3)
	if dropout > 0 {
		x = x.Dropout(dropout)
	}
	return x.MatMul(v)
}
