// Package evaluate measures models on data sets: retrieval, zero-shot classification and linear
// probes, with the figures of open_clip and of CLIP_benchmark.
//
// [NewPairs] and [NewImages] make a data set ready for models of one input size. It then evaluates
// any number of them, as [train.Trainer] does after each epoch.
//
// [train.Trainer]: https://pkg.go.dev/github.com/goclip/goclip/train#Trainer
package evaluate

import (
	"context"
	"math/rand/v2"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// Metrics are figures by their names.
type Metrics map[string]float64

// Options say how a data set is read. The zero value is the defaults.
type Options struct {
	BatchSize int              // images that are encoded at once, by which clip_val_loss differs; 0 stands for 64
	Workers   int              // goroutines that decode images; 0 stands for 4
	MaxPixels int64            // of an image, larger ones being unreadable; 0 stands for 178,956,970
	Orient    bool             // turn images upright by their EXIF orientation, which open_clip does not
	CacheSize int64            // bytes of decoded images to keep for the next evaluation
	Seen      func(images int) // hears of the images that were encoded; nil: nobody does
}

// filled has the defaults in fields that are zero.
func (o *Options) filled() Options {
	var out Options
	if o != nil {
		out = *o
	}
	if out.BatchSize == 0 {
		out.BatchSize = 64
	}
	if out.Workers == 0 {
		out.Workers = 4
	}
	if out.MaxPixels == 0 {
		out.MaxPixels = 178_956_970 // Pillow's
	}
	if out.Seen == nil {
		out.Seen = func(int) {}
	}
	return out
}

// newLoader makes batches of d, in its order and without augmentation. An image that cannot be read
// is left out: another in its place would count twice.
func newLoader(ctx context.Context, m *clip.Model, d data.Dataset, o Options, captions bool) (*data.Loader, error) {
	transform, err := m.Transform()
	if err != nil {
		return nil, err
	}
	l := data.LoaderOptions{BatchSize: o.BatchSize, Workers: o.Workers, SkipBad: true, Pixels: transform.Len(), CacheSize: o.CacheSize,
		Limits:    preprocess.Limits{MaxPixels: o.MaxPixels, Orient: o.Orient},
		Transform: func(dst []float32, img *preprocess.Image, _ *rand.Rand) error { return transform.Apply(dst, img) },
	}
	if captions {
		tokenizer, err := m.Tokenizer(ctx)
		if err != nil {
			return nil, err
		}
		l.Tokenize = func(text string) []int64 {
			ids, _ := tokenizer.Tokenize(text, m.ContextLength())
			return ids
		}
	}
	return data.NewLoader(d, &l)
}

// batches calls f with each batch that has images.
func batches(ctx context.Context, loader *data.Loader, o Options, f func(b *data.Batch) error) error {
	for b, err := range loader.Epoch(ctx, 0, 0) {
		if err == nil && b.N > 0 {
			err = f(b)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		o.Seen(b.N)
	}
	return ctx.Err()
}
