//go:build searcheval

package chance

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/emojis"
	"github.com/goclip/goclip/models"
)

// judged is an image that a query found.
type judged struct {
	Evidence
	n       int  // images of the index
	right   bool // it shows what was asked for
	present bool // the index has an image that does
	query   int  // among all that were asked
	rank    int  // from 0
	best    int  // rank of the first that is right; -1 for none
}

// collection is images of some vendors, and for each text those that show it.
type collection struct {
	rows  [][]float32
	shows [][]int
}

const found = 10 // images of a list

// ask searches an index of some of the collection's images for queries, each a text's number.
func (c collection) ask(t *testing.T, texts, background [][]float32, members, queries []int, first int) (list []judged) {
	t.Helper()
	rows := make([][]float32, len(members))
	for i, m := range members {
		rows[i] = c.rows[m]
	}
	sample := rows
	if len(sample) > 2048 {
		sample = sample[:2048]
	}
	b, err := New(background, sample)
	require.NoError(t, err)
	for i, q := range queries {
		scores := make([]float64, len(rows))
		order := make([]int, len(rows))
		for j, row := range rows {
			scores[j], order[j] = clip.Cosine(texts[q], row), j
		}
		slices.SortStableFunc(order, func(a, b int) int {
			if scores[a] > scores[b] {
				return -1
			}
			return 1
		})
		best := slices.IndexFunc(order, func(j int) bool { return slices.Contains(c.shows[q], members[j]) })
		var hits [][]float32
		for _, j := range order[:found] {
			hits = append(hits, rows[j])
		}
		for rank, e := range b.Evidence(texts[q], hits) {
			list = append(list, judged{e, len(rows), slices.Contains(c.shows[q], members[order[rank]]), best >= 0, first + i, rank, best})
		}
	}
	return list
}

// draws are indices of several sizes drawn from the collection, each asked for 60 texts that it has
// images of, and for 60 that it has none of.
func (c collection) draws(t *testing.T, texts, background [][]float32, asked, sizes []int, times int, seed uint64) (list []judged) {
	t.Helper()
	rng := rand.New(rand.NewPCG(24, seed))
	for i := range times {
		members := rng.Perm(len(c.rows))[:sizes[i%len(sizes)]]
		in := map[int]bool{}
		for _, m := range members {
			in[m] = true
		}
		var with, without []int
		for _, at := range rng.Perm(len(asked)) {
			q := asked[at]
			if slices.ContainsFunc(c.shows[q], func(j int) bool { return in[j] }) {
				with = append(with, q)
			} else {
				without = append(without, q)
			}
		}
		queries := append(with[:min(60, len(with))], without[:min(60, len(without))]...)
		list = append(list, c.ask(t, texts, background, members, queries, 1000*i)...)
	}
	return list
}

// fit is a logistic regression by Newton's method: yes on the numbers x and a constant, the first
// of its weights. offset is added to the logit.
func fit(x [][]float64, yes []bool, offset []float64) []float64 {
	n := len(x[0]) + 1
	w := make([]float64, n)
	for range 30 {
		gradient, hessian := mat.NewVecDense(n, nil), mat.NewSymDense(n, nil)
		for i := range n {
			hessian.SetSym(i, i, 1e-3) // the list's numbers depend on each other
		}
		for r, row := range x {
			row = append([]float64{1}, row...)
			p := 1 / (1 + math.Exp(-floats.Dot(w, row)-offset[r]))
			y := 0.0
			if yes[r] {
				y = 1
			}
			for i := range n {
				gradient.SetVec(i, gradient.AtVec(i)+(y-p)*row[i])
				for j := i; j < n; j++ {
					hessian.SetSym(i, j, hessian.At(i, j)+p*(1-p)*row[i]*row[j])
				}
			}
		}
		var step mat.VecDense
		if err := step.SolveVec(hessian, gradient); err != nil {
			break
		}
		scale := min(1, 2/mat.Norm(&step, math.Inf(1))) // from far away its steps would overshoot
		for i := range w {
			w[i] += scale * step.AtVec(i)
		}
	}
	return w
}

// fitted are the weights of the evidence: of right, with -log n as an offset.
func fitted(list []judged) []float64 {
	var x [][]float64
	var right []bool
	var offset []float64
	for _, h := range list {
		x, right, offset = append(x, []float64{h.Any, h.Query}), append(right, h.right), append(offset, -math.Log(float64(h.n)))
	}
	return fit(x, right, offset)
}

// limits are areas that bound those of any score of a list. first is for scores of the first image
// alone, and ten for scores of all ten. A fraction f of the queries has its image there; the lists
// of the others are the same with and without it, so that a score, even one that is right about all
// of f, has at most the area f + (1-f^2)/2. linear is the area of a logistic regression on the
// evidence of all ten images, fitted to the very lists that it is measured on.
func limits(list []judged) (first, ten, linear float64) {
	var x [][]float64
	var present []bool
	with, inFirst, inTen := 0., 0., 0.
	for part := range slices.Chunk(list, found) {
		var row []float64
		for _, h := range part {
			row = append(row, h.Any, h.Query)
		}
		x, present = append(x, row), append(present, part[0].present)
		if part[0].present {
			with++
			if part[0].best == 0 {
				inFirst++
			}
			if part[0].best < found {
				inTen++
			}
		}
	}
	w := fit(x, present, make([]float64, len(x)))
	var yes, no []float64
	for i, row := range x {
		if score := floats.Dot(w[1:], row); present[i] {
			yes = append(yes, score)
		} else {
			no = append(no, score)
		}
	}
	most := func(f float64) float64 { return f + (1-f*f)/2 }
	return most(inFirst / with), most(inTen / with), auc(yes, no)
}

