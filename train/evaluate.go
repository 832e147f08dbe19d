package train

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/train/evaluate"
)

// Metrics are figures under open_clip's names: image_to_text_R@1, text_to_image_mean_rank,
// clip_val_loss and so on.
type Metrics = evaluate.Metrics

// Evaluate returns how well images and texts of d find each other: [evaluate.Retrieval]'s metrics, of
// which clip_val_loss, the mean of the batches' losses, depends on BatchSize. Equal captions are
// judged as equal where Config.IDTargets matches them. Of several processes, which all call it, the
// first evaluates and has the metrics.
func (t *Trainer) Evaluate(ctx context.Context, d Dataset) (Metrics, error) {
	if ctx == nil {
		return nil, errNoContext
	}
	metrics := Metrics{}
	err := t.alone(func() error {
		once := t.evaluating()
		once.CacheSize = 0
		pairs, err := evaluate.NewPairs(ctx, t.model, d, once)
		if err != nil {
			return t.c.errorf("evaluation: %w", t.c.named(err))
		}
		return t.retrieve(ctx, t.model, pairs, metrics)
	})
	if errors.Is(err, ErrInterrupted) {
		return nil, context.Cause(ctx) // nothing was written
	}
	if err != nil {
		return nil, t.fail(err)
	}
	return metrics, nil
}

// Evaluate returns what m reaches on c's Val and ZeroShot, evaluated as a run evaluates: the metrics of
// its results.jsonl. It writes nothing. When ctx ends, its error is returned.
func Evaluate(ctx context.Context, m *clip.Model, c *Config) (metrics Metrics, err error) {
	switch {
	case ctx == nil:
		return nil, errNoContext
	case m == nil || c == nil || c.Val == nil && c.ZeroShot == nil:
		return nil, errors.New("train: Evaluate takes a model and a Config with Val or ZeroShot")
	}
	own := *c
	own.Dir, own.TensorBoard, own.MetricsAddr = "", false, ""
	t, err := prepare(&own, disk.Machine{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	t.c, _ = t.c.filled(m.Trained())
	t.model, t.device = m, m.Device()
	if err := t.openEvaluation(ctx); err != nil {
		return nil, err
	}
	metrics = Metrics{}
	err = t.measureModel(ctx, m, t.zeroshot != nil, t.val != nil, metrics)
	if errors.Is(err, ErrInterrupted) {
		err = context.Cause(ctx)
	}
	for _, source := range t.sources() {
		for _, b := range source.loader.Bad() {
			t.watch.logf("could not be read: %s: %s", b.Key, t.c.reason(b.Err))
		}
	}
	return metrics, err
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

// measureModel adds zero-shot and retrieval metrics of m to metrics, if they are asked for.
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

// due reports whether what happens every so many epochs, and at the end, happens now.
func (t *Trainer) due(every int) bool {
	return every > 0 && (t.state.Epoch%every == 0 || t.state.Step >= t.total)
}

// retrieve adds open_clip's validation metrics on pairs to metrics.
func (t *Trainer) retrieve(ctx context.Context, m *clip.Model, pairs *evaluate.Pairs, metrics Metrics) error {
	r, err := pairs.Retrieval(ctx, m)
	if err != nil {
		return t.failed(ctx, "Val", err)
	}
	maps.Copy(metrics, r.Metrics(t.matchesIDs(pairs.Set)))
	t.watch.logf("evaluation on %d pairs: text to image R@1 %.3f R@5 %.3f R@10 %.3f, image to text R@1 %.3f R@5 %.3f, loss %.4f", r.Images,
		metrics["text_to_image_R@1"], metrics["text_to_image_R@5"], metrics["text_to_image_R@10"],
		metrics["image_to_text_R@1"], metrics["image_to_text_R@5"], metrics["clip_val_loss"])
	return nil
}

// failed is the error of an evaluation of the data that a field of Config names.
func (t *Trainer) failed(ctx context.Context, field string, err error) error {
	switch {
	case ctx.Err() != nil:
		return ErrInterrupted
	case errors.Is(err, evaluate.ErrUnreadable):
		return t.c.errorf("{"+field+"}: %w", err)
	}
	return fmt.Errorf("train: evaluation: %w", err)
}

// evaluating says how data is read that is evaluated on.
func (t *Trainer) evaluating() *evaluate.Options {
	kept := int64(cacheSize)
	if t.loader == nil { // Evaluate's, which reads each image once
		kept = 0
	}
	return &evaluate.Options{BatchSize: t.c.BatchSize, Workers: t.c.Workers, MaxPixels: t.c.MaxImagePixels, Orient: t.c.Orient, CacheSize: kept}
}
