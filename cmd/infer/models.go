package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/models"
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

// modelRow is a built-in config with one of its published tags, or without weights.
type modelRow struct {
	Model      string  `json:"model"`
	Tag        string  `json:"tag,omitempty"`
	Hub        string  `json:"hub,omitempty"`
	Parameters int     `json:"parameters,omitempty"`
	Image      string  `json:"image"` // pixels of a side, or HEIGHTxWIDTH
	License    string  `json:"license,omitempty"`
	ImageNet   float64 `json:"imagenet,omitempty"` // zero-shot accuracy
	Parity     bool    `json:"parity,omitempty"`
	Here       bool    `json:"here"` // the weights are on this machine
}

// modelRows are the configs in order of their names, each with its tags in open_clip's order.
func modelRows(downloads []pretrained.Downloaded) (rows []modelRow) {
	here := map[string]bool{}
	for _, d := range downloads {
		here[d.Name.String()] = true
	}
	of := map[string][]pretrained.Entry{}
	for _, e := range pretrained.Entries() {
		of[e.Model] = append(of[e.Model], e)
	}
	for _, name := range tower.ConfigNames() {
		c, err := tower.LookupConfig(name)
		if err != nil {
			panic(err) // built in
		}
		row := modelRow{Model: name, Image: c.Vision.ImageSize.String()}
		if name == models.Default {
			row.Tag, row.Here = "built in", true
		}
		base, quick := strings.CutSuffix(name, "-quickgelu")
		before := len(rows)
		for _, e := range of[base] {
			if e.QuickGELU != quick && quick {
				continue
			}
			r := row
			r.Tag, r.Hub, r.Parameters, r.License, r.ImageNet, r.Parity = e.Tag, e.Repo, e.Parameters, e.License, e.ImageNet, e.Parity
			r.Here = here[e.Model+":"+e.Tag] || here["hf-hub:"+e.Repo]
			rows = append(rows, r)
		}
		if len(rows) == before {
			rows = append(rows, row)
		}
	}
	return rows
}

// has reports whether each of the words is in one of the row's names, in any case.
func (r modelRow) has(words []string) bool {
	text := strings.ToLower(r.Model + ":" + r.Tag + " " + r.Hub)
	for _, word := range words {
		if !strings.Contains(text, strings.ToLower(word)) {
			return false
		}
	}
	return true
}

// cells are the row's columns as text.
func (r modelRow) cells() []string {
	parameters, accuracy := "", ""
	if r.Parameters > 0 {
		parameters = countText(r.Parameters)
	}
	if r.ImageNet > 0 {
		accuracy = fmt.Sprintf("%.1f%%", 100*r.ImageNet)
	}
	return []string{r.Model, r.Tag, parameters, r.Image, accuracy, r.License, yes(r.Parity), r.Hub, yes(r.Here)}
}

var modelColumns = []string{"model", "tag", "parameters", "image", "ImageNet", "license", "parity", "hub", "here"}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// countText writes 151M or 1.4B.
func countText(n int) string {
	if n >= 1e9 {
		return fmt.Sprintf("%.1fB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.0fM", float64(n)/1e6)
}

// parseCount reads 200M, 1.5B or a number; "" is 0.
func parseCount(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	unit := 1.0
	digits := text
	for suffix, factor := range map[string]float64{"K": 1e3, "M": 1e6, "B": 1e9} {
		if stem, ok := strings.CutSuffix(strings.ToUpper(text), suffix); ok {
			unit, digits = factor, stem
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(n > 0) || n*unit > math.MaxInt32*1e3 {
		return 0, usageError(fmt.Sprintf("--max-params %s: must be a number such as 200M or 1.5B", text))
	}
	return int(n * unit), nil
}

func printModels(w io.Writer, format string, rows []modelRow) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		for _, r := range rows {
			if err := e.Encode(r); err != nil {
				return err
			}
		}
		return nil
	case "csv":
		table := [][]string{modelColumns}
		for _, r := range rows {
			table = append(table, r.cells())
		}
		return csv.NewWriter(w).WriteAll(table)
	case "markdown": // without what is on this machine
		last := len(modelColumns) - 1
		lines := []string{"| " + strings.Join(modelColumns[:last], " | ") + " |", strings.Repeat("|---", last) + "|"}
		for _, r := range rows {
			lines = append(lines, "| "+strings.Join(r.cells()[:last], " | ")+" |")
		}
		_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "model\ttag\tparameters\timage\tImageNet\there")
	for _, r := range rows {
		cells := r.cells()
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Model, cmp.Or(r.Tag, "-"), cells[2], cells[3], cells[4], cells[8])
	}
	return t.Flush()
}