// auc is the area under the ROC of scores: how often one of yes is above one of no.
func auc(yes, no []float64) float64 {
	if len(yes) == 0 || len(no) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, y := range yes {
		for _, n := range no {
			switch {
			case y > n:
				sum++
			case y == n:
				sum += 0.5
			}
		}
	}
	return sum / float64(len(yes)*len(no))
}

// lists is the area for whole lists, each by its most probable image: those whose index has the
// query's image at a rank below within, against those whose index has none.
func lists(list []judged, within int) float64 {
	var with, without []float64
	for part := range slices.Chunk(list, found) {
		top := 0.0
		for _, h := range part {
			top = max(top, h.Probability(h.n))
		}
		switch {
		case !part[0].present:
			without = append(without, top)
		case part[0].best < within:
			with = append(with, top)
		}
	}
	return auc(with, without)
}

// reliability is, for ranges of the probability, how many images have it, its mean, and the
// fraction of them that are right.
func reliability(list []judged) string {
	var text strings.Builder
	edges := []float64{0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1}
	for i, from := range edges[:len(edges)-1] {
		n, sum, right := 0, 0.0, 0
		for _, h := range list {
			if p := h.Probability(h.n); p >= from && p < edges[i+1] {
				n++
				sum += p
				if h.right {
					right++
				}
			}
		}
		fmt.Fprintf(&text, "\n   %.2f to %.2f: %6d images, probability %.3f, right %.3f", from, edges[i+1], n, sum/float64(n), float64(right)/float64(n))
	}
	return text.String()
}

// TestChanceEval fits the weights on half of the held-out emoji, and measures them on the other half
// and on the vendors of the training data.
func TestChanceEval(t *testing.T) {
	ctx := context.Background()
	m, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	encode := func(list []emojis.Emoji) (c collection) {
		var images []clip.ImageSource
		for _, e := range list {
			images = append(images, clip.FromBytes(e.PNG))
		}
		c.rows, err = m.EncodeImages(ctx, images...)
		require.NoError(t, err)
		return c
	}
	heldOut, err := emojis.HeldOut("../../data")
	require.NoError(t, err)
	var names []string
	var even, others []int // texts by the parity of their first code point
	byPoints := map[string]int{}
	for i, e := range heldOut {
		names = append(names, e.Caption)
		byPoints[e.Points] = i
		first, _, _ := strings.Cut(e.Points, "-")
		point, err := strconv.ParseInt(first, 16, 32)
		require.NoError(t, err)
		if point%2 == 0 {
			even = append(even, i)
		} else {
			others = append(others, i)
		}
	}
	texts, err := m.EncodeTexts(ctx, names...)
	require.NoError(t, err)
	background, err := m.EncodeTexts(ctx, Texts()...)
	require.NoError(t, err)
	away := encode(heldOut)
	for i := range heldOut {
		away.shows = append(away.shows, []int{i})
	}
	demo, err := emojis.Read("../../data/emoji-demo.tar")
	require.NoError(t, err)
	training := encode(demo)
	training.shows = make([][]int, len(names))
	for i, e := range demo {
		q := byPoints[e.Points]
		training.shows[q] = append(training.shows[q], i)
	}

	sizes := []int{50, 100, 200, 500, 1000, 1700}
	w := fitted(away.draws(t, texts, background, even, sizes, 120, 1))
	t.Logf("fitted: %.3f + %.3f any + %.3f query - log n", w[0], w[1], w[2])
	for i, is := range []float64{bias, perAny, perQuery} {
		assert.InDelta(t, w[i], is, 0.02, "the weights are those that the package has")
	}
	everything := make([]int, len(names))
	for i := range everything {
		everything[i] = i
	}
	for _, set := range []struct {
		name  string
		c     collection
		asked []int
		sizes []int
	}{
		{"held-out vendor, the other half of the texts", away, others, sizes},
		{"1,200 images of the training data", training, everything, []int{50, 100, 200, 500, 1000}},
	} {
		drawn := set.c.draws(t, texts, background, set.asked, set.sizes, 240, 2)
		t.Logf("%s%s", set.name, reliability(drawn))
		for _, size := range set.sizes {
			part := slices.DeleteFunc(slices.Clone(drawn), func(h judged) bool { return h.n != size })
			logAreas(t, fmt.Sprintf("   index of %4d images", size), part)
		}
		if set.name[0] == '1' {
			assert.Greater(t, lists(slices.DeleteFunc(slices.Clone(drawn), func(h judged) bool { return h.n != 50 }), math.MaxInt), 0.85)
		}
	}
	// The whole vendor: each text with its image in the index, and with it taken out.
	whole := away.ask(t, texts, background, everything, others, 0)
	for i, q := range others {
		members := slices.Delete(slices.Clone(everything), q, q+1)
		if i%4 == 0 { // the background is measured anew each time
			whole = append(whole, away.ask(t, texts, background, members, []int{q}, 1e6+i)...)
		}
	}
	logAreas(t, "all 1,914", whole)
	t.Log(reliability(whole))
}

func logAreas(t *testing.T, name string, list []judged) {
	t.Helper()
	first, ten, linear := limits(list)
	t.Logf("%s: area under the ROC %.3f; where the image is among the first ten %.3f; where it is the first %.3f; limits: first image %.3f, ten images %.3f, fitted to these lists %.3f",
		name, lists(list, math.MaxInt), lists(list, found), lists(list, 1), first, ten, linear)
}
