package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/torch"
)

// evaluate computes what is due where the run stands, between two epochs, and writes a line of results.jsonl: zero-shot
// classification also before the first step. Where the line is there already, as in a resumed run, it does nothing.
func (r *run) evaluate(ctx context.Context) error {
	if r.state.Batch != 0 || r.records.evaluated == r.state.Step {
		return nil
	}
	metrics := map[string]float64{}
	if r.zeroshot != nil && r.due(r.o.ZeroshotFrequency) {
		if err := r.classify(ctx, metrics); err != nil {
			return err
		}
	}
	if r.val != nil && r.state.Step > 0 && r.due(r.o.ValFrequency) {
		if err := r.retrieve(ctx, metrics); err != nil {
			return err
		}
	}
	if len(metrics) == 0 {
		return nil
	}
	if err := r.evaluateAverage(ctx, metrics); err != nil {
		return err
	}
	metrics["epoch"], metrics["step"] = float64(r.state.Epoch), float64(r.state.Step)
	r.metrics = metrics
	if err := r.boardResult(metrics); err != nil {
		return err
	}
	return r.records.result(metrics)
}

// due tells whether what happens every so many epochs, and at the end, happens now.
func (r *run) due(every int) bool {
	return every > 0 && (r.state.Epoch%every == 0 || r.state.Step >= r.total)
}

// retrieve adds open_clip's validation metrics on --val-data to metrics. clip_val_loss is the mean of the batches'
// losses, so it depends on --batch-size.
func (r *run) retrieve(ctx context.Context, metrics map[string]float64) error {
	var images, texts []float32
	var captions [][]string // of each picture that was read
	total, n := 0.0, 0
	for b, err := range r.val.Epoch(ctx, 0, 0) {
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
			size := r.model.Config.Vision.ImageSize
			pixels := torch.FromSlice(s, b.Pixels, b.N, 3, size.Height, size.Width).To(r.device, r.precision.weights)
			tokens := torch.FromSlice(s, b.Tokens, b.N, r.model.ContextLength())
			i, t := r.encodeImage(pixels).To(r.device, torch.Float32), r.model.EncodeText(tokens).Normalize(1).To(r.device, torch.Float32)
			total += loss.Contrastive(i, t, s.Alias(r.model.LogitScale).Exp()).Item() * float64(b.N)
			images = append(images, torch.ToSlice[float32](i)...)
			texts = append(texts, torch.ToSlice[float32](t)...)
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
		return errors.New("train: --val-data: none of its pictures can be read")
	}
	texts, of, err := r.allCaptions(ctx, captions, texts)
	if ctx.Err() != nil {
		return r.interrupted()
	}
	if err != nil {
		return fmt.Errorf("train: evaluation: %w", err)
	}
	ranks, err := Retrieval(images, texts, of, r.model.Config.EmbedDim)
	if err != nil {
		return err
	}
	maps.Copy(metrics, ranks)
	metrics["clip_val_loss"] = total / float64(n)
	metrics["num_samples"] = float64(n)
	r.logf("evaluation on %d pairs: text to image R@1 %.3f R@5 %.3f R@10 %.3f, image to text R@1 %.3f R@5 %.3f, loss %.4f", n,
		metrics["text_to_image_R@1"], metrics["text_to_image_R@5"], metrics["text_to_image_R@10"],
		metrics["image_to_text_R@1"], metrics["image_to_text_R@5"], metrics["clip_val_loss"])
	return nil
}

// allCaptions gives every caption of the pictures that were read, and whose each is, where a picture has several; else
// texts as they are, and nil. The loss is that of the first captions.
func (r *run) allCaptions(ctx context.Context, of [][]string, texts []float32) ([]float32, []int, error) {
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
	for chunk := range slices.Chunk(captions, r.o.BatchSize) {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		ids, _, err := r.model.Tokenize(ctx, chunk...)
		if err != nil {
			return nil, nil, err
		}
		rows, err := r.model.TextFeatures(ids, len(chunk))
		if err != nil {
			return nil, nil, err
		}
		texts = append(texts, rows...)
	}
	return texts, owners, nil
}
