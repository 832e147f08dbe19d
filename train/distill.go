package train

import (
	"context"
	"fmt"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/torch"
)

// openTeacher opens --distill-model, which is frozen. It sees the run's pictures and tokens as they are, so it must want them so.
func (r *run) openTeacher(ctx context.Context) error {
	if r.o.DistillModel == "" {
		return nil
	}
	t, err := clip.Open(ctx, r.o.DistillModel, &clip.OpenOptions{Pretrained: r.o.DistillPretrained, Seed: r.o.Seed, Device: r.device, Fetch: r.report.Fetch})
	if err != nil {
		return fmt.Errorf("train: --distill-model: %w", err)
	}
	mine, theirs := r.model.Preprocess, t.Preprocess
	fault := ""
	switch {
	case mine.Size != theirs.Size:
		fault = fmt.Sprintf("pictures of %v pixels, not %v", theirs.Size, mine.Size)
	case mine.Mean != theirs.Mean || mine.Std != theirs.Std:
		fault = "pictures of another mean and standard deviation"
	case r.model.ContextLength() != t.ContextLength():
		fault = fmt.Sprintf("texts of %d tokens, not %d", t.ContextLength(), r.model.ContextLength())
	case r.model.Config.Text.VocabSize != t.Config.Text.VocabSize:
		fault = fmt.Sprintf("a vocabulary of %d tokens, not %d", t.Config.Text.VocabSize, r.model.Config.Text.VocabSize)
	}
	if fault != "" {
		return optionsError{fmt.Errorf("train: --distill-model %s wants %s, as the trained model has; take another, or --force-image-size, --force-context-length, --image-mean, --image-std", r.o.DistillModel, fault)}
	}
	if err := r.precision.convert(t); err != nil {
		return err
	}
	r.teacher = t
	return nil
}

// teach gives the loss the teacher's features of the micro-batches.
func (r *run) teach(s *torch.Scope, p *loss.Pairs, micros []*micro) {
	if r.teacher == nil {
		return
	}
	var images, texts []*torch.Tensor
	for _, m := range micros {
		s.NoGrad(func(s *torch.Scope) {
			pixels, _ := r.onDevice(s, m)
			images = append(images, torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return r.teacher.EncodeImage(x).Normalize(1) }, pixels).Keep())
			texts = append(texts, torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return r.teacher.EncodeText(x).Normalize(1) }, s.Alias(m.tokens)).Keep())
		})
	}
	p.Teacher = &loss.Teacher{Images: cat(s, images), Texts: cat(s, texts), Scale: s.Alias(r.teacher.LogitScale).Exp().Detach().Reshape()}
}
