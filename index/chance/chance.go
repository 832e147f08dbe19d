// Package chance tells how probable it is that an image which a search has found shows what the
// query's words say. A cosine alone does not tell: every query has a best image. Its score is held
// against what the query scores on the other images, and against what other texts score on that
// image. docs/internals/learning.md has the arithmetic, and docs/search.md what was measured.
package chance

import (
	"fmt"
	"math"
)

// Background is what scores look like by chance, for one model and one index. It may be used from
// many goroutines.
type Background struct {
	texts, images spread
}

// spread is rows of one kind: their mean, and the directions from it to each of them.
type spread struct {
	mean       []float64
	directions [][]float64 // L2-normalised
}

// New makes a background of texts that nobody asks for, and of a sample of the index's images: rows
// of features, L2-normalised, of one length, at least two of each.
func New(texts, images [][]float32) (*Background, error) {
	b := &Background{}
	for _, kind := range []struct {
		name string
		rows [][]float32
		to   *spread
	}{{"texts", texts, &b.texts}, {"images", images, &b.images}} {
		if len(kind.rows) < 2 {
			return nil, fmt.Errorf("chance: a background of %d %s: must be at least 2", len(kind.rows), kind.name)
		}
		for _, row := range kind.rows {
			if len(row) != len(texts[0]) {
				return nil, fmt.Errorf("chance: a row of the background's %s has %d numbers, and the first text has %d", kind.name, len(row), len(texts[0]))
			}
		}
		*kind.to = spreadOf(kind.rows)
	}
	return b, nil
}

func spreadOf(rows [][]float32) spread {
	s := spread{mean: make([]float64, len(rows[0]))}
	for _, row := range rows {
		for j, x := range row {
			s.mean[j] += float64(x) / float64(len(rows))
		}
	}
	for _, row := range rows {
		s.directions = append(s.directions, s.direction(row))
	}
	return s
}

// direction is from the mean to a row, L2-normalised; 0 for the mean itself.
func (s spread) direction(row []float32) []float64 {
	d, square := make([]float64, len(row)), 0.0
	for j, x := range row {
		d[j] = float64(x) - s.mean[j]
		square += d[j] * d[j]
	}
	if square > 0 {
		for j := range d {
			d[j] /= math.Sqrt(square)
		}
	}
	return d
}

// deviations are by how many standard deviations a score is above the mean of a direction's scores
// with each of the spread's.
func (s spread) deviations(direction []float64, score float64) float64 {
	sum, square := 0.0, 0.0
	for _, d := range s.directions {
		x := dot(d, direction)
		sum += x
		square += x * x
	}
	n := float64(len(s.directions))
	mean := sum / n
	deviation := math.Sqrt(max(square/n-mean*mean, 0))
	if deviation < 1e-9 { // nothing stands out where all are alike
		return 0
	}
	return (score - mean) / deviation
}

func dot(a, b []float64) (sum float64) {
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}

// Evidence is how far a score stands out, in standard deviations.
type Evidence struct {
	Images float64 // among the query's scores with the background's images
	Texts  float64 // among the image's scores with the background's texts
}

// Evidence that each image shows what the query says. query is the row of a text, images are rows.
func (b *Background) Evidence(query []float32, images [][]float32) []Evidence {
	q := b.texts.direction(query)
	list := make([]Evidence, len(images))
	for i, row := range images {
		d := b.images.direction(row)
		score := dot(q, d)
		list[i] = Evidence{Images: b.images.deviations(q, score), Texts: b.texts.deviations(d, score)}
	}
	return list
}

// The weights of the evidence: a logistic regression on half of the held-out vendor's emoji, with
// the shipped model. TestChanceEval fits them again and compares.
const (
	bias      = -4.003
	perImages = 2.311
	perTexts  = 0.386
)

// Probability that an image shows what was asked for, the best of n images that could have been
// found: the more there are, the more stand out by chance.
func (e Evidence) Probability(n int) float64 {
	return 1 / (1 + float64(n)*math.Exp(-(bias+perImages*e.Images+perTexts*e.Texts)))
}
