package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/index/scan"
)

// inMemory is a mapping of rows that no file holds, with their codes.
func inMemory(rows []float32, dim int) *mapping {
	m := &mapping{n: len(rows) / dim, dim: dim, rows: rows, codes: make([]byte, headerSize)}
	m.codes = append(m.codes, m.encode(0, m.n)...)
	return m
}

// hardness makes rows in which near ties are of different kinds, and queries for them.
type hardness struct {
	name string
	fill func(rng *rand.Rand, rows []float32, dim int)
	ask  func(rng *rand.Rand, rows []float32, dim int) []float32
}

func unit(x []float32) {
	norm := 0.0
	for _, v := range x {
		norm += float64(v) * float64(v)
	}
	for i := range x {
		x[i] /= float32(math.Sqrt(norm))
	}
}

func around(rng *rand.Rand, x, centre []float32, spread float64) {
	for i := range x {
		x[i] = float32(spread * rng.NormFloat64() / math.Sqrt(float64(len(x))))
		if centre != nil {
			x[i] += centre[i]
		}
	}
	unit(x)
}

func row(rng *rand.Rand, rows []float32, dim int) []float32 {
	i := rng.IntN(len(rows) / dim)
	return rows[i*dim : (i+1)*dim]
}

// hard are random vectors, which have no neighbours; clusters with a large number at one place, as
// CLIP's features have; and rows of which many are equal, or differ in the last bits of one number,
// so that their products with a query are the same or one unit apart.
var hard = []hardness{
	{"random", func(rng *rand.Rand, rows []float32, dim int) {
		for from := 0; from < len(rows); from += dim {
			around(rng, rows[from:from+dim], nil, 1)
		}
	}, func(rng *rand.Rand, _ []float32, dim int) []float32 {
		q := make([]float32, dim)
		around(rng, q, nil, 1)
		return q
	}},
	{"clustered", func(rng *rand.Rand, rows []float32, dim int) {
		centres := make([]float32, max(1, len(rows)/200/dim)*dim)
		for from := 0; from < len(centres); from += dim {
			c := centres[from : from+dim]
			around(rng, c, nil, 1)
			c[dim/3] += 0.5
		}
		for from := 0; from < len(rows); from += dim {
			around(rng, rows[from:from+dim], row(rng, centres, dim), 0.6)
		}
	}, func(rng *rand.Rand, rows []float32, dim int) []float32 {
		q := make([]float32, dim)
		around(rng, q, row(rng, rows, dim), 0.5)
		return q
	}},
	{"ties", func(rng *rand.Rand, rows []float32, dim int) {
		for from := 0; from < len(rows); from += dim {
			x := rows[from : from+dim]
			if from == 0 || rng.IntN(10) == 0 {
				around(rng, x, nil, 1)
				continue
			}
			copy(x, rows[rng.IntN(min(max(50, len(rows)/dim/100), from/dim))*dim:][:dim])
			for range rng.IntN(4) {
				i := rng.IntN(dim)
				x[i] = math.Nextafter32(x[i], 2*float32(rng.IntN(2))-1)
			}
		}
	}, func(rng *rand.Rand, rows []float32, dim int) []float32 {
		q := make([]float32, dim)
		copy(q, row(rng, rows, dim))
		return q
	}},
}

// sameAnswers searches with the codes and without, for n queries, and requires the same rows and
// scores to the bit.
func sameAnswers(t *testing.T, m *mapping, queries []float32, k int, allowed, dead []int64) {
	t.Helper()
	all := *m
	all.codes = nil
	want, err := all.search(ctx, queries, k, allowed, dead, 0)
	require.NoError(t, err)
	got, err := m.search(ctx, queries, k, allowed, dead, 0)
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, list := range got {
		require.LessOrEqual(t, len(list), k)
		require.NotEmpty(t, list)
	}
}

// TestCodes has the first pass by codes change no answer: of one query and of several, with rows
// that are dead or filtered out, across blocks.
func TestCodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, h := range hard {
		for _, dim := range []int{20, 512} {
			t.Run(fmt.Sprint(h.name, dim), func(t *testing.T) {
				const n = 5000 // three blocks of 512
				rows := make([]float32, n*dim)
				h.fill(rng, rows, dim)
				m := inMemory(rows, dim)
				var allowed, dead []int64
				for i := range int64(n) {
					switch rng.IntN(4) {
					case 0:
						dead = append(dead, i)
					case 1:
						allowed = append(allowed, i)
					}
				}
				for i := range 12 {
					var queries []float32
					for range 1 + i%3 {
						queries = append(queries, h.ask(rng, rows, dim)...)
					}
					k := []int{1, 10, 70}[i%3]
					sameAnswers(t, m, queries, k, nil, nil)
					sameAnswers(t, m, queries, k, nil, dead)
					sameAnswers(t, m, queries, k, allowed, nil)
				}
			})
		}
	}
}

// TestCodesExclude has the vectors of rows that their codes exclude not be read: one that became the
// best without its code is not found.
func TestCodesExclude(t *testing.T) {
	const n, dim = 5000, 512
	rng := rand.New(rand.NewPCG(13, 14))
	rows := make([]float32, n*dim)
	hard[0].fill(rng, rows, dim)
	m := inMemory(rows, dim)
	query := hard[0].ask(rng, rows, dim)
	last, err := m.search(ctx, query, n, nil, nil, 0)
	require.NoError(t, err)
	worst := last[0][n-1].slot
	copy(rows[worst*dim:], query)
	got, err := m.search(ctx, query, 5, nil, nil, 0)
	require.NoError(t, err)
	assert.Equal(t, last[0][:5], got[0])
	copy(m.codes[headerSize+int(worst)*scan.Size(dim):], m.encode(int(worst), 1))
	got, err = m.search(ctx, query, 5, nil, nil, 0)
	require.NoError(t, err)
	assert.Equal(t, worst, got[0][0].slot)
}
