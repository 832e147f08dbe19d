package train

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train/data"
)

// zeroshot is what Config.ZeroShot evaluates: labelled images, and the classes' names in prompts.
type zeroshot struct {
	set       Classes
	loader    *data.Loader
	names     []string // of set.Classes()
	templates []string
}

func (t *Trainer) openZeroshot(ctx context.Context) (*zeroshot, error) {
	c := &t.c
	z := &zeroshot{set: c.ZeroShot, templates: c.ZeroShotTemplates}
	var err error
	if len(z.templates) == 0 {
		if z.templates, err = clip.Templates("openai_imagenet_80"); err != nil {
			return nil, c.errorf("{ZeroShotTemplates}: %w", err)
		}
	}
	if z.names, err = ClassNames(z.set.Classes()); err != nil {
		return nil, c.errorf("{ZeroShot}: %w", err)
	}
	o, err := t.loading(ctx)
	if err != nil {
		return nil, err
	}
	if o.Transform, err = t.plain(); err != nil {
		return nil, err
	}
	o.SkipBad, o.Tokenize, o.CacheSize = true, nil, 0 // images are seen too seldom to keep
	if z.loader, err = data.NewLoader(z.set, &o); err != nil {
		return nil, c.errorf("{ZeroShot}: %w", c.named(err))
	}
	return z, nil
}

var wordNetID = regexp.MustCompile(`^n\d{8}$`)

// ClassNames are the names that folders stand for: n01440764 is ImageNet's tench, whichever of
// ImageNet's folders there are; 0 to 999, when those are the folders, are ImageNet's indices, as in
// ImageNetV2; grey_wolf is a grey wolf.
func ClassNames(folders []string) ([]string, error) {
	imagenet := clip.ImageNetClasses()
	byID := map[string]string{}
	for _, c := range imagenet {
		byID[c.WordNetID] = c.Name
	}
	indices := len(folders) == len(imagenet) && !slices.ContainsFunc(folders, func(folder string) bool {
		i, err := strconv.Atoi(folder)
		return err != nil || i < 0 || i >= len(imagenet)
	})
	names := make([]string, len(folders))
	for i, folder := range folders {
		switch {
		case indices:
			index, _ := strconv.Atoi(folder)
			names[i] = imagenet[index].Name
		case wordNetID.MatchString(folder):
			if names[i] = byID[folder]; names[i] == "" {
				return nil, fmt.Errorf("the folder %s is named like a class of ImageNet and is none of its 1,000: name it by what its pictures show", folder)
			}
		default:
			if names[i] = strings.TrimSpace(strings.ReplaceAll(folder, "_", " ")); names[i] == "" {
				return nil, fmt.Errorf("the folder %q gives its class no name", folder)
			}
		}
	}
	return names, nil
}

// Metrics of zero-shot classification. open_clip calls the first two imagenet-zeroshot-val-top1 and
// -top5, whatever the images are (open_clip_train/zero_shot.py); they stand under those names too.
const (
	zeroshotTop1   = "zeroshot-val-top1"
	zeroshotTop5   = "zeroshot-val-top5"
	zeroshotRecall = "zeroshot-val-mean-per-class-recall" // mean of the classes' shares of right first guesses
	zeroshotCount  = "zeroshot-val-num-samples"           // pictures that were read
	zeroshotBad    = "zeroshot-val-unreadable"            // pictures that were not, and do not count
)

// classify adds the zero-shot metrics of m on Config.ZeroShot to metrics. With fewer than five
// classes the top 5 is all of them.
func (t *Trainer) classify(ctx context.Context, m *clip.Model, metrics Metrics) error {
	z := t.zeroshot
	t.watch.logf("zero-shot: pictures %d, classes %d, templates %d", z.set.Len(), len(z.names), len(z.templates))
	classifier, err := m.Classifier(ctx, z.names, z.templates...)
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if err != nil {
		return fmt.Errorf("train: zero-shot: %w", err)
	}
	seen := clip.NewConfusion(len(z.names))
	for b, err := range z.loader.Epoch(ctx, 0, 0) {
		if ctx.Err() != nil {
			return ErrInterrupted
		}
		if err != nil {
			return err
		}
		if b.N == 0 {
			continue
		}
		rows, err := m.ImageFeatures(b.Pixels, b.N)
		if err != nil {
			return fmt.Errorf("train: zero-shot: %w", err)
		}
		guesses, err := classifier.Top(slices.Collect(slices.Chunk(rows, m.Dim())), 5)
		if err != nil {
			return fmt.Errorf("train: zero-shot: %w", err)
		}
		for i, top := range guesses {
			seen.Add(z.set.Class(b.Samples[i]), top)
		}
	}
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if seen.N == 0 {
		return t.c.errorf("{ZeroShot}: none of its pictures can be read")
	}
	metrics[zeroshotTop1], metrics[zeroshotTop5] = seen.Top1(), seen.Top5()
	metrics["imagenet-"+zeroshotTop1], metrics["imagenet-"+zeroshotTop5] = metrics[zeroshotTop1], metrics[zeroshotTop5]
	metrics[zeroshotRecall] = seen.MeanPerClass()
	metrics[zeroshotCount], metrics[zeroshotBad] = float64(seen.N), float64(z.set.Len()-seen.N)
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
		unreadable = fmt.Sprintf("; unreadable pictures, which do not count: %.0f", bad)
	}
	_, known := t.watch.records.before[zeroshotTop1]
	switch {
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
		names, err := ClassNames(folders)
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
