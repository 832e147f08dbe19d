package clip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/torch"
)

// Classifier is a zero-shot classifier: a row of text features for each class (paper, section 3.1.2). It holds plain
// values and no model, and may be used from several goroutines.
type Classifier struct {
	Names   []string
	Weights [][]float32 // a row of length E for each name, L2-normalised
	Scale   float64     // of the cosines in the softmax: the model's when the classifier was made
}

// Prediction is a class, as an index into a classifier's Names, with its probability: the softmax over all classes.
type Prediction struct {
	Class       int
	Probability float32
}

// windowOfPrompts prompts are tokenized and sorted by length
// first, because texts of one length make the fewest groups in a batch: of ImageNet's 80,000 prompts that saved 27% of the tokens
// where a batch was padded to its longest.
// Memory is bounded by the window, not by names * templates.
const windowOfPrompts = 32 * batchOfTexts

// Classifier makes a classifier of the names, each put in the place of {} in every template, or as it is without
// templates: a class's row is the mean
// of its prompts' normalised features, normalised again (openai/CLIP, notebooks/Prompt_Engineering_for_ImageNet.ipynb;
// open_clip's build_zero_shot_classifier). Prompts beyond the context length are cut. A thousand names with 80
// templates are minutes of work on a CPU; when ctx ends, its error is returned. It may be called from any number of
// goroutines, as EncodeTexts.
func (m *Model) Classifier(ctx context.Context, names []string, templates ...string) (*Classifier, error) {
	if len(templates) == 0 {
		templates = []string{"{}"}
	}
	if err := checkPrompts(names, templates); err != nil {
		return nil, err
	}
	if err := begun(ctx); err != nil {
		return nil, err
	}
	t, err := m.Tokenizer(ctx)
	if err != nil {
		return nil, err
	}
	var scale float64
	err = m.inTurn(ctx, func() (err error) {
		scale, err = m.Scale()
		return err
	})
	if err != nil {
		return nil, err
	}
	width, total := m.Config.EmbedDim, len(names)*len(templates)
	sums := make([]float64, len(names)*width)
	for from := 0; from < total; from += windowOfPrompts {
		for batch := range slices.Chunk(m.prompts(t, names, templates, from, min(from+windowOfPrompts, total)), batchOfTexts) {
			ids := make([]int64, 0, len(batch)*m.ContextLength())
			for _, p := range batch {
				ids = append(ids, p.ids...)
			}
			var rows []float32
			err := m.inTurn(ctx, func() (err error) {
				rows, err = m.TextFeatures(ids, len(batch))
				return err
			})
			if err != nil {
				return nil, err
			}
			for i, p := range batch {
				for j, x := range rows[i*width : (i+1)*width] {
					sums[p.class*width+j] += float64(x)
				}
			}
		}
	}
	c := &Classifier{Names: slices.Clone(names), Weights: make([][]float32, 0, len(names)), Scale: scale}
	for row := range slices.Chunk(sums, width) {
		c.Weights = append(c.Weights, Normalized(row))
	}
	return c, nil
}

func checkPrompts(names, templates []string) error {
	if len(names) == 0 {
		return errors.New("clip: a classifier needs the name of a class")
	}
	for i, name := range names {
		if strings.TrimSpace(name) == "" {
			return fmt.Errorf("clip: the class %d has an empty name", i)
		}
	}
	return checkTemplates(templates)
}

// prompt is a text of a class: ids of ContextLength tokens, the end token at length-1.
type prompt struct {
	class, length int
	ids           []int64
}

// prompts are the prompts from, ..., to-1 of all, which stand class by class, sorted by length.
func (m *Model) prompts(t tokenizer.Encoder, names, templates []string, from, to int) []prompt {
	out := make([]prompt, 0, to-from)
	for i := from; i < to; i++ {
		p := prompt{class: i / len(templates)}
		p.ids, _ = t.Tokenize(strings.ReplaceAll(templates[i%len(templates)], "{}", names[p.class]), m.ContextLength())
		p.length = tokenizer.Length(p.ids, t.Pad())
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b prompt) int { return cmp.Compare(a.length, b.length) })
	return out
}

// Probabilities is, for each L2-normalised row of image features, the softmax over the classes of Scale * cosine.
func (c *Classifier) Probabilities(images [][]float32) (rows [][]float32, err error) {
	err = c.apply(images, func(logits *torch.Tensor) {
		for row := range slices.Chunk(torch.ToSlice[float32](logits.Softmax(1)), len(c.Names)) {
			rows = append(rows, row)
		}
	})
	return rows, err
}

// Top is, for each row of image features, its k most probable classes, or all when there are fewer, the best one
// first.
func (c *Classifier) Top(images [][]float32, k int) (predictions [][]Prediction, err error) {
	if k < 1 {
		return nil, fmt.Errorf("clip: k is %d: it must be at least 1, for the most probable class", k)
	}
	k = min(k, len(c.Names))
	err = c.apply(images, func(logits *torch.Tensor) {
		_, indices := logits.TopK(k, 1, true) // not of the probabilities, many of which are 0 where one class is sure
		probabilities, classes := torch.ToSlice[float32](logits.Softmax(1).Gather(1, indices)), torch.ToSlice[int64](indices)
		for i := 0; i < len(classes); i += k {
			row := make([]Prediction, k)
			for j := range row {
				row[j] = Prediction{int(classes[i+j]), probabilities[i+j]}
			}
			predictions = append(predictions, row)
		}
	})
	return predictions, err
}

// apply gives f the logits (n, C), Scale * cosine, of n rows of features.
func (c *Classifier) apply(images [][]float32, f func(logits *torch.Tensor)) error {
	if len(images) == 0 {
		return nil
	}
	if len(c.Names) == 0 || len(c.Weights) != len(c.Names) {
		return fmt.Errorf("clip: the classifier has %d names and %d rows of weights: it needs a row for each name", len(c.Names), len(c.Weights))
	}
	width := len(c.Weights[0])
	for i, row := range images {
		if len(row) != width || width == 0 {
			return fmt.Errorf("clip: row %d of image features has %d numbers; the classifier takes rows of %d", i, len(row), width)
		}
	}
	err := torch.NoGrad(func(s *torch.Scope) {
		features := torch.FromSlice(s, slices.Concat(images...), len(images), width)
		weights := torch.FromSlice(s, slices.Concat(c.Weights...), len(c.Names), width)
		f(features.MatMul(weights.T()).MulScalar(c.Scale))
	})
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return nil
}

// Classify is, for each image, its k most probable classes of c, or all when there are fewer, the best one first.
// It may be called from any number of goroutines, and has EncodeImages's errors.
func (m *Model) Classify(ctx context.Context, c *Classifier, k int, images ...ImageSource) ([][]Prediction, error) {
	if c == nil {
		return nil, errors.New("clip: the Classifier is nil: Model.Classifier makes one")
	}
	rows, err := m.EncodeImages(ctx, images...)
	if err != nil {
		return nil, err
	}
	var predictions [][]Prediction
	err = m.inTurn(ctx, func() (err error) {
		predictions, err = c.Top(rows, k)
		return err
	})
	if err != nil {
		return nil, err
	}
	return predictions, nil
}
