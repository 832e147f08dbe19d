package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
)

type modelsCmd struct {
	Downloaded bool     `help:"List only downloaded models, in goclip's cache or Python's: name, size, source, path."`
	Format     string   `help:"table, json (one line per row), csv or markdown." default:"table" enum:"table,json,csv,markdown"`
	MaxParams  string   `help:"Skip models with more parameters than this, such as 200M or 1.5B." placeholder:"N"`
	Words      []string `arg:"" optional:"" name:"word" help:"List only rows that contain every word in the name, tag or hub name."`
}

func (*modelsCmd) Help() string {
	return `Examples:

  infer models
  infer models siglip 256                           rows with both words
  infer models --max-params 200M datacomp
  infer models --downloaded
  infer score --model ViT-B-32:openai --text "a dog" dog.png      a config and one of its tags`
}

func (c *modelsCmd) Run(ctx context.Context, io *streams) error {
	list, err := pretrained.Downloads(ctx, pretrained.Options{})
	if err != nil {
		return err
	}
	if c.Downloaded {
		return c.printDownloads(io, list)
	}
	most, err := parseCount(c.MaxParams)
	if err != nil {
		return err
	}
	rows := slices.DeleteFunc(modelRows(list), func(r modelRow) bool {
		return most > 0 && r.Parameters > most || !r.has(c.Words)
	})
	if len(rows) == 0 {
		return fmt.Errorf("no model has %s; infer models lists all", strings.Join(c.Words, " and "))
	}
	return printModels(io.out, c.Format, rows)
}

func (c *modelsCmd) printDownloads(io *streams, list []pretrained.Downloaded) error {
	t := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	for _, d := range list {
		if opens(d) {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", d.Name, bytesText(d.Size), d.Origin, d.Path)
		}
	}
	return t.Flush()
}

// opens tells a CLIP from the other models in Python's cache.
func opens(d pretrained.Downloaded) bool {
	if d.Type == "" {
		return true
	}
	config, err := os.ReadFile(filepath.Join(d.Path, "config.json"))
	if err == nil {
		_, err = tower.ParseHuggingFace(config)
	}
	return err == nil
}

type pullCmd struct {
	Name       string `arg:"" help:"Config and tag (ViT-B-32:openai), or a model on the Hugging Face hub (hf-hub:ORG/NAME, hf-hub:ORG/NAME@REVISION)." complete:"models"`
	Pretrained string `help:"Tag, if NAME is only a config." complete:"tags"`
}

func (*pullCmd) Help() string {
	return `Examples:

  infer pull ViT-B-32:openai
  infer pull hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K
  HF_HUB_OFFLINE=1 infer score --model ViT-B-32:openai --text "a dog" dog.png      then needs no network`
}

// Run prints the paths of the model's files. What is on this machine already is not fetched again.
func (c *pullCmd) Run(ctx context.Context, io *streams) error {
	n, err := pretrained.ParseName(c.Name, tower.ConfigNames())
	if err != nil {
		return fmt.Errorf("%w; infer models lists the names", err)
	}
	if c.Pretrained != "" {
		if n.Config == "" || n.Tag != "" && n.Tag != c.Pretrained {
			return usageError(fmt.Sprintf("pull: %s and --pretrained %s both name weights; drop one", c.Name, c.Pretrained))
		}
		n.Tag = cmp.Or(n.Tag, c.Pretrained)
	}
	o := pretrained.Lines(io.err, "infer: ")
	files, err := pretrained.Pull(ctx, n, o)
	if err != nil {
		return err
	}
	if n.Tag != "" { // a tag's tokenizer may lie in another repository
		if _, _, err := clip.OpenTokenizer(ctx, n.String(), &clip.OpenOptions{Fetch: o}); err != nil {
			return err
		}
	}
	size := int64(0)
	for _, f := range files {
		size += f.Size
		if _, err := fmt.Fprintln(io.out, f.Path); err != nil {
			return err
		}
	}
	fmt.Fprintf(io.err, "infer: %s: %s, %s, from %s\n", n, numberOf(len(files), "file"), bytesText(size), files[len(files)-1].Origin)
	return nil
}
