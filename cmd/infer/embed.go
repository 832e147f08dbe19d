package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

type embedCmd struct {
	modelFlags
	Images    []string `help:"Pictures." sep:"none" placeholder:"PATH"`
	ImageList string   `help:"File with a picture's path per line, or - for stdin." placeholder:"FILE"`
	Texts     string   `help:"File with a text per line, or - for stdin." placeholder:"FILE"`
	Out       string   `help:"Directory for the files." required:"" placeholder:"DIR"`
	Raw       bool     `help:"Features as the towers give them, not L2-normalised."`
	Paths     []string `arg:"" optional:"" help:"More pictures."`
}

func (c *embedCmd) Run(io *streams) error {
	images := append(c.Images, c.Paths...)
	if c.ImageList == "-" && c.Texts == "-" {
		return usageError("embed: --image-list and --texts cannot both be stdin")
	}
	if c.ImageList != "" {
		list, err := readLines("--image-list", c.ImageList, io.in)
		if err != nil {
			return err
		}
		images = append(images, list...)
	}
	if len(images) == 0 && c.Texts == "" {
		return usageError("embed: nothing to embed: give --images, --image-list or --texts")
	}
	var texts []string
	if c.Texts != "" {
		lines, err := readLines("--texts", c.Texts, io.in)
		if err != nil {
			return err
		}
		texts = lines
	}
	m, err := c.open(io.err)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if len(images) > manyPictures && c.Precision == "fp32" && m.Device() == torch.CPU {
		if err := m.PackImages(torch.PackFloat32); err != nil {
			return err
		}
	}
	ctx, stop := untilInterrupt()
	defer stop()
	var files outputs
	defer files.discard()
	if len(texts) > 0 {
		if err := c.texts(ctx, m, texts, &files, io.err); err != nil {
			return err
		}
	}
	failed := 0
	if len(images) > 0 {
		if failed, err = c.images(ctx, m, images, &files, io.err); err != nil {
			return err
		}
	}
	if err := files.commit(); err != nil {
		return err
	}
	if failed > 0 {
		return errReported
	}
	return nil
}

// manyPictures are worth the copy of the weights that packing them makes.
const manyPictures = 256

func (c *embedCmd) texts(ctx context.Context, m *clip.Model, texts []string, files *outputs, errs io.Writer) error {
	rows, err := textFeatures(ctx, m, texts, c.BatchSize, c.Raw, errs)
	if err != nil {
		return err
	}
	npy := newNpy(filepath.Join(c.Out, "text_features.npy"), m.Config.EmbedDim)
	list := newLines(filepath.Join(c.Out, "texts.jsonl"))
	*files = append(*files, npy, list)
	for i, text := range texts {
		npy.row(rows[i*m.Config.EmbedDim : (i+1)*m.Config.EmbedDim])
		list.add(map[string]any{"row": i, "text": text})
	}
	return nil // what could not be written is told by finish
}

// images counts the pictures that cannot be read.
func (c *embedCmd) images(ctx context.Context, m *clip.Model, paths []string, files *outputs, errs io.Writer) (failed int, err error) {
	npy := newNpy(filepath.Join(c.Out, "image_features.npy"), m.Config.EmbedDim)
	list, unread := newLines(filepath.Join(c.Out, "images.jsonl")), newLines(filepath.Join(c.Out, "errors.jsonl"))
	*files = append(*files, npy, list, unread)
	row := 0
	err = eachPicture(ctx, m, feed(paths), c.BatchSize, c.Raw, func(p picture) error {
		if p.err != nil {
			failed++
			unread.add(map[string]any{"path": p.path, "error": p.err.Error()})
			fmt.Fprintln(errs, message(p.err))
		} else {
			npy.row(p.row)
			list.add(map[string]any{"row": row, "path": p.path})
			row++
		}
		return errors.Join(npy.failure(), list.failure(), unread.failure())
	})
	return failed, err
}
