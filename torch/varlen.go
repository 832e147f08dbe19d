package torch

// Sequences says how the rows of a matrix are those of sequences that stand one behind the other:
// sequence i has the rows from Starts[i] to before Starts[i+1], and all rows are some sequence's.
type Sequences struct {
	Starts  *Tensor // (S+1) int32, on the device of the matrix
	Longest int     // rows of the longest; more is not an error
}

var opFlash = NewOp("aten::_flash_attention_forward")

// VarlenAttention is [ScaledDotProductAttention] of sequences without padding: q (N, heads, d) with
// rows as queries says, k and v (M, heads, d) with rows as keys says, to (N, heads, d). Sequence i
// of the queries sees sequence i of the keys; with causal, where the two have the same rows, each
// row those up to itself.
//
// On CUDA it is flash attention (Dao, arXiv 2307.08691), for float16 and bfloat16 and a d that is a
// multiple of 8; nothing waits for the device. On the CPU it runs sequence by sequence.
func VarlenAttention(q, k, v *Tensor, queries, keys Sequences, causal bool) *Tensor {
	if q.Device().Type == "cuda" {
		return opFlash.Call(q, k, v, queries.Starts, keys.Starts, queries.Longest, keys.Longest, 0.0, causal, false)
	}
	of, in := ToSlice[int32](queries.Starts), ToSlice[int32](keys.Starts)
	if len(of) != len(in) {
		misuse("varlen_attention", "there are %d sequences of queries and %d of keys", len(of)-1, len(in)-1)
	}
	parts := make([]*Tensor, 0, len(of))
	for i := range len(of) - 1 {
		rows := func(x *Tensor, starts []int32) *Tensor { // (n, heads, d) -> (1, heads, n, d)
			return x.Narrow(0, int(starts[i]), int(starts[i+1]-starts[i])).Transpose(0, 1).Unsqueeze(0)
		}
		if of[i] == of[i+1] {
			continue
		}
		y := ScaledDotProductAttention(rows(q, of), rows(k, in), rows(v, in), causal)
		parts = append(parts, y.Squeeze(0).Transpose(0, 1))
	}
	return Cat(0, parts...)
}

// ProductType returns the type that products with t are computed in: autocast's, where t's scope casts,
// else its own.
func (t *Tensor) ProductType() DType {
	t.handle("product_type")
	if t.scope != nil {
		if cast, on := t.scope.castsTo(); on {
			return cast
		}
	}
	return t.DType()
}
