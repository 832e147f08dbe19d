package data

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
)

// order says which sample stands at each place of an epoch.
//
// Without replacement all epochs read one endless sequence of passes, each a permutation of all
// samples, in pieces of the epoch's length: where an epoch is shorter than the data, no image
// comes a second time before each has come once. With replacement each place draws for itself.
type order struct {
	n, places int
	seed      uint64
	shuffle   bool
	resampled bool
	parts     []int     // samples of each source, when resampled
	upTo      []float64 // weights of the sources up to each, the last being the sum
}

func newOrder(n int, o LoaderOptions) (order, error) {
	r := order{n: n, places: n, seed: o.Seed, shuffle: o.Shuffle, resampled: o.Resampled, parts: o.Parts}
	if o.NumSamples > 0 {
		r.places = o.NumSamples
	}
	if !o.Resampled {
		if len(o.UpsamplingFactors) > 0 {
			return r, errors.New("data: UpsamplingFactors need Resampled")
		}
		return r, nil
	}
	if len(r.parts) == 0 {
		r.parts = []int{n}
	}
	if f := o.UpsamplingFactors; len(f) > 0 && len(f) != len(r.parts) {
		return r, fmt.Errorf("data: %d UpsamplingFactors for %d sources; there must be one for each", len(f), len(r.parts))
	}
	sum := 0.0
	for i, samples := range r.parts {
		factor := 1.0
		if len(o.UpsamplingFactors) > 0 {
			factor = o.UpsamplingFactors[i]
		}
		sum += factor * float64(samples)
		r.upTo = append(r.upTo, sum)
	}
	if !(sum > 0) {
		return r, fmt.Errorf("data: UpsamplingFactors %v leave no sample to draw", o.UpsamplingFactors)
	}
	return r, nil
}

// epoch gives the sample at each place of an epoch.
func (r *order) epoch(epoch int) func(place int) int {
	switch {
	case r.resampled:
		return func(place int) int { return r.draw(epoch, place) }
	case !r.shuffle:
		return func(place int) int { return int((int64(epoch)*int64(r.places) + int64(place)) % int64(r.n)) }
	}
	passes, first := map[int][]uint32{}, epoch*r.places/r.n
	for pass := first; pass <= (epoch*r.places+r.places-1)/r.n; pass++ {
		passes[pass] = r.permutation(pass)
	}
	return func(place int) int {
		at := epoch*r.places + place
		return int(passes[at/r.n][at%r.n])
	}
}

func (r *order) permutation(pass int) []uint32 {
	p := make([]uint32, r.n)
	for i := range p {
		p[i] = uint32(i)
	}
	rng := rand.New(rand.NewPCG(r.seed, uint64(pass)))
	rng.Shuffle(r.n, func(i, j int) { p[i], p[j] = p[j], p[i] })
	return p
}

// drawing parts the stream of random numbers that draws samples from those of permutations and
// augmentation.
const drawing = 0x9e3779b97f4a7c15

// draw is a sample drawn with replacement: each sample of a source is as likely as the source's
// factor says.
func (r *order) draw(epoch, place int) int {
	rng := rand.New(rand.NewPCG(r.seed^drawing, uint64(epoch)<<32|uint64(place)))
	x := rng.Float64() * r.upTo[len(r.upTo)-1]
	source := sort.Search(len(r.upTo)-1, func(i int) bool { return x < r.upTo[i] })
	first := 0
	for _, samples := range r.parts[:source] {
		first += samples
	}
	return first + rng.IntN(r.parts[source])
}
