package concept

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"
)

// Classifier tells images of a concept from others by their L2-normalised features. It is linear, so
// its order of images is that of their cosine with Row, which can be searched for and added to other
// rows as that of a text.
type Classifier struct {
	Row   []float32 // L2-normalised
	Scale float64
	Bias  float64
}

// Logit is above 0 where the classifier takes the image for one of the concept: Scale * cosine +
// Bias.
func (c *Classifier) Logit(row []float32) float64 {
	sum := 0.0
	for i, x := range row {
		sum += float64(x) * float64(c.Row[i])
	}
	return c.Scale*sum + c.Bias
}

// The prior: how much a text says before there are examples, how far examples may lead away from it,
// and how many judged images the unjudged ones count for, each at most for one. They were chosen on
// another draw of the held-out emoji's tags than the evaluation's.
const (
	textSpread   = 0.25 // standard deviation of a text's logits over the index
	precision    = 20   // inverse variance of each whitened weight around the text's
	othersWeight = 200
)

// Fit learns from rows of images that show the concept and of images that do not, and the row of a
// text; no and text may be nil. It is logistic regression in the whitened space. The prior of the
// weights is Gaussian around the text's direction. Unjudged images count as weak examples of what
// does not show the concept, because most do not.
func (s *Space) Fit(text []float32, yes, no [][]float32) (*Classifier, error) {
	dim := len(s.mean)
	if len(yes) == 0 {
		return nil, errors.New("concept: no example of what is meant: at least one is needed")
	}
	for _, rows := range [][][]float32{yes, no} {
		for _, r := range rows {
			if len(r) != dim {
				return nil, fmt.Errorf("concept: an example has %d numbers, and a row of this model has %d", len(r), dim)
			}
		}
	}
	prior := make([]float64, dim+1) // the weights, then the bias
	if text != nil {
		if len(text) != dim {
			return nil, fmt.Errorf("concept: the text has %d numbers, and a row of this model has %d", len(text), dim)
		}
		t := mat.NewVecDense(dim, prior[:dim])
		for i, x := range text {
			t.SetVec(i, float64(x))
		}
		t.MulVec(s.root.T(), t)
		if norm := t.Norm(2); norm > 0 {
			t.ScaleVec(textSpread/norm, t)
		}
	}
	p := problem{prior: prior, sets: []set{{s.whitened(yes), 1, 1}, {s.whitened(no), -1, 1}}}
	if others := s.unjudged(slices.Concat(yes, no)...); others != nil {
		n, _ := others.Dims()
		p.sets = append(p.sets, set{others, -1, min(1, othersWeight/float64(n))})
	}
	r, err := optimize.Minimize(optimize.Problem{Func: p.loss, Grad: p.gradient}, prior,
		&optimize.Settings{GradientThreshold: 1e-6, MajorIterations: 500}, &optimize.LBFGS{})
	if r == nil || err != nil && !floatsFinite(r.X) {
		return nil, fmt.Errorf("concept: the examples cannot be fitted: %w", err)
	}
	return s.classifier(r.X), nil
}

// classifier is the whitened weights and the bias as one of plain features: (L⁻ᵀ u) · (x - mean) + b.
func (s *Space) classifier(x []float64) *Classifier {
	dim := len(s.mean)
	var w mat.VecDense
	if err := w.SolveVec(s.root.T(), mat.NewVecDense(dim, x[:dim])); err != nil {
		panic(fmt.Sprintf("concept: a root that Cholesky found is singular: %v", err))
	}
	c := &Classifier{Row: make([]float32, dim), Scale: w.Norm(2)}
	c.Bias = x[dim] - floats.Dot(w.RawVector().Data, s.mean)
	for i := range c.Row {
		c.Row[i] = float32(w.AtVec(i) / max(c.Scale, 1e-300))
	}
	return c
}

// set is whitened examples (n, E), nil for none, of one side, and what each counts.
type set struct {
	z      *mat.Dense
	side   float64 // 1 or -1
	weight float64
}

// problem is the negative logarithm of the posterior.
type problem struct {
	prior []float64
	sets  []set
}

// margins are the logits of the set's examples, times their side: above 0 is right.
func (s set) margins(x []float64) []float64 {
	if s.z == nil {
		return nil
	}
	n, dim := s.z.Dims()
	out := mat.NewVecDense(n, nil)
	out.MulVec(s.z, mat.NewVecDense(dim, x[:dim]))
	m := out.RawVector().Data
	for i := range m {
		m[i] = s.side * (m[i] + x[dim])
	}
	return m
}

func (p problem) loss(x []float64) float64 {
	d := floats.Distance(x[:len(x)-1], p.prior[:len(x)-1], 2)
	sum := precision / 2 * d * d
	for _, s := range p.sets {
		for _, m := range s.margins(x) {
			sum += s.weight * softplus(-m)
		}
	}
	return sum
}

func (p problem) gradient(to, x []float64) {
	dim := len(x) - 1
	for i := range dim {
		to[i] = precision * (x[i] - p.prior[i])
	}
	to[dim] = 0
	for _, s := range p.sets {
		m := s.margins(x)
		if m == nil {
			continue
		}
		for i := range m {
			m[i] = -s.side * s.weight * logistic(-m[i])
			to[dim] += m[i]
		}
		g := mat.NewVecDense(dim, nil)
		g.MulVec(s.z.T(), mat.NewVecDense(len(m), m))
		floats.Add(to[:dim], g.RawVector().Data)
	}
}

// softplus is log(1 + exp(x)).
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func floatsFinite(x []float64) bool {
	for _, v := range x {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}
