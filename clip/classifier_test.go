package clip

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestZeroShotParity holds classifiers, probabilities and best classes against open_clip 3.3.0's
// build_zero_shot_classifier.
func TestZeroShotParity(t *testing.T) {
	c := golden.Config(t, "tiny")
	c.Text.VocabSize = 49408
	m, g := goldenModel(t, c), golden.Open(t, "zeroshot")
	var names []string
	for i := 0; i < len(ImageNetClasses()); i += 50 {
		names = append(names, ImageNetClasses()[i].Name)
	}
	var images [][]float32
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		images = m.rowsOf(torch.ToSlice[float32](m.EncodeImage(golden.Pixels(s, "pixels", c)).Normalize(1)))
	}))
	for _, set := range []string{ImageNet80, ImageNet7} {
		t.Run(set, func(t *testing.T) {
			templates, err := Templates(set)
			require.NoError(t, err)
			before := settled.Count(torch.LiveTensors)
			z, err := m.Classifier(context.Background(), names, templates...)
			require.NoError(t, err)
			want := g.Floats(set + ".weights")
			weights := slices.Concat(z.Weights...)
			require.Len(t, weights, len(want))
			d := worst(want, weights, 1)
			t.Logf("the largest difference of a weight is %.1e", d)
			assert.LessOrEqual(t, d, tolerance)

			prob, err := z.Probabilities(images)
			require.NoError(t, err)
			want = g.Floats(set + ".prob")
			require.Len(t, slices.Concat(prob...), len(want))
			assert.LessOrEqual(t, worst(want, slices.Concat(prob...), 1), tolerance)

			top, err := z.Top(images, 5)
			require.NoError(t, err)
			var classes []int64
			for i, row := range top {
				require.Len(t, row, 5)
				for _, prediction := range row {
					classes = append(classes, int64(prediction.Class))
					assert.Equal(t, prob[i][prediction.Class], prediction.Probability)
				}
			}
			assert.Equal(t, g.Ints(set+".top5"), classes)
			assert.Equal(t, before, torch.LiveTensors())
		})
	}
}

// TestClassifierBatches finds the same rows whichever window and batch a prompt falls into: each class alone, and all
// of them in two windows.
func TestClassifierBatches(t *testing.T) {
	c := golden.Config(t, "tiny")
	c.Text.VocabSize = 49408
	m := goldenModel(t, c)
	templates, err := Templates(ImageNet80)
	require.NoError(t, err)
	var names []string
	for i := range windowOfPrompts/len(templates) + 2 { // the border lies inside a class
		names = append(names, ImageNetClasses()[i].Name)
	}
	require.NotZero(t, windowOfPrompts%len(templates))
	all, err := m.Classifier(context.Background(), names, templates...)
	require.NoError(t, err)
	for _, i := range []int{0, len(names) / 2, len(names) - 2, len(names) - 1} {
		one, err := m.Classifier(context.Background(), names[i:i+1], templates...)
		require.NoError(t, err)
		assert.LessOrEqual(t, worst(one.Weights[0], all.Weights[i], 1), 1e-6, names[i])
	}
}

func TestClassifierRefusals(t *testing.T) {
	m := goldenModel(t, golden.Config(t, "tiny"))
	for want, c := range map[string]struct{ names, templates []string }{
		"needs the name of a class":          {nil, []string{"a {}"}},
		"the class 1 has an empty name":      {[]string{"dog", " "}, []string{"a {}"}},
		`the template "a dog" has no {} for`: {[]string{"dog"}, []string{"a {}", "a dog"}},
	} {
		_, err := m.Classifier(context.Background(), c.names, c.templates...)
		assert.ErrorContains(t, err, want)
	}
	c := golden.Config(t, "tiny")
	c.Text.VocabSize = 49408
	words := goldenModel(t, c)
	want, err := words.Classifier(t.Context(), []string{"dog", "cat"}, "{}")
	require.NoError(t, err)
	got, err := words.Classifier(t.Context(), []string{"dog", "cat"})
	require.NoError(t, err)
	assert.Equal(t, want, got, "without templates a name stands alone")
	ended, end := context.WithCancel(context.Background())
	end()
	_, err = m.Classifier(ended, []string{"dog"}, "a {}")
	assert.ErrorIs(t, err, context.Canceled)

	z := &Classifier{Names: []string{"a", "b"}, Weights: [][]float32{{1, 0}, {0, 1}}, Scale: 1}
	_, err = z.Probabilities([][]float32{{1, 0, 0}})
	assert.ErrorContains(t, err, "row 0 of image features has 3 numbers; the classifier takes rows of 2")
	_, err = z.Top([][]float32{{1, 0}}, 0)
	assert.ErrorContains(t, err, "k is 0: it must be at least 1")
	none, err := z.Top(nil, 1)
	require.NoError(t, err)
	assert.Empty(t, none)
	all, err := z.Top([][]float32{{0, 1}}, 5)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Len(t, all[0], 2, "fewer classes than asked for")
	assert.Equal(t, 1, all[0][0].Class)
	assert.InDelta(t, 0.7310586, all[0][0].Probability, 1e-6) // 1 / (1 + 1/e)
}

func TestTemplates(t *testing.T) {
	eighty, err := Templates(ImageNet80)
	require.NoError(t, err)
	seven, err := Templates(ImageNet7)
	require.NoError(t, err)
	assert.Len(t, eighty, 80)
	assert.Len(t, seven, 7)
	for _, s := range seven {
		assert.Contains(t, eighty, s)
	}
	one, err := Templates("a {} square")
	require.NoError(t, err)
	assert.Equal(t, []string{"a {} square"}, one)

	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	own, err := Templates(write("own.txt", "a {}\r\n\nthe {}."))
	require.NoError(t, err)
	assert.Equal(t, []string{"a {}", "the {}."}, own)
	for spec, want := range map[string]string{
		"":                            `"" is not a set of templates (openai_imagenet_80, openai_imagenet_7, openai_cifar_18), no file, and no template`,
		"openai":                      `"openai" is not a set of templates`,
		write("empty.txt", "\n"):      "empty.txt is empty; each line must be a template such as",
		write("bad.txt", "a {}\na\n"): `the template "a" has no {} for the class's name (in `,
	} {
		_, err := Templates(spec)
		assert.ErrorContains(t, err, want)
	}
}

func TestImageNetClasses(t *testing.T) {
	classes := ImageNetClasses()
	require.Len(t, classes, 1000)
	assert.True(t, slices.IsSortedFunc(classes, func(a, b ImageNetClass) int { return strings.Compare(a.WordNetID, b.WordNetID) }))
	for i, want := range map[int]ImageNetClass{0: {"n01440764", "tench"}, 134: {"n02012849", "crane bird"},
		517: {"n03126707", "construction crane"}, 999: {"n15075141", "toilet paper"}} {
		assert.Equal(t, want, classes[i])
	}
}

// TestTopOfASureClassifier ranks classes whose probabilities are all 0 but one by their logits.
func TestTopOfASureClassifier(t *testing.T) {
	z := &Classifier{Names: []string{"far", "near", "second", "opposite"}, Weights: [][]float32{{0, 1}, {1, 0}, {0.6, 0.8}, {-1, 0}}, Scale: 1e4}
	predictions, err := z.Top([][]float32{{1, 0}}, 4)
	require.NoError(t, err)
	var order []int
	for _, g := range predictions[0] {
		order = append(order, g.Class)
	}
	assert.Equal(t, []int{1, 2, 0, 3}, order)
	assert.Equal(t, []float32{1, 0}, []float32{predictions[0][0].Probability, predictions[0][1].Probability})
}
