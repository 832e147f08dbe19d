package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/goclip/goclip/clip"
)

type scoreCmd struct {
	modelFlags
	orientFlag
	framesFlag
	skipFlags
	Image  []string `help:"Images and directories; directories are searched recursively, hidden files are skipped." sep:"none" placeholder:"PATH"`
	Text   []string `help:"Text to compare; repeat it for more." sep:"none" complete:"none"`
	Texts  string   `help:"File with one text per line, or - for stdin." placeholder:"FILE"`
	Format string   `help:"table, json or csv." default:"table" enum:"table,json,csv"`
	Paths  []string `arg:"" optional:"" help:"More images and directories."`
}

// scores is the JSON that score prints.
type scores struct {
	Model      string       `json:"model"`
	LogitScale float64      `json:"logit_scale"`
	Texts      []string     `json:"texts"`
	Images     []imageScore `json:"images"`

	Skipped map[string]int `json:"skipped,omitempty"` // files of directories that are no images, by kind
}

type imageScore struct {
	Path   fileName  `json:"path"`
	Cosine []float64 `json:"cosine,omitempty"`
	Prob   []float64 `json:"prob,omitempty"` // softmax over the texts of logit_scale * cosine
	Error  string    `json:"error,omitempty"`
}

func (*scoreCmd) Help() string {
	return `Examples:

  infer score --image dog.png --image car.png --text "A cute dog" --text "A fast car"
  infer score --texts labels.txt --format csv photos/*.jpg
  infer score --model ViT-B-32 --pretrained openai --text "a diagram" figure.png`
}

func (c *scoreCmd) Run(ctx context.Context, io *streams) error {
	texts, paths := c.Text, append(c.Image, c.Paths...)
	if c.Texts != "" {
		lines, err := readLines("--texts", c.Texts, io.in, io.err)
		if err != nil {
			return err
		}
		texts = append(texts, lines...)
	}
	if len(paths) == 0 {
		return usageError("score: no image: give --image PATH; infer score --help lists the flags")
	}
	if len(texts) == 0 {
		return usageError("score: no text: give --text TEXT or --texts FILE; infer score --help lists the flags")
	}
	if err := c.framesFlag.check(io.err); err != nil {
		return err
	}
	skipped := skips{verbose: c.Verbose, errs: io.err}
	images, err := listImages(ctx, paths, c.framesFlag, &skipped, nil)
	if err != nil {
		return err
	}
	m, err := c.openFor(ctx, io, images)
	if err != nil {
		return err
	}
	warnLanguage(m, texts, io.err)
	scale, err := m.Scale()
	if err != nil {
		return err
	}
	e := clip.Encoder{Model: m, BatchSize: c.BatchSize, Orient: !c.NoOrient, Cut: warnCut(m, io.err)}
	var words [][]float32
	for row, err := range e.Texts(ctx, slices.Values(texts)) {
		if err != nil {
			return err
		}
		words = append(words, row)
	}
	out := scores{Model: m.Name, LogitScale: scale, Texts: texts, Skipped: skipped.kinds}
	failed := 0
	for row, err := range e.Images(ctx, clip.FromFiles(images...)) {
		if err != nil && !errors.As(err, new(*clip.ImageError)) {
			return err
		}
		s := imageScore{Path: fileName(images[len(out.Images)])}
		if err != nil {
			failed++
			s.Error = err.Error()
			fmt.Fprintln(io.err, message(err))
		} else {
			for _, text := range words {
				s.Cosine = append(s.Cosine, clip.Cosine(row, text))
			}
			s.Prob = clip.Softmax(s.Cosine, scale)
		}
		out.Images = append(out.Images, s)
	}
	if err := out.print(io.out, c.Format); err != nil {
		return err
	}
	if len(texts) == 1 && c.Format == "table" {
		fmt.Fprintln(io.err, "infer: one text alone gives a cosine; a probability needs two to compare, such as --text \"something else\"")
	}
	skipped.tell(failed)
	if failed+skipped.problems > 0 {
		return errReported
	}
	return nil
}

// scoreColumns is the header of score --format csv, which report reads.
var scoreColumns = []string{"path", "text", "cosine", "prob", "error"}

func (s *scores) print(w io.Writer, format string) error {
	switch format {
	case "json":
		return printJSON(w, s)
	case "csv":
		rows := [][]string{scoreColumns}
		for _, image := range s.Images {
			for i := range image.Prob {
				rows = append(rows, []string{string(image.Path), s.Texts[i], number(image.Cosine[i]), number(image.Prob[i]), ""})
			}
			if image.Error != "" {
				rows = append(rows, []string{string(image.Path), "", "", "", image.Error})
			}
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "image")
	for _, text := range s.Texts {
		fmt.Fprintf(t, "\t%s", cell(text))
	}
	fmt.Fprintln(t)
	for _, image := range s.Images {
		fmt.Fprint(t, quoted(string(image.Path)))
		shown := image.Prob
		if len(s.Texts) == 1 { // of one text the probability is 1, whatever the image
			shown = image.Cosine
		}
		for _, p := range shown {
			fmt.Fprintf(t, "\t%.3f", p)
		}
		if image.Error != "" {
			fmt.Fprint(t, "\tcould not be read")
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 8, 64) }
