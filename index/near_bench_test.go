//go:build faiss

package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkNear is FAISS beside the exact search on 1,000,000 vectors of 512 numbers: recall@10 and
// the time of a query in an open index, SQLite's part included, for several numbers of lists that a
// search reads. The last of them is the one that the index would use.
//
// Clustered vectors are like features of images: 20,000 subjects, some with many images and
// most with few, and a spectrum that falls with the square root, around each subject as well as
// between them. Their queries are images that are not in the index, and "texts": subjects moved
// by a vector that all texts share. Random vectors have no neighbours that are nearer than others,
// which is the hardest case and like nothing that a model makes.
func BenchmarkNear(b *testing.B) {
	rng := rand.New(rand.NewPCG(3, 4))
	unit := func(x []float32) {
		norm := 0.0
		for _, v := range x {
			norm += float64(v) * float64(v)
		}
		for i := range x {
			x[i] /= float32(math.Sqrt(norm))
		}
	}
	const subjects = 20_000
	var spectrum, gap [largeDim]float32
	for i := range spectrum {
		spectrum[i] = float32(1 / math.Sqrt(float64(i+1)))
		gap[i] = 2 * spectrum[i] * float32(rng.NormFloat64())
	}
	centres := make([][largeDim]float32, subjects)
	for i := range centres {
		for j := range largeDim {
			centres[i][j] = spectrum[j] * float32(rng.NormFloat64())
		}
	}
	picture := func(x []float32, moved float32) {
		u := rng.Float64()
		centre := &centres[int(subjects*u*u)]
		for j := range x {
			x[j] = centre[j] + 0.6*spectrum[j]*float32(rng.NormFloat64()) + moved*gap[j]
		}
		unit(x)
	}
	random := func(x []float32) {
		for j := range x {
			x[j] = float32(rng.NormFloat64())
		}
		unit(x)
	}
	for _, c := range []struct {
		name string
		row  func([]float32)
		ask  map[string]func([]float32)
	}{
		{"clustered", func(x []float32) { picture(x, 0) }, map[string]func([]float32){
			"pictures": func(x []float32) { picture(x, 0) }, "texts": func(x []float32) { picture(x, 1) }}},
		{"random", random, map[string]func([]float32){"random": random}},
	} {
		b.Run(c.name, func(b *testing.B) {
			at := largeOf(b, c.name, func(block []float32) {
				for x := range slices.Chunk(block, largeDim) {
					c.row(x)
				}
			})
			w, err := OpenWriter(at, Model{Name: "none", EmbedDim: largeDim, Weights: "random", Transform: "none"})
			require.NoError(b, err)
			began := time.Now()
			if changed, err := w.UpdateEngine(ctx, FAISS); changed {
				b.Logf("the lists took %.0f s", time.Since(began).Seconds())
			} else {
				require.NoError(b, err)
			}
			require.NoError(b, w.Close())
			exact, err := Open(at)
			require.NoError(b, err)
			defer exact.Close()
			near, err := OpenWith(at, FAISS)
			require.NoError(b, err)
			defer near.Close()
			x := near.mapped.near.(lists)
			calibrated := x.Probes()
			for name, ask := range c.ask {
				const queries = 200
				asked, truth := make([][]float32, queries), make([][]Hit, queries)
				for q := range queries {
					asked[q] = make([]float32, largeDim)
					ask(asked[q])
					hits, err := exact.Search(ctx, asked[q], 10, Filter{})
					require.NoError(b, err)
					truth[q] = hits[0]
				}
				for _, probes := range []int{16, 32, 64, 128, 256, 512, 1024, calibrated} {
					b.Run(fmt.Sprintf("%s/%d", name, probes), func(b *testing.B) {
						x.SetProbes(probes)
						var hit int
						var times []time.Duration
						for b.Loop() {
							hit, times = 0, nil
							for q, want := range truth {
								began := time.Now()
								got, err := near.Search(ctx, asked[q], 10, Filter{})
								require.NoError(b, err)
								times = append(times, time.Since(began))
								for _, h := range got[0] {
									if slices.ContainsFunc(want, func(w Hit) bool { return w.Path == h.Path }) {
										hit++
									}
								}
							}
						}
						slices.Sort(times)
						b.ReportMetric(float64(hit)/(10*queries), "recall@10")
						b.ReportMetric(float64(times[0].Microseconds())/1000, "best-ms")
						b.ReportMetric(float64(times[queries/2].Microseconds())/1000, "median-ms")
						b.ReportMetric(float64(times[queries*99/100].Microseconds())/1000, "p99-ms")
						b.ReportMetric(float64(x.Lists()), "lists")
					})
				}
			}
		})
	}
}
