package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/train/data"
	"github.com/goclip/goclip/train/evaluate"
)

// evaluate is what m reaches on the set, and how many of its images cannot be read.
func (c *evalCmd) evaluate(ctx context.Context, m *clip.Model, s *evalSet, errs io.Writer) (r evaluate.Result, bad int, err error) {
	r.Task = s.task
	switch s.task {
	case evaluate.TaskRetrieval:
		r.Metrics, bad, err = c.retrieval(ctx, m, s, errs)
	case evaluate.TaskZeroShot:
		r.Metrics, bad, err = c.zeroShot(ctx, m, s, errs)
	default:
		r.Metrics, bad, err = c.probe(ctx, m, s, errs)
	}
	return r, bad, err
}

// reading says how n images are read, and shows how far that is until it is closed.
func (c *evalCmd) reading(errs io.Writer, n int) (*evaluate.Options, *progress) {
	show := newProgress(errs, "images", n)
	return &evaluate.Options{BatchSize: c.BatchSize, Orient: c.Orient, Workers: runtime.GOMAXPROCS(0), Seen: func(images int) {
		for range images {
			show.add(false)
		}
	}}, show
}

func (c *evalCmd) retrieval(ctx context.Context, m *clip.Model, s *evalSet, errs io.Writer) (evaluate.Metrics, int, error) {
	o, show := c.reading(errs, s.pairs.Len())
	defer show.close()
	pairs, err := evaluate.NewPairs(ctx, m, s.pairs, o)
	if err != nil {
		return nil, 0, err
	}
	r, err := pairs.Retrieval(ctx, m)
	if err != nil {
		return nil, 0, err
	}
	metrics := r.Metrics(true)
	maps.Copy(metrics, r.Benchmark())
	metrics["num_texts"], metrics["num_repeated"] = float64(r.Texts), float64(r.Repeated)
	return metrics, tellBad(errs, pairs.Bad()), nil
}

func (c *evalCmd) zeroShot(ctx context.Context, m *clip.Model, s *evalSet, errs io.Writer) (evaluate.Metrics, int, error) {
	cache := clip.ClassifierCache{}
	if dir := pretrained.CacheDir(); dir != "" {
		cache.Dir = filepath.Join(dir, "classifiers")
	}
	classifier, _, err := cache.Classifier(ctx, m, s.names, s.templates)
	if err != nil {
		return nil, 0, err
	}
	o, show := c.reading(errs, s.images.Len())
	defer show.close()
	images, err := evaluate.NewImages(ctx, m, s.images, o)
	if err != nil {
		return nil, 0, err
	}
	z, err := images.ZeroShot(ctx, m, classifier)
	if err != nil {
		return nil, 0, err
	}
	metrics := z.Benchmark()
	metrics["num_samples"], metrics["num_classes"] = float64(z.N), float64(z.Classes)
	return metrics, tellBad(errs, images.Bad()), nil
}

func (c *evalCmd) probe(ctx context.Context, m *clip.Model, s *evalSet, errs io.Writer) (metrics evaluate.Metrics, bad int, err error) {
	training, unread, err := c.features(ctx, m, s.training, errs)
	if err != nil {
		return nil, 0, err
	}
	test, more, err := c.features(ctx, m, s.images, errs)
	if err != nil {
		return nil, 0, err
	}
	o := evaluate.ProbeOptions{LR: c.LR, Epochs: c.Epochs, WeightDecay: c.WD, Shots: c.Shots, BatchSize: c.ProbeBatchSize, Seed: c.Seed, Device: m.Device()}
	r, err := evaluate.LinearProbe(training, test, o)
	if err != nil {
		return nil, 0, err
	}
	metrics = r.Benchmark(o)
	metrics["num_samples"], metrics["num_train_samples"] = float64(len(test.Classes)), float64(len(training.Classes))
	return metrics, unread + more, nil
}

// features encodes labelled images.
func (c *evalCmd) features(ctx context.Context, m *clip.Model, set evaluate.Classes, errs io.Writer) (rows evaluate.Labelled, bad int, err error) {
	o, show := c.reading(errs, set.Len())
	defer show.close()
	images, err := evaluate.NewImages(ctx, m, set, o)
	if err != nil {
		return rows, 0, err
	}
	if rows, err = images.Features(ctx, m); err != nil {
		return rows, 0, err
	}
	return rows, tellBad(errs, images.Bad()), nil
}

// tellBad tells of images that could not be read, and counts them.
func tellBad(errs io.Writer, bad []data.Bad) int {
	for _, b := range bad {
		fmt.Fprintf(errs, "infer: %s: %v\n", b.Key, b.Err)
	}
	return len(bad)
}
