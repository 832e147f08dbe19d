package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

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

// evalColumns are the metrics of each task in tables, with the columns' names.
var evalColumns = map[string][][2]string{
	evaluate.TaskRetrieval: {{"text_to_image_R@1", "text to image R@1"}, {"text_to_image_R@5", "R@5"}, {"text_to_image_R@10", "R@10"},
		{"text_to_image_mean_rank", "mean rank"}, {"image_to_text_R@1", "image to text R@1"}, {"image_to_text_R@5", "R@5"},
		{"image_to_text_R@10", "R@10"}, {"image_to_text_mean_rank", "mean rank"}, {"num_samples", "images"}, {"num_texts", "texts"}},
	evaluate.TaskZeroShot: {{"acc1", "top-1"}, {"acc5", "top-5"}, {"mean_per_class_recall", "mean per class"}, {"num_samples", "images"}, {"num_classes", "classes"}},
	evaluate.TaskProbe: {{"lp_acc1", "top-1"}, {"lp_acc5", "top-5"}, {"lp_mean_per_class_recall", "mean per class"}, {"weight_decay", "weight decay"},
		{"num_train_samples", "training images"}, {"num_samples", "images"}},
}

// printResults prints a table for each task, or CSV with a column for each metric.
func printResults(w io.Writer, format string, results []evaluate.Result) error {
	if format == "csv" {
		return printResultsCSV(w, results)
	}
	first := true
	for _, task := range []string{evaluate.TaskZeroShot, evaluate.TaskRetrieval, evaluate.TaskProbe} {
		of := slices.DeleteFunc(slices.Clone(results), func(r evaluate.Result) bool { return r.Task != task })
		if len(of) == 0 {
			continue
		}
		if !first {
			fmt.Fprintln(w)
		}
		first = false
		fmt.Fprintln(w, task)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprint(t, "model\tdata")
		for _, column := range evalColumns[task] {
			fmt.Fprintf(t, "\t%s", column[1])
		}
		fmt.Fprintln(t)
		for _, r := range of {
			fmt.Fprintf(t, "%s\t%s", modelName(r), r.Dataset)
			for _, column := range evalColumns[task] {
				fmt.Fprintf(t, "\t%s", tableNumber(r.Metrics, column[0]))
			}
			fmt.Fprintln(t)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func modelName(r evaluate.Result) string {
	if r.Pretrained == "" {
		return r.Model
	}
	return r.Model + ":" + r.Pretrained
}

// tableNumber has four digits, as many as tell of an accuracy, and none for counts.
func tableNumber(metrics evaluate.Metrics, name string) string {
	x, known := metrics[name]
	switch {
	case !known:
		return "-"
	case strings.HasPrefix(name, "num_"):
		return fmt.Sprint(int(x))
	case strings.HasSuffix(name, "_rank"):
		return fmt.Sprintf("%.1f", x)
	case name == "weight_decay":
		return fmt.Sprintf("%.3g", x)
	}
	return fmt.Sprintf("%.4f", x)
}

// printResultsCSV has a row for each result, as CLIP_benchmark's command build makes them.
func printResultsCSV(w io.Writer, results []evaluate.Result) error {
	all := map[string]bool{}
	for _, r := range results {
		for name := range r.Metrics {
			all[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(all))
	table := [][]string{append([]string{"dataset", "model", "pretrained", "task", "language"}, names...)}
	for _, r := range results {
		row := []string{r.Dataset, r.Model, r.Pretrained, r.Task, r.Language}
		for _, name := range names {
			if x, known := r.Metrics[name]; known {
				row = append(row, fmt.Sprint(x))
			} else {
				row = append(row, "")
			}
		}
		table = append(table, row)
	}
	return csv.NewWriter(w).WriteAll(table)
}
