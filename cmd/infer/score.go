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
	Image  []string `help:"Pictures." sep:"none" placeholder:"PATH"`
	Text   []string `help:"Texts." sep:"none" complete:"none"`
	Texts  string   `help:"File with a text per line, or - for stdin." placeholder:"FILE"`
	Format string   `help:"table, json or csv." default:"table" enum:"table,json,csv"`
	Paths  []string `arg:"" optional:"" help:"More pictures."`
}

// scores is the JSON that score prints.
type scores struct {
	Model      string       `json:"model"`
	LogitScale float64      `json:"logit_scale"`
	Texts      []string     `json:"texts"`
	Images     []imageScore `json:"images"`
}

type imageScore struct {
	Path   string    `json:"path"`
	Cosine []float64 `json:"cosine,omitempty"`
	Prob   []float64 `json:"prob,omitempty"` // softmax over the texts of logit_scale * cosine
	Error  string    `json:"error,omitempty"`
}

func (*scoreCmd) Help() string {
	return `  infer score --image dog.png --image car.png --text "A cute dog" --text "A fast car"
  infer score --texts labels.txt --format csv photos/*.jpg
  infer score --model ViT-B-32 --pretrained openai --text "a diagram" figure.png`
}

func (c *scoreCmd) Run(ctx context.Context, io *streams) error {
	texts, images := c.Text, append(c.Image, c.Paths...)
	if c.Texts != "" {
		lines, err := readLines("--texts", c.Texts, io.in)
		if err != nil {
			return err
		}
		texts = append(texts, lines...)
	}
	if len(images) == 0 {
		return usageError("score: no picture: give --image PATH; infer score --help lists the flags")
	}
	if len(texts) == 0 {
		return usageError("score: no text: give --text TEXT or --texts FILE; infer score --help lists the flags")
	}
	m, err := c.open(ctx, io.err)
	if err != nil {
		return err
	}
	scale, err := m.Scale()
	if err != nil {
		return err
	}
	e := clip.Encoder{Model: m, BatchSize: c.BatchSize, Cut: warnCut(m, io.err)}
	var words [][]float32
	for row, err := range e.Texts(ctx, slices.Values(texts)) {
		if err != nil {
			return err
		}
		words = append(words, row)
	}
	out := scores{Model: m.Name, LogitScale: scale, Texts: texts}
	failed := false
	for row, err := range e.Images(ctx, clip.FromFiles(images...)) {
		if err != nil && !errors.As(err, new(*clip.ImageError)) {
			return err
		}
		s := imageScore{Path: images[len(out.Images)]}
		if err != nil {
			failed = true
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
	if failed {
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
		t := csv.NewWriter(w)
		_ = t.Write(scoreColumns) // Error, below, has what failed
		for _, image := range s.Images {
			for i := range image.Prob {
				_ = t.Write([]string{image.Path, s.Texts[i], number(image.Cosine[i]), number(image.Prob[i]), ""})
			}
			if image.Error != "" {
				_ = t.Write([]string{image.Path, "", "", "", image.Error})
			}
		}
		t.Flush()
		return t.Error()
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "picture")
	for _, text := range s.Texts {
		fmt.Fprintf(t, "\t%s", text)
	}
	fmt.Fprintln(t)
	for _, image := range s.Images {
		fmt.Fprint(t, image.Path)
		for _, p := range image.Prob {
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
