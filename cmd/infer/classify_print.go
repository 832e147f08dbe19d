package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
)

// maxMatrix is how many classes a confusion matrix is printed for; of more, the pairs most often
// confused are.
const (
	maxMatrix   = 12
	maxConfused = 10
)

func (c *classification) print(w io.Writer, format string) error {
	switch format {
	case "json":
		return printJSON(w, c)
	case "csv":
		return c.printCSV(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "image")
	if c.confusion != nil {
		fmt.Fprint(t, "\ttruth")
	}
	fmt.Fprintln(t, "\tclasses")
	for _, image := range c.Images {
		fmt.Fprint(t, quoted(string(image.Path)))
		if c.confusion != nil {
			fmt.Fprintf(t, "\t%s", cell(image.Truth))
		}
		if image.Error != "" {
			fmt.Fprint(t, "\tcould not be read")
		}
		for _, g := range image.Top {
			shown := g.Prob
			if len(c.Labels) == 1 { // of one label the probability is 1, whatever the image
				shown = g.Cosine
			}
			fmt.Fprintf(t, "\t%s %.3f", cell(g.Label), shown)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil || c.Accuracy == nil {
		return err
	}
	return c.printAccuracy(w)
}

// printCSV has a row for each prediction, and one for each image that could not be read.
func (c *classification) printCSV(w io.Writer) error {
	rows := [][]string{{"path", "rank", "label", "cosine", "prob", "truth", "sorted", "error"}}
	for _, image := range c.Images {
		for i, g := range image.Top {
			rows = append(rows, []string{string(image.Path), strconv.Itoa(i + 1), g.Label, number(g.Cosine), number(g.Prob), image.Truth, string(image.Sorted), ""})
		}
		if image.Error != "" {
			rows = append(rows, []string{string(image.Path), "", "", "", "", image.Truth, "", image.Error})
		}
	}
	return csv.NewWriter(w).WriteAll(rows)
}

func (c *classification) printAccuracy(w io.Writer) error {
	a := c.Accuracy
	fmt.Fprintf(w, "\ntop-1 %.4f  top-5 %.4f  mean per class %.4f  (%d classes, %d images)\n", a.Top1, a.Top5, a.MeanPerClass, len(c.Labels), a.Images)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(c.Labels) > maxMatrix {
		if wrong := c.confused(maxConfused); len(wrong) > 0 {
			fmt.Fprintln(t, "\ntruth\ttaken for\timages")
			for _, pair := range wrong {
				fmt.Fprintf(t, "%s\t%s\t%d\n", cell(pair.Truth), cell(pair.Label), pair.Count)
			}
		}
		return t.Flush()
	}
	fmt.Fprint(t, "\ntruth, taken for")
	for _, label := range c.Labels {
		fmt.Fprintf(t, "\t%s", cell(label))
	}
	fmt.Fprintln(t)
	for i, row := range c.matrix() {
		fmt.Fprint(t, cell(c.Labels[i]))
		for _, n := range row {
			fmt.Fprintf(t, "\t%d", n)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// confused are the most frequent pairs of a class and another that it was taken for, more than
// once.
func (c *classification) confused(most int) []confusion {
	wrong := slices.DeleteFunc(slices.Clone(c.Accuracy.Confusion), func(cell confusion) bool { return cell.Truth == cell.Label || cell.Count < 2 })
	slices.SortStableFunc(wrong, func(a, b confusion) int { return cmp.Compare(b.Count, a.Count) })
	return wrong[:min(most, len(wrong))]
}

// matrix has a row for each class, and in it how many of its images were taken for each class.
func (c *classification) matrix() [][]int {
	rows := make([][]int, len(c.Labels))
	for i := range rows {
		rows[i] = make([]int, len(c.Labels))
	}
	for pair, count := range c.confusion.Counts() {
		rows[pair[0]][pair[1]] = count
	}
	return rows
}

// classPage is what a page shows of a classification.
type classPage struct {
	*classification
	Rows   []imageClass
	Beyond int // images that are not shown
}

// Wrong reports whether the image's class is known and was not the first prediction.
func (c imageClass) Wrong() bool { return c.Truth != "" && len(c.Top) > 0 && c.Top[0].Label != c.Truth }

// Matrix is empty for more classes than a page shows well.
func (p classPage) Matrix() [][]int {
	if p.Accuracy == nil || len(p.Labels) > 4*maxMatrix {
		return nil
	}
	return p.matrix()
}

// Confused returns the pairs most often confused.
func (p classPage) Confused() []confusion { return p.confused(4 * maxConfused) }

// writePage writes wrong predictions first, then by class, the surest first, and what cannot be read at
// the end.
func (c *classification) writePage(ctx context.Context, path string, errs io.Writer) error {
	p := classPage{classification: c, Rows: slices.Clone(c.Images)}
	slices.SortStableFunc(p.Rows, func(a, b imageClass) int {
		switch {
		case a.Wrong() != b.Wrong():
			if a.Wrong() {
				return -1
			}
			return 1
		case len(a.Top) == 0 || len(b.Top) == 0:
			return cmp.Compare(len(b.Top), len(a.Top))
		}
		return cmp.Or(cmp.Compare(a.Top[0].Label, b.Top[0].Label), cmp.Compare(b.Top[0].Prob, a.Top[0].Prob))
	})
	p.Beyond = max(len(p.Rows)-maxImages, 0)
	p.Rows = p.Rows[:len(p.Rows)-p.Beyond]
	return writePage(ctx, path, "classify", p, errs)
}
