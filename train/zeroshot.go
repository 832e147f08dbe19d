package train

import (
	"context"
	"fmt"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train/evaluate"
)

// zeroshot is what Config.ZeroShot evaluates: labelled images, and the classes' names in prompts.
type zeroshot struct {
	*evaluate.Images
	names     []string // of Set.Classes()
	templates []string
}

func (t *Trainer) openZeroshot(ctx context.Context) (*zeroshot, error) {
	c := &t.c
	z := &zeroshot{templates: c.ZeroShotTemplates}
	var err error
	if len(z.templates) == 0 {
		if z.templates, err = clip.Templates(clip.ImageNet80); err != nil {
			return nil, c.errorf("{ZeroShotTemplates}: %w", err)
		}
	}
	if z.names, err = evaluate.ClassNames(c.ZeroShot.Classes()); err != nil {
		return nil, c.errorf("{ZeroShot}: %w", err)
	}
	o := t.evaluating()
	o.CacheSize = 0 // images are seen too seldom to keep
	if z.Images, err = evaluate.NewImages(ctx, t.model, c.ZeroShot, o); err != nil {
		return nil, c.errorf("{ZeroShot}: %w", c.named(err))
	}
	return z, nil
}

// Metrics of zero-shot classification. open_clip calls the first two imagenet-zeroshot-val-top1 and
// -top5, whatever the images are (open_clip_train/zero_shot.py); they stand under those names too.
const (
	zeroshotTop1   = "zeroshot-val-top1"
	zeroshotTop5   = "zeroshot-val-top5"
	zeroshotRecall = "zeroshot-val-mean-per-class-recall" // mean of the classes' fractions of right first predictions
	zeroshotCount  = "zeroshot-val-num-samples"           // images that were read
	zeroshotBad    = "zeroshot-val-unreadable"            // images that were not, and do not count
)

// classify adds the zero-shot metrics of m on Config.ZeroShot to metrics. With fewer than five
// classes the top 5 is all of them.
func (t *Trainer) classify(ctx context.Context, m *clip.Model, metrics Metrics) error {
	z := t.zeroshot
	t.watch.logf("zero-shot: images %d, classes %d, templates %d", z.Set.Len(), len(z.names), len(z.templates))
	classifier, err := m.Classifier(ctx, z.names, z.templates...)
	var r *evaluate.ZeroShot
	if err == nil {
		r, err = z.ZeroShot(ctx, m, classifier)
	}
	if err != nil {
		return t.failed(ctx, "ZeroShot", err)
	}
	metrics[zeroshotTop1], metrics[zeroshotTop5] = r.Top1(), r.Top5()
	metrics["imagenet-"+zeroshotTop1], metrics["imagenet-"+zeroshotTop5] = metrics[zeroshotTop1], metrics[zeroshotTop5]
	metrics[zeroshotRecall] = r.MeanPerClass()
	metrics[zeroshotCount], metrics[zeroshotBad] = float64(r.N), float64(r.Unreadable)
	t.logZeroshot(metrics)
	return nil
}

// logZeroshot sets the metrics beside those from before training, because fine-tuning may cost what
// the model knew.
func (t *Trainer) logZeroshot(metrics Metrics) {
	say := func(m Metrics) string {
		return fmt.Sprintf("top-1 %.4f, top-5 %.4f, mean per class recall %.4f", m[zeroshotTop1], m[zeroshotTop5], m[zeroshotRecall])
	}
	unreadable := ""
	if bad := metrics[zeroshotBad]; bad > 0 {
		unreadable = fmt.Sprintf("; unreadable images, which do not count: %.0f", bad)
	}
	_, known := t.watch.records.before[zeroshotTop1]
	switch {
	case t.total == 0: // Evaluate's
		t.watch.logf("zero-shot: %s%s", say(metrics), unreadable)
	case t.state.Step == 0:
		t.watch.logf("zero-shot before training: %s%s", say(metrics), unreadable)
	case known:
		t.watch.logf("zero-shot after epoch %d: %s; before training: %s%s", t.state.Epoch, say(metrics), say(t.watch.records.before), unreadable)
	default:
		t.watch.logf("zero-shot after epoch %d: %s%s", t.state.Epoch, say(metrics), unreadable)
	}
}

// ClassCaptions makes the captions of a folder of classes, for data.Options.Classes: the names of
// the classes put into templates, "a photo of a {}." without any.
func ClassCaptions(templates ...string) func(folders []string) ([][]string, error) {
	if len(templates) == 0 {
		templates = []string{"a photo of a {}."}
	}
	return func(folders []string) ([][]string, error) {
		names, err := evaluate.ClassNames(folders)
		if err != nil {
			return nil, err
		}
		out := make([][]string, len(names))
		for i, name := range names {
			for _, template := range templates {
				out[i] = append(out[i], strings.ReplaceAll(template, "{}", name))
			}
		}
		return out, nil
	}
}
