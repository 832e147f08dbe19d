package chance

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEvidence(t *testing.T) {
	// In two dimensions, by hand. Each of the texts ±x scores 1, -1, 0, 0 with the images ±x, ±y: mean 0,
	// variance 1/2. So does the query x. The query 2x scores twice as much, with four times the variance.
	images := [][]float32{{1, 0}, {-1, 0}, {0, 1}, {0, -1}}
	b, err := New([][]float32{{1, 0}, {-1, 0}}, images)
	require.NoError(t, err)
	for _, c := range []struct {
		query []float32
		want  []Evidence
	}{
		{[]float32{1, 0}, []Evidence{{math.Sqrt2, math.Sqrt2}, {-math.Sqrt2, -math.Sqrt2}, {0, 0}, {0, 0}}},
		{[]float32{2, 0}, []Evidence{{2 * math.Sqrt2, math.Sqrt2}, {-2 * math.Sqrt2, -math.Sqrt2}, {0, 0}, {0, 0}}},
		{[]float32{0, 0}, make([]Evidence, 4)}, // scores that are all alike tell nothing
	} {
		for i, got := range b.Evidence(c.query, images) {
			assert.InDelta(t, c.want[i].Any, got.Any, 1e-9, i)
			assert.InDelta(t, c.want[i].Query, got.Query, 1e-9, i)
		}
	}
}

func TestProbability(t *testing.T) {
	strong, weak := Evidence{6, 4}, Evidence{2, 1}
	assert.Greater(t, strong.Probability(1000), 0.98)
	assert.Less(t, weak.Probability(1000), 0.01)
	assert.Greater(t, weak.Probability(10), weak.Probability(100), "the more images there are, the more stand out by chance")
	// logit = bias + perAny z + perQuery z' - log n
	odds := math.Exp(bias+perAny*3+perQuery*2) / 50
	assert.InDelta(t, odds/(1+odds), Evidence{3, 2}.Probability(50), 1e-12)
}

// A query that has no image among random ones is found improbable, and its image when it is there
// probable.
func TestPlanted(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) (rows [][]float32) {
		for range n {
			row, square := make([]float32, 64), 0.0
			for j := range row {
				row[j] = float32(rng.NormFloat64())
				square += float64(row[j]) * float64(row[j])
			}
			for j := range row {
				row[j] /= float32(math.Sqrt(square))
			}
			rows = append(rows, row)
		}
		return rows
	}
	texts, images := random(250), random(500)
	b, err := New(texts, images)
	require.NoError(t, err)
	for _, query := range random(20) {
		best := 0.0
		for _, e := range b.Evidence(query, images) {
			best = max(best, e.Probability(len(images)))
		}
		planted := make([]float32, 64)
		for j, noise := range random(1)[0] {
			planted[j] = query[j] + noise/2
		}
		assert.Less(t, best, 0.8)
		assert.Greater(t, b.Evidence(query, [][]float32{planted})[0].Probability(len(images)), 0.99)
	}
}

func TestRefused(t *testing.T) {
	row := [][]float32{{1, 0}, {0, 1}}
	for _, c := range []struct {
		texts, images [][]float32
		says          string
	}{
		{nil, row, "0 texts: must be at least 2"},
		{row, row[:1], "1 images: must be at least 2"},
		{row, [][]float32{{1, 0}, {1}}, "images has 1 numbers, and the first text has 2"},
	} {
		_, err := New(c.texts, c.images)
		assert.ErrorContains(t, err, c.says)
	}
}

func TestTexts(t *testing.T) {
	assert.Len(t, Texts(), 250)
}
