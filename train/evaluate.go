package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train/data"
)

// Metrics are figures under open_clip's names: image_to_text_R@1, text_to_image_mean_rank,
// clip_val_loss and so on.
type Metrics map[string]float64

// Evaluate is how well images and texts of d find each other: the metrics of [Retrieval], and
// clip_val_loss, the mean of the batches' losses, which depends on BatchSize. Of several processes,
// which all call it, the first evaluates and has the metrics.
func (t *Trainer) Evaluate(ctx context.Context, d Dataset) (Metrics, error) {
	if ctx == nil {
		return nil, errNoContext
	}
	metrics := Metrics{}
	err := t.alone(func() error {
		loader, err := t.evaluating(ctx, d)
		if err != nil {
			return t.c.errorf("evaluation: %w", t.c.named(err))
		}
		return t.retrieve(ctx, t.model, loader, metrics)
	})
	if errors.Is(err, ErrInterrupted) {
		return nil, context.Cause(ctx) // nothing was written
	}
	if err != nil {
		return nil, t.fail(err)
	}
	return metrics, nil
}

// evaluate computes what is due where the run stands, between two epochs, and writes a line of
// results.jsonl: zero-shot classification also before the first step. Where the line is there
// already, as in a resumed run, it does nothing.
func (t *Trainer) evaluate(ctx context.Context) error {
	if t.state.Batch != 0 || t.watch.records.evaluated == t.state.Step {
		return nil
	}
	metrics := Metrics{}
	err := t.measureModel(ctx, t.model, t.zeroshot != nil && t.due(t.c.ZeroShotEpochs), t.val != nil && t.state.Step > 0 && t.due(t.c.ValEpochs), metrics)
	if err != nil || len(metrics) == 0 {
		return err
	}
	if err := t.evaluateAverage(ctx, metrics); err != nil {
		return err
	}
	metrics["epoch"], metrics["step"] = float64(t.state.Epoch), float64(t.state.Step)
	t.metrics = metrics
	if err := t.watch.result(t.state.Epoch, metrics); err != nil {
		return err
	}
	return t.watch.records.result(metrics)
}

// measureModel adds zero-shot and retrieval metrics of m to metrics, as far as these are wanted.
func (t *Trainer) measureModel(ctx context.Context, m *clip.Model, classes, pairs bool, metrics Metrics) error {
	if classes {
		if err := t.classify(ctx, m, metrics); err != nil {
			return err
		}
	}
	if pairs {
		return t.retrieve(ctx, m, t.val, metrics)
	}
	return nil
}

// due tells whether what happens every so many epochs, and at the end, happens now.
func (t *Trainer) due(every int) bool {
	return every > 0 && (t.state.Epoch%every == 0 || t.state.Step >= t.total)
}

// retrieve adds open_clip's validation metrics on the loader's pairs to metrics.
func (t *Trainer) retrieve(ctx context.Context, m *clip.Model, loader *data.Loader, metrics Metrics) error {
	var images, texts []float32
	var captions [][]string // of each picture that was read
	total, n, width, size := 0.0, 0, 0, m.Preprocess.Size
	for b, err := range loader.Epoch(ctx, 0, 0) {
		if ctx.Err() != nil {
			return ErrInterrupted
		}
		if err != nil {
			return err
		}
		if b.N == 0 {
			continue
		}
		err = torch.NoGrad(func(s *torch.Scope) {
			pixels := torch.FromSlice(s, b.Pixels, b.N, 3, size[0], size[1]).To(t.device, t.precision.weights)
			tokens := torch.FromSlice(s, b.Tokens, b.N, m.ContextLength())
			ofImages, ofTexts := m.EncodeImage(pixels).Normalize(1).To(t.device, torch.Float32), m.EncodeText(tokens).Normalize(1).To(t.device, torch.Float32)
			width = ofImages.Size(1)
			total += loss.Contrastive(ofImages, ofTexts, s.Alias(m.LogitScale).Exp()).Item() * float64(b.N)
			images = append(images, torch.ToSlice[float32](ofImages)...)
			texts = append(texts, torch.ToSlice[float32](ofTexts)...)
		})
		if err != nil {
			return fmt.Errorf("train: evaluation: %w", err)
		}
		n, captions = n+b.N, append(captions, b.Texts...)
	}
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if n == 0 {
		return t.c.errorf("{Val}: none of its pictures can be read")
	}
	texts, of, err := t.allCaptions(ctx, m, captions, texts)
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if err != nil {
		return fmt.Errorf("train: evaluation: %w", err)
	}
	ranks, err := Retrieval(images, texts, of, width)
	if err != nil {
		return err
	}
	maps.Copy(metrics, ranks)
	metrics["clip_val_loss"] = total / float64(n)
	metrics["num_samples"] = float64(n)
	t.watch.logf("evaluation on %d pairs: text to image R@1 %.3f R@5 %.3f R@10 %.3f, image to text R@1 %.3f R@5 %.3f, loss %.4f", n,
		metrics["text_to_image_R@1"], metrics["text_to_image_R@5"], metrics["text_to_image_R@10"],
		metrics["image_to_text_R@1"], metrics["image_to_text_R@5"], metrics["clip_val_loss"])
	return nil
}

// allCaptions gives every caption of the pictures that were read, and whose each is, where a
// picture has several; else texts as they are, and nil. The loss is that of the first captions.
func (t *Trainer) allCaptions(ctx context.Context, m *clip.Model, of [][]string, texts []float32) ([]float32, []int, error) {
	var captions []string
	var owners []int
	for i, own := range of {
		for _, c := range own {
			captions, owners = append(captions, c), append(owners, i)
		}
	}
	if len(captions) == len(of) {
		return texts, nil, nil
	}
	texts = texts[:0]
	for chunk := range slices.Chunk(captions, t.c.BatchSize) {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		ids, _, err := m.Tokenize(ctx, chunk...)
		if err != nil {
			return nil, nil, err
		}
		rows, err := m.TextFeatures(ids, len(chunk))
		if err != nil {
			return nil, nil, err
		}
		texts = append(texts, rows...)
	}
	return texts, owners, nil
}
