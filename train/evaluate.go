package train

import (
	"context"
	"fmt"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

// evaluate computes open_clip's validation metrics on --val-data and writes a line of results.jsonl. clip_val_loss is
// the mean of the batches' losses, so it depends on --batch-size.
func (r *run) evaluate(ctx context.Context) error {
	var images, texts []float32
	total, n := 0.0, 0
	for b, err := range r.val.Epoch(ctx, 0, 0) {
		if ctx.Err() != nil {
			return r.interrupted()
		}
		if err != nil {
			return err
		}
		err = torch.NoGrad(func(s *torch.Scope) {
			pixels, tokens := r.tensors(s, b)
			i, t := r.model.EncodeImage(pixels).Normalize(1), r.model.EncodeText(tokens).Normalize(1)
			total += clip.ContrastiveLoss(i, t, s.Alias(r.model.LogitScale).Exp()).Item() * float64(b.N)
			images = append(images, torch.ToSlice[float32](i)...)
			texts = append(texts, torch.ToSlice[float32](t)...)
		})
		if err != nil {
			return fmt.Errorf("train: evaluation: %w", err)
		}
		n += b.N
	}
	if ctx.Err() != nil {
		return r.interrupted()
	}
	r.metrics = Retrieval(images, texts, n, r.model.Config.EmbedDim)
	r.metrics["clip_val_loss"] = total / float64(n)
	r.metrics["num_samples"] = float64(n)
	r.metrics["epoch"], r.metrics["step"] = float64(r.state.Epoch), float64(r.state.Step)
	r.logf("evaluation on %d pairs: text to image R@1 %.3f R@5 %.3f R@10 %.3f, image to text R@1 %.3f R@5 %.3f, loss %.4f", n,
		r.metrics["text_to_image_R@1"], r.metrics["text_to_image_R@5"], r.metrics["text_to_image_R@10"],
		r.metrics["image_to_text_R@1"], r.metrics["image_to_text_R@5"], r.metrics["clip_val_loss"])
	return r.records.result(r.metrics)
}
