package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/internal/disk"
)

type explainCmd struct {
	modelFlags
	Image  string `help:"Image to explain." required:"" placeholder:"PATH"`
	Text   string `help:"Text to locate." required:"" complete:"none"`
	Method string `help:"windows encodes parts of the image; values and gradient look inside the image tower and are forty times faster." default:"windows" enum:"windows,values,gradient"`
	Out    string `help:"Write the image as a PNG, darkened where it does not match the text." placeholder:"FILE"`
	Format string `help:"table or json." default:"table" enum:"table,json"`
	orientFlag
}

func (*explainCmd) Help() string {
	return `Examples:

  infer explain --image street.jpg --text "a bicycle" --out bicycle.png
  infer explain --image street.jpg --text "a bicycle" --method gradient --format json`
}

// explained is the JSON that explain prints.
type explained struct {
	Model  string      `json:"model"`
	Image  string      `json:"image"`
	Text   string      `json:"text"`
	Method string      `json:"method"`
	Cosine float64     `json:"cosine"` // of the whole image with the text
	Size   [2]int      `json:"size"`   // width and height of the image in pixels
	Region [4]float64  `json:"region"` // x0, y0, x1, y1: what the map covers, in pixels of the image
	Map    [][]float64 `json:"map"`    // row by row from the top
}

func (c *explainCmd) Run(ctx context.Context, io *streams) error {
	method, err := clip.ParseExplainMethod(c.Method)
	if err != nil {
		return usageError("explain: --method: " + err.Error())
	}
	m, err := c.open(ctx, io.err)
	if err != nil {
		return err
	}
	source, lim := clip.FromFile(c.Image), preprocess.Limits{Orient: !c.NoOrient}
	e, err := m.Explain(ctx, source, c.Text, &clip.ExplainOptions{Method: method, Limits: lim})
	if err != nil {
		return err
	}
	if c.Out != "" {
		if err := c.overlay(ctx, source, lim, e); err != nil {
			return err
		}
	}
	if c.Format == "json" {
		return printJSON(io.out, explained{m.Name, c.Image, c.Text, c.Method, e.Cosine, e.Size, e.Region, e.Map})
	}
	return printExplained(io.out, e)
}

// overlay writes the PNG whole or not at all.
func (c *explainCmd) overlay(ctx context.Context, source clip.ImageSource, lim preprocess.Limits, e *clip.Explanation) error {
	img, err := source.Decode(ctx, lim)
	if err != nil {
		return err
	}
	data, err := overlayPNG(img, e)
	if err != nil {
		return err
	}
	out := newOutput(disk.Machine{}, c.Out)
	files := outputs{out}
	defer files.discard()
	out.write(data)
	return files.commit()
}

// printExplained prints the cosine and the middle of what speaks most for the text.
func printExplained(w io.Writer, e *clip.Explanation) error {
	best := math.Inf(-1)
	for _, row := range e.Map {
		best = max(best, slices.Max(row))
	}
	var x, y, n float64
	for i, row := range e.Map {
		for j, v := range row {
			if v == best {
				x, y, n = x+float64(j)+.5, y+float64(i)+.5, n+1
			}
		}
	}
	x = e.Region[0] + x/n/float64(len(e.Map[0]))*(e.Region[2]-e.Region[0])
	y = e.Region[1] + y/n/float64(len(e.Map))*(e.Region[3]-e.Region[1])
	_, err := fmt.Fprintf(w, "cosine  most at\n%.3f   %.0f, %.0f of %dx%d pixels\n", e.Cosine, x, y, e.Size[0], e.Size[1])
	return err
}
