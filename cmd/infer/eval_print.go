package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goclip/goclip/train/evaluate"
)

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
	t := csv.NewWriter(w)
	_ = t.Write(append([]string{"dataset", "model", "pretrained", "task", "language"}, names...)) // Error, below, has what failed
	for _, r := range results {
		row := []string{r.Dataset, r.Model, r.Pretrained, r.Task, r.Language}
		for _, name := range names {
			if x, known := r.Metrics[name]; known {
				row = append(row, fmt.Sprint(x))
			} else {
				row = append(row, "")
			}
		}
		_ = t.Write(row)
	}
	t.Flush()
	return t.Error()
}
