package clip

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Cosine returns the similarity of two L2-normalised rows of features, (E) each: their product, summed in float64. It panics
// if one is longer than the other, as rows of two models may be.
func Cosine(a, b []float32) (sum float64) {
	if len(a) != len(b) {
		panic(fmt.Sprintf("clip: Cosine of rows of %d and %d numbers", len(a), len(b)))
	}
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// Softmax returns the softmax of scale * cosines: the probabilities of an image's texts, with the scale of
// [Model.Scale]. There must be at least one cosine.
func Softmax(cosines []float64, scale float64) []float64 {
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

// Normalized returns the L2-normalised row of a sum of rows. The mean of them has the same direction.
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

// Scores are how similar images and texts are: a row for each image, in it a number for each text.
type Scores struct {
	Cosine     [][]float64
	Prob       [][]float64 // the softmax over the texts of LogitScale * cosine
	LogitScale float64
}

// Score compares each image with each text. It may be called from any number of goroutines, and has EncodeImages's
// errors. Of one text alone the probability is 1, which says nothing.
func (m *Model) Score(ctx context.Context, images []ImageSource, texts []string) (*Scores, error) {
	if len(texts) == 0 {
		return nil, errors.New("clip: Score needs at least one text")
	}
	s := &Scores{Cosine: make([][]float64, len(images)), Prob: make([][]float64, len(images))}
	err := m.inTurn(ctx, func() (err error) {
		s.LogitScale, err = m.Scale()
		return err
	})
	if err != nil {
		return nil, err
	}
	words, err := m.EncodeTexts(ctx, texts...)
	if err != nil {
		return nil, err
	}
	rows, err := m.EncodeImages(ctx, images...)
	if err != nil {
		return nil, err
	}
	for i, image := range rows {
		for _, text := range words {
			s.Cosine[i] = append(s.Cosine[i], Cosine(image, text))
		}
		s.Prob[i] = Softmax(s.Cosine[i], s.LogitScale)
	}
	return s, nil
}
