// Package concept learns what someone means from a few images and, if there is one, a text: a
// classifier on frozen, L2-normalised features. docs/internals/learning.md has the arithmetic.
package concept

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// Space is how the features of many images are spread: their mean and covariance, and a sample of
// them that stands for the images nobody has judged. It may be used from many goroutines.
type Space struct {
	mean   []float64
	root   *mat.TriDense // L of the covariance L Lᵀ
	sample [][]float32   // at most maxOthers rows
	others *mat.Dense    // the sample, whitened: L⁻¹ (x - mean)
}

// maxOthers bounds the sample that stands for the images nobody has judged.
const maxOthers = 512

// NewSpace measures a sample of an index's rows, each of length dim. The covariance is shrunk
// towards a multiple of the identity, by how much Ledoit and Wolf (2004) estimate from the rows
// themselves, so that fewer rows than dim will do.
func NewSpace(rows [][]float32, dim int) (*Space, error) {
	for i, r := range rows {
		if len(r) != dim {
			return nil, fmt.Errorf("concept: row %d has %d numbers, and a row of this model has %d", i, len(r), dim)
		}
	}
	s := &Space{mean: make([]float64, dim), root: mat.NewTriDense(dim, mat.Lower, nil)}
	for _, r := range rows {
		for j, x := range r {
			s.mean[j] += float64(x) / float64(len(rows))
		}
	}
	var chol mat.Cholesky
	if len(rows) < 2 || !chol.Factorize(covariance(s.centred(rows))) { // they do not vary: every direction is alike
		for i := range dim {
			s.root.SetTri(i, i, 1/math.Sqrt(float64(dim)))
		}
	} else {
		chol.LTo(s.root)
	}
	if len(rows) == 0 {
		return s, nil
	}
	step := max(1, len(rows)/maxOthers)
	for i := 0; i < len(rows) && len(s.sample) < maxOthers; i += step {
		s.sample = append(s.sample, rows[i])
	}
	s.others = s.whitened(s.sample)
	return s, nil
}

// centred is the rows less the mean: (n, E).
func (s *Space) centred(rows [][]float32) *mat.Dense {
	x := mat.NewDense(len(rows), len(s.mean), nil)
	for i, r := range rows {
		to := x.RawRowView(i)
		for j, v := range r {
			to[j] = float64(v) - s.mean[j]
		}
	}
	return x
}

// whitened is L⁻¹ (x - mean) of each row: (n, E), of covariance I over the index.
func (s *Space) whitened(rows [][]float32) *mat.Dense {
	if len(rows) == 0 {
		return nil
	}
	var z, out mat.Dense
	if err := z.Solve(s.root, s.centred(rows).T()); err != nil {
		panic(fmt.Sprintf("concept: a root that Cholesky found is singular: %v", err))
	}
	out.CloneFrom(z.T())
	return &out
}

// unjudged is the whitened sample without the rows that are examples; nil for none.
func (s *Space) unjudged(examples ...[]float32) *mat.Dense {
	var keep []int
	for i, row := range s.sample {
		if !slices.ContainsFunc(examples, func(e []float32) bool { return slices.Equal(e, row) }) {
			keep = append(keep, i)
		}
	}
	if len(keep) == 0 {
		return nil
	}
	out := mat.NewDense(len(keep), len(s.mean), nil)
	for to, from := range keep {
		out.SetRow(to, s.others.RawRowView(from))
	}
	return out
}

// covariance of centred rows x (n, E), shrunk (Ledoit and Wolf, "A well-conditioned estimator for
// large-dimensional covariance matrices", 2004, section 3.2).
func covariance(x *mat.Dense) *mat.SymDense {
	n, dim := x.Dims()
	s := mat.NewSymDense(dim, nil)
	s.SymOuterK(1/float64(n), x.T())
	scale := mat.Trace(s) / float64(dim)
	square := func(m mat.Matrix) float64 { f := mat.Norm(m, 2); return f * f } // Frobenius
	inner := square(s)
	away := inner - float64(dim)*scale*scale // |S - scale I|²
	fourth := 0.0
	for i := range n {
		q := mat.Dot(x.RowView(i), x.RowView(i))
		fourth += q * q
	}
	noise := (fourth/float64(n) - inner) / float64(n) // of S, its squared error
	share := 1.0
	if away > 0 {
		share = min(max(noise/away, 0), 1)
	}
	share = max(share, 1e-4) // so that the root exists where the rows lie in a plane
	for i := range dim {
		for j := i; j < dim; j++ {
			s.SetSym(i, j, (1-share)*s.At(i, j))
		}
		s.SetSym(i, i, s.At(i, i)+share*scale)
	}
	return s
}
