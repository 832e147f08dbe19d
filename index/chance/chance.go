// Package chance tells how probable it is that an image which a search has found shows what the
// query's words say. A cosine alone does not tell: every query has a best image. Its score is held
// against what texts and images score that have nothing to do with each other, and against what the
// query scores on the index's other images. docs/internals/learning.md has the arithmetic, and
// docs/search.md what was measured.
package chance

import (
	"fmt"
	"math"
)

// Background is what scores look like by chance, for one model and one index. It may be used from
// many goroutines.
type Background struct {
	images [][]float32
	any    moments // of the scores of texts with images
}

// moments are the mean and the standard deviation of scores.
type moments struct{ mean, deviation float64 }

// New makes a background of texts that nobody asks for, and of a sample of the index's images: rows
// of features, L2-normalised, of one length, at least two of each.
func New(texts, images [][]float32) (*Background, error) {
	for _, kind := range []struct {
		name string
		rows [][]float32
	}{{"texts", texts}, {"images", images}} {
		if len(kind.rows) < 2 {
			return nil, fmt.Errorf("chance: a background of %d %s: must be at least 2", len(kind.rows), kind.name)
		}
		for _, row := range kind.rows {
			if len(row) != len(texts[0]) {
				return nil, fmt.Errorf("chance: a row of the background's %s has %d numbers, and the first text has %d", kind.name, len(row), len(texts[0]))
			}
		}
	}
	// At most 256 scores of each text, with other images than those of the text before.
	step := (len(images) + 255) / 256
	var scores []float64
	for i, text := range texts {
		for j := i % step; j < len(images); j += step {
			scores = append(scores, dot(text, images[j]))
		}
	}
	return &Background{images, momentsOf(scores)}, nil
}

func momentsOf(scores []float64) moments {
	var m moments
	for _, x := range scores {
		m.mean += x / float64(len(scores))
	}
	for _, x := range scores {
		m.deviation += (x - m.mean) * (x - m.mean) / float64(len(scores))
	}
	m.deviation = math.Sqrt(m.deviation)
	return m
}

// above is by how many standard deviations a score is above the mean.
func (m moments) above(score float64) float64 {
	if m.deviation < 1e-9 { // nothing stands out where all are alike
		return 0
	}
	return (score - m.mean) / m.deviation
}

func dot(a, b []float32) (sum float64) {
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// Evidence is how far a score stands out, in standard deviations.
type Evidence struct {
	Any   float64 // among the scores of the background's texts with its images
	Query float64 // among the query's scores with the background's images
}

// Evidence that each image shows what the query says. query is the row of a text, images are rows,
// L2-normalised.
func (b *Background) Evidence(query []float32, images [][]float32) []Evidence {
	scores := make([]float64, len(b.images))
	for i, row := range b.images {
		scores[i] = dot(query, row)
	}
	own := momentsOf(scores)
	list := make([]Evidence, len(images))
	for i, row := range images {
		score := dot(query, row)
		list[i] = Evidence{Any: b.any.above(score), Query: own.above(score)}
	}
	return list
}

// The weights of the evidence: a logistic regression on half of the held-out vendor's emoji, with
// the shipped model. TestChanceEval fits them again and compares.
const (
	bias     = -4.578
	perAny   = 1.692
	perQuery = 1.599
)

// Probability that an image shows what was asked for, the best of n images that could have been
// found: the more there are, the more stand out by chance.
func (e Evidence) Probability(n int) float64 {
	return 1 / (1 + float64(n)*math.Exp(-(bias+perAny*e.Any+perQuery*e.Query)))
}
