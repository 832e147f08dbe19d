package train

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
	"github.com/goclip/goclip/train/evaluate"
)

// cacheSize bounds the decoded images that are kept for later epochs, in bytes.
const cacheSize = 1 << 30

func (t *Trainer) openData(ctx context.Context) error {
	c := &t.c
	o, err := t.loading(ctx)
	if err != nil {
		return err
	}
	t.matchIDs = t.matchesIDs(t.data)
	augment, err := preprocess.NewTrainTransform(t.model.Preprocess, c.Augment)
	if err != nil {
		return c.errorf("{Augment}: %w", err)
	}
	o.Shuffle, o.DropLast, o.Transform, o.DrawCaption = !c.NoShuffle, true, augment.Apply, true
	o.Rank, o.World = t.group.Rank(), t.group.Size()
	o.NumSamples, o.Resampled, o.UpsamplingFactors = c.EpochSamples, c.Resample, c.UpsamplingFactors
	sources := 1
	if s, ok := t.data.(interface{ Parts() []int }); ok {
		sources = len(s.Parts())
	}
	if n := len(o.UpsamplingFactors); n > 0 && n != sources {
		return c.errorf("{UpsamplingFactors} has %d numbers and {Data} %d sources", n, sources)
	}
	if t.loader, err = data.NewLoader(t.data, &o); err != nil {
		return c.errorf("{Data}: %w", c.named(err))
	}
	t.noteData()
	return t.openEvaluation(ctx)
}

// openEvaluation makes ready what is evaluated on.
func (t *Trainer) openEvaluation(ctx context.Context) (err error) {
	if t.c.Val != nil {
		if t.val, err = evaluate.NewPairs(ctx, t.model, t.c.Val, t.evaluating()); err != nil {
			return t.c.errorf("{Val}: %w", t.c.named(err))
		}
	}
	if t.c.ZeroShot != nil {
		t.zeroshot, err = t.openZeroshot(ctx)
	}
	return err
}

// loading is what all loaders have in common.
func (t *Trainer) loading(ctx context.Context) (data.LoaderOptions, error) {
	tokenizer, err := t.model.Tokenizer(ctx)
	if err != nil {
		return data.LoaderOptions{}, err
	}
	size, length := t.model.Preprocess.Size, t.model.ContextLength()
	return data.LoaderOptions{
		BatchSize: t.c.BatchSize, Workers: t.c.Workers, Seed: t.c.Seed, Pixels: 3 * size[0] * size[1], CacheSize: cacheSize,
		Limits: preprocess.Limits{MaxPixels: t.c.MaxImagePixels, Orient: t.c.Orient},
		Tokenize: func(text string) []int64 {
			ids, _ := tokenizer.Tokenize(text, length)
			return ids
		},
	}, nil
}

// matchesIDs reports whether images of one ID, or of one class, and equal captions are the same in set.
func (t *Trainer) matchesIDs(set Dataset) bool {
	return t.c.IDTargets == "on" || t.c.IDTargets == "auto" && t.c.Loss == nil && hasClasses(set)
}

// plain is the model's transform without augmentation, for a loader.
func (t *Trainer) plain() (func([]float32, *preprocess.Image, *rand.Rand) error, error) {
	transform, err := t.model.Transform()
	if err != nil {
		return nil, err
	}
	return func(dst []float32, img *preprocess.Image, _ *rand.Rand) error { return transform.Apply(dst, img) }, nil
}

// hasClasses tells of samples that are known by their classes: images of one class have captions in
// common.
func hasClasses(set Dataset) bool {
	if s, ok := set.(interface{ Classes() bool }); ok {
		return s.Classes()
	}
	_, ok := set.(Classes)
	return ok
}

// named is an error of the data that names the field of Config which fixes it.
func (c *Config) named(err error) error {
	var option *data.OptionError
	if errors.As(err, &option) && option.Option == "BatchSize" {
		return &data.OptionError{Option: c.name("BatchSize"), Err: option.Err, Remedy: option.Remedy}
	}
	return err
}

func (t *Trainer) noteData() {
	note := func(format string, args ...any) {
		t.notes = append(t.notes, fmt.Sprintf(t.c.words("{Data}: "+format), args...))
	}
	if set, ok := t.data.(data.Index); ok {
		captions, empty := 0, 0
		for i := range set.Len() {
			own := set.Captions(i)
			captions += len(own)
			for _, c := range own {
				if strings.TrimSpace(c) == "" {
					empty++
				}
			}
		}
		if empty > 0 {
			note("%d of %d captions are empty and are learned as such", empty, captions)
		}
		if captions > set.Len() {
			note("%d images have %d captions; each epoch draws one of an image's", set.Len(), captions)
		}
	}
	if set, ok := t.data.(interface{ LeftOut() int }); ok && set.LeftOut() > 0 {
		note("%d samples are left out, which lack an image or a caption", set.LeftOut())
	}
}

// identify notes what the data is and, in a resumed run, refuses other data than it began with.
func (t *Trainer) identify(ctx context.Context) error {
	fingerprint, err := data.Fingerprint(ctx, t.data)
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if err != nil {
		return t.c.errorf("{Data}: %w", err)
	}
	print := strconv.FormatUint(fingerprint, 16)
	if t.state.Data != "" && t.state.Data != print {
		return t.c.errorf("{resume}: the images or captions of {Data} are not those that the run began with; a resumed run continues it exactly")
	}
	t.state.Data = print
	return nil
}
