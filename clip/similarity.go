package clip

import (
	"math"
	"slices"
)

// Cosine is the similarity of two L2-normalised rows of features, (E) each: their product, summed in float64.
func Cosine(a, b []float32) (sum float64) {
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// Shares is the softmax of scale * cosines, the probabilities of a picture's texts ([Model.Scale]); at least one cosine is wanted.
func Shares(cosines []float64, scale float64) []float64 {
	top, sum := slices.Max(cosines), 0.0
	out := make([]float64, len(cosines))
	for i, c := range cosines {
		out[i] = math.Exp(scale * (c - top))
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// Normalized is the L2-normalised row of a sum of rows. The mean of them has the same direction.
func Normalized(sum []float64) []float32 {
	norm := 0.0
	for _, x := range sum {
		norm += x * x
	}
	norm = max(math.Sqrt(norm), 1e-12)
	out := make([]float32, len(sum))
	for i, x := range sum {
		out[i] = float32(x / norm)
	}
	return out
}
