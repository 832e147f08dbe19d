package scan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func normal(rng *rand.Rand, dim int) []float32 {
	x := make([]float32, dim)
	for i := range x {
		x[i] = float32(rng.NormFloat64() / math.Sqrt(float64(dim)))
	}
	return x
}

// kinds are rows of several natures: features-like, with one large number, sparse, of numbers half
// a step from the codes, and what is hardly a vector.
func kinds(rng *rand.Rand, dim int) [][]float32 {
	var rows [][]float32
	for range 40 {
		rows = append(rows, normal(rng, dim))
	}
	for range 10 {
		x := normal(rng, dim)
		x[rng.IntN(dim)] = 1
		rows = append(rows, x)
		sparse := make([]float32, dim)
		sparse[rng.IntN(dim)] = -1
		rows = append(rows, sparse)
		half, large := make([]float32, dim), make([]float32, dim)
		for i := range half {
			half[i] = (float32(rng.IntN(127)) + 0.5) / 127
			large[i] = float32(rng.NormFloat64() * 1e15)
		}
		half[0] = 1
		rows = append(rows, half, large)
	}
	tiny, huge, none := make([]float32, dim), make([]float32, dim), make([]float32, dim)
	for i := range tiny {
		tiny[i], huge[i] = math.SmallestNonzeroFloat32*float32(rng.IntN(9)), math.MaxFloat32
	}
	none[0] = float32(math.NaN())
	return append(rows, make([]float32, dim), tiny, huge, none)
}

// products are float32 products in three orders of summation.
func products(a, b []float32) []float64 {
	var forth, back float32
	for i := range a {
		forth += a[i] * b[i]
		back += a[len(a)-1-i] * b[len(a)-1-i]
	}
	var dot [1]float32
	Dots(dot[:], a, b, nil)
	return []float64{float64(forth), float64(back), float64(dot[0])}
}

// TestBound compares the bounds with products computed in float32: none is above its bound, no row
// at or above the threshold is left out, and all vector units find the same to the bit.
func TestBound(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	best := unit
	t.Cleanup(func() { unit = best })
	for _, dim := range []int{1, 3, 16, 24, 64, 77, 200, 512, 640, 768, 1024} {
		t.Run(fmt.Sprint(dim), func(t *testing.T) {
			rows := kinds(rng, dim)
			var data []byte
			for _, row := range rows {
				data = Append(data, row)
			}
			require.Len(t, data, len(rows)*Size(dim))
			queries := kinds(rng, dim)[:len(rows)-2] // of finite numbers
			queries = append(queries, rows[:20]...)  // and those that find themselves
			for _, query := range queries {
				q := NewQuery(query)
				at, bounds := make([]uint32, len(rows)), make([]float64, len(rows))
				require.Equal(t, len(rows), q.Bounds(data, math.Inf(-1), at, bounds))
				for i, row := range rows {
					require.EqualValues(t, i, at[i])
					for _, p := range products(query, row) {
						require.False(t, p > bounds[i]+float64(dim)*0x1p-125, "row %d: %g is above %g", i, p, bounds[i])
					}
				}
				least := bounds[rng.IntN(len(rows))]
				var want []uint32
				for i, b := range bounds {
					if b >= least-float64(dim)*0x1p-125 {
						want = append(want, uint32(i))
					}
				}
				for unit = 0; unit <= best; unit++ {
					some, high := make([]uint32, len(rows)), make([]float64, len(rows))
					n := q.Bounds(data, least, some, high)
					require.Equal(t, want, some[:n], "unit %d", unit)
					for i, at := range some[:n] {
						require.Equal(t, math.Float64bits(bounds[at]), math.Float64bits(high[i]))
					}
				}
				unit = best
			}
		})
	}
}

// TestTight has the bounds of vectors like features be near their products, also where one number
// is ten times as large as the others.
func TestTight(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, large := range []float32{0, 0.45} {
		for range 100 {
			row, query := normal(rng, 512), normal(rng, 512)
			row[133] += large
			at, bounds := make([]uint32, 1), make([]float64, 1)
			require.Equal(t, 1, NewQuery(query).Bounds(Append(nil, row), -2, at, bounds))
			over := bounds[0] - products(query, row)[0]
			assert.Positive(t, over)
			assert.Less(t, over, 0.012)
		}
	}
	assert.Zero(t, NewQuery(normal(rng, 8)).Bounds(nil, 0, nil, nil))
}

// TestDots compares the units to the bit, and with float64, wherever a row stands and however many
// there are.
func TestDots(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	best := unit
	t.Cleanup(func() { unit = best })
	for _, dim := range []int{1, 5, 8, 16, 17, 24, 77, 512, 515} {
		const n = 23
		rows, query := normal(rng, n*dim), normal(rng, dim)
		unit = 0
		want := make([]float32, n)
		Dots(want, query, rows, nil)
		for i, x := range want {
			sum := 0.0
			for j, q := range query {
				sum += float64(q) * float64(rows[i*dim+j])
			}
			require.InDelta(t, sum, x, 1e-6)
		}
		for unit = 0; unit <= best; unit++ {
			got := make([]float32, n)
			for from := range n {
				Dots(got[from:], query, rows[from*dim:], nil)
				require.Equal(t, want, got, "unit %d, %d numbers", unit, dim)
			}
			at := []uint32{3, 22, 0, 3, 7}
			Dots(got, query, rows, at)
			for i, r := range at {
				require.Equal(t, want[r], got[i])
			}
		}
		unit = best
	}
	Dots(nil, []float32{1}, nil, nil)
}
