package concept

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

type goldens struct {
	Rows, Yes, No [][]float32
	Text          []float32
	Covariance    [][]float64
	Fits          map[string]struct {
		Row         []float64
		Scale, Bias float64
	}
}

// readGoldens reads what testdata/concept/make_goldens.py wrote.
func readGoldens(t *testing.T) (g goldens, s *Space) {
	t.Helper()
	data, err := os.ReadFile("../../testdata/concept/fits.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &g))
	s, err = NewSpace(g.Rows, len(g.Text))
	require.NoError(t, err)
	return g, s
}

func TestSpaceIsLedoitWolfs(t *testing.T) {
	g, s := readGoldens(t)
	var got mat.Dense
	got.Mul(s.root, s.root.T())
	for i, row := range g.Covariance {
		assert.InDeltaSlice(t, row, got.RawRowView(i), 1e-9)
	}
	n, _ := s.others.Dims()
	assert.Equal(t, len(g.Rows), n)
}

func TestFit(t *testing.T) {
	g, s := readGoldens(t)
	for name, c := range map[string]struct {
		text    []float32
		yes, no [][]float32
	}{"examples": {nil, g.Yes, g.No}, "text": {g.Text, g.Yes, g.No}, "one": {g.Text, g.Yes[:1], nil}} {
		got, err := s.Fit(c.text, c.yes, c.no)
		require.NoError(t, err)
		want := g.Fits[name]
		assert.InDelta(t, want.Scale, got.Scale, 1e-4*want.Scale, name)
		assert.InDelta(t, want.Bias, got.Bias, 1e-4*math.Abs(want.Bias), name)
		for i, x := range want.Row {
			assert.InDelta(t, x, got.Row[i], 1e-4, name)
		}
	}
}

// TestFitLearns moves a yes above a no, and a second judgement of the other kind moves it back.
func TestFitLearns(t *testing.T) {
	g, s := readGoldens(t)
	a, b := g.Rows[20], g.Rows[21]
	first, err := s.Fit(g.Text, [][]float32{a}, [][]float32{b})
	require.NoError(t, err)
	assert.Greater(t, first.Logit(a), first.Logit(b))
	second, err := s.Fit(g.Text, [][]float32{b}, [][]float32{a})
	require.NoError(t, err)
	assert.Greater(t, second.Logit(b), second.Logit(a))
}

func TestFitOfLittle(t *testing.T) {
	for name, rows := range map[string][][]float32{"an empty index": nil, "one image": {{1, 0, 0}}, "two images": {{1, 0, 0}, {0, 1, 0}}, "copies of one": {{0, 1, 0}, {0, 1, 0}, {0, 1, 0}}} {
		s, err := NewSpace(rows, 3)
		require.NoError(t, err, name)
		c, err := s.Fit(nil, [][]float32{{1, 0, 0}}, [][]float32{{0, 0, 1}})
		require.NoError(t, err, name)
		assert.Greater(t, c.Logit([]float32{1, 0, 0}), c.Logit([]float32{0, 0, 1}), name)
		norm := 0.0
		for _, x := range c.Row {
			norm += float64(x) * float64(x)
		}
		assert.InDelta(t, 1, norm, 1e-5, name)
	}
}

func TestFitRefuses(t *testing.T) {
	_, s := readGoldens(t)
	row := make([]float32, 6)
	_, err := s.Fit(nil, nil, [][]float32{row})
	assert.EqualError(t, err, "concept: no example of what is meant: at least one is needed")
	_, err = s.Fit(nil, [][]float32{{1, 2}}, nil)
	assert.EqualError(t, err, "concept: an example has 2 numbers, and a row of this model has 6")
	_, err = s.Fit([]float32{1}, [][]float32{row}, nil)
	assert.EqualError(t, err, "concept: the text has 1 numbers, and a row of this model has 6")
	_, err = NewSpace([][]float32{{1}}, 6)
	assert.EqualError(t, err, "concept: row 0 has 1 numbers, and a row of this model has 6")
}
