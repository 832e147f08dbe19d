package train

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train/data"
)

// zeroshot is what --imagenet-val evaluates: labelled pictures, and the classes' names in prompts.
type zeroshot struct {
	set       *data.Folders
	loader    *data.Loader
	names     []string // of set.Classes()
	templates []string
}

func openZeroshot(ctx context.Context, o Options, loading data.LoaderOptions) (*zeroshot, error) {
	z := &zeroshot{}
	var err error
	if z.templates, err = clip.Templates(o.ZeroshotTemplates); err != nil {
		return nil, fmt.Errorf("--zeroshot-templates: %w", err)
	}
	if z.set, err = data.OpenFolders(ctx, o.ImageNetVal); err != nil {
		return nil, fmt.Errorf("--imagenet-val: %w", err)
	}
	if z.names, err = ClassNames(z.set.Classes()); err != nil {
		return nil, fmt.Errorf("--imagenet-val: %s: %w", o.ImageNetVal, err)
	}
	loading.Tokenize, loading.CacheSize = nil, 0 // pictures are seen too seldom to keep
	if z.loader, err = data.NewLoader(z.set, &loading); err != nil {
		return nil, fmt.Errorf("--imagenet-val: %w", err)
	}
	return z, nil
}

var wordNetID = regexp.MustCompile(`^n\d{8}$`)

// ClassNames are the names that folders stand for: n01440764 is ImageNet's tench, whichever of ImageNet's folders there
// are; 0 to 999, when those are the folders, are ImageNet's indices, as in ImageNetV2; grey_wolf is a grey wolf.
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

// Metrics of zero-shot classification. open_clip calls the first two imagenet-zeroshot-val-top1 and -top5, whatever
// --imagenet-val holds (open_clip_train/zero_shot.py); they stand under those names too.
const (
	zeroshotTop1   = "zeroshot-val-top1"
	zeroshotTop5   = "zeroshot-val-top5"
	zeroshotRecall = "zeroshot-val-mean-per-class-recall" // mean of the classes' shares of right first guesses
	zeroshotCount  = "zeroshot-val-num-samples"           // pictures that were read
	zeroshotBad    = "zeroshot-val-unreadable"            // pictures that were not, and do not count
)

// classify adds the zero-shot metrics on --imagenet-val to metrics. With fewer than five classes the top 5 is all of
// them.
func (r *run) classify(ctx context.Context, metrics map[string]float64) error {
	z := r.zeroshot
	r.logf("zero-shot: pictures %d, classes %d, templates %d", z.set.Len(), len(z.names), len(z.templates))
	classifier, err := r.model.Classifier(ctx, z.names, z.templates...)
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
		rows, err := r.model.ImageFeatures(b.Pixels, b.N)
		if err != nil {
			return fmt.Errorf("train: zero-shot: %w", err)
		}
		guesses, err := classifier.Top(slices.Collect(slices.Chunk(rows, r.model.Dim())), 5)
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
		return errors.New("train: --imagenet-val: none of its pictures can be read")
	}
	metrics[zeroshotTop1], metrics[zeroshotTop5] = seen.Top1(), seen.Top5()
	metrics["imagenet-"+zeroshotTop1], metrics["imagenet-"+zeroshotTop5] = metrics[zeroshotTop1], metrics[zeroshotTop5]
	metrics[zeroshotRecall] = seen.MeanPerClass()
	metrics[zeroshotCount], metrics[zeroshotBad] = float64(seen.N), float64(z.set.Len()-seen.N)
	r.logZeroshot(metrics)
	return nil
}

// logZeroshot sets the metrics beside those from before training, because fine-tuning may cost what the model knew.
func (r *run) logZeroshot(metrics map[string]float64) {
	say := func(m map[string]float64) string {
		return fmt.Sprintf("top-1 %.4f, top-5 %.4f, mean per class recall %.4f", m[zeroshotTop1], m[zeroshotTop5], m[zeroshotRecall])
	}
	unreadable := ""
	if bad := metrics[zeroshotBad]; bad > 0 {
		unreadable = fmt.Sprintf("; unreadable pictures, which do not count: %.0f", bad)
	}
	_, known := r.records.before[zeroshotTop1]
	switch {
	case r.state.Step == 0:
		r.logf("zero-shot before training: %s%s", say(metrics), unreadable)
	case known:
		r.logf("zero-shot after epoch %d: %s; before training: %s%s", r.state.Epoch, say(metrics), say(r.records.before), unreadable)
	default:
		r.logf("zero-shot after epoch %d: %s%s", r.state.Epoch, say(metrics), unreadable)
	}
}
