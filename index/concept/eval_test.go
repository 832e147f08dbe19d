//go:build searcheval

package concept_test

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index/concept"
	"github.com/goclip/goclip/internal/emojis"
	"github.com/goclip/goclip/models"
)

// heldOut is the images of the held-out style and, for each tag, which of them have it.
func heldOut(t *testing.T) (images []clip.ImageSource, tagged map[string][]int) {
	t.Helper()
	list, err := emojis.HeldOut("../../data")
	require.NoError(t, err)
	at := map[string]int{}
	for i, e := range list {
		at[e.Key()] = i
		images = append(images, clip.FromBytes(e.PNG))
	}
	table, err := os.ReadFile("../../data/openmoji-tags.tsv")
	require.NoError(t, err)
	tagged = map[string][]int{}
	for line := range strings.Lines(string(table)) {
		key, tags, _ := strings.Cut(strings.TrimSpace(line), "\t")
		for tag := range strings.SplitSeq(tags, ", ") {
			tagged[tag] = append(tagged[tag], at[key])
		}
	}
	return images, tagged
}

// averagePrecision of the images by a score, without those that were shown as examples.
func averagePrecision(score func(i int) float64, n int, relevant, shown map[int]bool) float64 {
	order := make([]int, 0, n)
	scores := make([]float64, n)
	for i := range n {
		if !shown[i] {
			order, scores[i] = append(order, i), score(i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	found, sum := 0, 0.0
	for rank, i := range order {
		if relevant[i] {
			found++
			sum += float64(found) / float64(rank+1)
		}
	}
	return sum / float64(found)
}

func mean(rows [][]float32, dim int) []float64 {
	m := make([]float64, dim)
	for _, r := range rows {
		for j, x := range r {
			m[j] += float64(x) / float64(len(rows))
		}
	}
	return m
}

func dot(a []float64, b []float32) (sum float64) {
	for i, x := range a {
		sum += x * float64(b[i])
	}
	return sum
}

// TestConceptsEval learns tags of the held-out emoji from examples: mean average precision beside
// the text alone, Rocchio's (1971, with the usual 1, 0.75 and 0.15) and the nearest centroid.
func TestConceptsEval(t *testing.T) {
	ctx := context.Background()
	m, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	images, tagged := heldOut(t)
	rows, err := m.EncodeImages(ctx, images...)
	require.NoError(t, err)
	var tags []string
	for tag, has := range tagged {
		if len(has) >= 15 { // so that ten examples leave some to find
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	rng := rand.New(rand.NewPCG(24, 0))
	rng.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
	t.Logf("60 of %d tags with 15 images or more, %d images", len(tags), len(rows))
	tags = tags[:60]
	texts, err := m.EncodeTexts(ctx, tags...)
	require.NoError(t, err)
	space, err := concept.NewSpace(rows, m.Dim())
	require.NoError(t, err)
	methods := []string{"text", "learned", "learned, no text", "Rocchio", "centroid"}
	t.Logf("examples of each kind: mean average precision of %v", methods)
	for _, n := range []int{0, 1, 3, 5, 10} {
		sums := make([]float64, len(methods))
		for i, tag := range tags {
			has, draw := tagged[tag], rand.New(rand.NewPCG(uint64(i), uint64(n)))
			relevant, shown := map[int]bool{}, map[int]bool{}
			for _, j := range has {
				relevant[j] = true
			}
			var yes, no [][]float32
			for _, j := range draw.Perm(len(has))[:n] {
				yes, shown[has[j]] = append(yes, rows[has[j]]), true
			}
			for len(no) < n {
				if j := draw.IntN(len(rows)); !relevant[j] && !shown[j] {
					no, shown[j] = append(no, rows[j]), true
				}
			}
			of := func(score func(row []float32) float64) float64 {
				return averagePrecision(func(i int) float64 { return score(rows[i]) }, len(rows), relevant, shown)
			}
			sums[0] += of(func(row []float32) float64 { return clip.Cosine(texts[i], row) })
			if n == 0 {
				continue
			}
			learned, err := space.Fit(texts[i], yes, no)
			require.NoError(t, err)
			sums[1] += of(learned.Logit)
			bare, err := space.Fit(nil, yes, no)
			require.NoError(t, err)
			sums[2] += of(bare.Logit)
			centre, away := mean(yes, m.Dim()), mean(no, m.Dim())
			rocchio := make([]float64, m.Dim())
			for j := range rocchio {
				rocchio[j] = float64(texts[i][j]) + 0.75*centre[j] - 0.15*away[j]
			}
			sums[3] += of(func(row []float32) float64 { return dot(rocchio, row) })
			sums[4] += of(func(row []float32) float64 { return dot(centre, row) - dot(away, row) - (norm2(centre)-norm2(away))/2 })
		}
		for j := range sums {
			sums[j] = math.Round(sums[j]/float64(len(tags))*1000) / 1000
		}
		t.Logf("%2d  %.3f", n, sums)
		if n == 5 {
			assert.GreaterOrEqual(t, sums[1], 2*sums[0], "twice the text alone")
			assert.Greater(t, sums[1], max(sums[3], sums[4]), "above Rocchio and the nearest centroid")
		}
	}
}

func norm2(x []float64) (sum float64) {
	for _, v := range x {
		sum += v * v
	}
	return sum
}
