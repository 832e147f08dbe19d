package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
)

type captionCmd struct {
	modelFlags
	Beams     int    `help:"Beams of the search; 1 is greedy." default:"2"`
	MaxTokens int    `help:"Tokens of a caption, including the start and end tokens." default:"30"`
	Format    string `help:"table, json (one line per image) or csv." default:"table" enum:"table,json,csv"`
	orientFlag
	skipFlags
	Paths []string `arg:"" name:"path" help:"Images and directories; directories are searched recursively, hidden files are skipped."`
}

func (*captionCmd) Help() string {
	return `Examples:

  infer caption --model coca_ViT-B-32:mscoco_finetuned_laion2b_s13b_b90k photos
  infer caption --model coca_ViT-L-14:mscoco_finetuned_laion2b_s13b_b90k --format json dog.png

Captions are a CoCa's. The two beams are open_clip's default, six beams in three groups that all
find the same.`
}

// caption is the JSON that caption prints, a line per image.
type caption struct {
	Path    fileName `json:"path"`
	Caption string   `json:"caption,omitempty"`
	Error   string   `json:"error,omitempty"`
}

func (c *captionCmd) Run(ctx context.Context, io *streams) error {
	skipped := skips{errs: io.err, verbose: c.Verbose}
	images, err := listImages(ctx, c.Paths, framesFlag{}, &skipped, nil)
	if err != nil {
		return err
	}
	if c.Beams < 1 || c.MaxTokens < 1 {
		return usageError(fmt.Sprintf("--beams %d, --max-tokens %d: both must be at least 1", c.Beams, c.MaxTokens))
	}
	m, err := c.open(ctx, io.err)
	if err != nil {
		return err
	}
	table := csv.NewWriter(io.out)
	if c.Format == "csv" {
		_ = table.Write([]string{"path", "caption", "error"}) // Error, below, has what failed
	}
	options := &clip.CaptionOptions{Beams: c.Beams, MaxTokens: c.MaxTokens, Limits: preprocess.Limits{Orient: !c.NoOrient}}
	failed := 0
	for _, path := range images {
		line := caption{Path: fileName(path)}
		captions, err := m.Caption(ctx, options, clip.FromFile(path))
		switch {
		case errors.As(err, new(*clip.ImageError)):
			failed++
			line.Error = err.Error()
			fmt.Fprintln(io.err, message(err))
		case err != nil:
			return err
		default:
			line.Caption = captions[0]
		}
		if err := c.print(io, table, line); err != nil {
			return err
		}
	}
	skipped.tell(failed)
	if failed+skipped.problems > 0 {
		return errReported
	}
	return nil
}

// print writes an image's line at once: a caption takes seconds.
func (c *captionCmd) print(io *streams, table *csv.Writer, line caption) error {
	switch c.Format {
	case "json":
		return printJSON(io.out, line)
	case "csv":
		_ = table.Write([]string{string(line.Path), line.Caption, line.Error})
		table.Flush()
		return table.Error()
	}
	text := line.Caption
	if line.Error != "" {
		text = "could not be read"
	}
	_, err := fmt.Fprintf(io.out, "%s\t%s\n", quoted(string(line.Path)), text)
	return err
}
