package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

type convertCmd struct {
	To         string `help:"Layout to write: open_clip, or hf for Hugging Face's transformers." default:"open_clip" enum:"open_clip,hf"`
	DType      string `name:"dtype" help:"Type of the weights: float32 or float16." default:"float32" enum:"float32,float16"`
	Model      string `arg:"" help:"Model directory, file of weights, or a built-in config with --pretrained." complete:"models"`
	Pretrained string `help:"Weights of a built-in config: a published tag, a file (.safetensors, .pt, .bin), a model directory or random." complete:"tags"`
	loadFlags
	Out string `arg:"" help:"Directory to write; it must not exist." complete:"dirs"`
}

func (*convertCmd) Help() string {
	return `Examples:

  infer convert ViT-B-32.pt vit-b-32                  OpenAI's archive to open_clip's layout
  infer convert --to hf --dtype float16 logs/photos/checkpoints/latest for-transformers
  infer convert --pretrained openai ViT-B-32 vit-b-32`
}

// Run writes the other layout.
func (c *convertCmd) Run(ctx context.Context, s *streams) error {
	if err := mustBeNew("convert", c.Out); err != nil {
		return err
	}
	flags := modelFlags{Model: c.Model, Pretrained: c.Pretrained, computeFlags: computeFlags{loadFlags: c.loadFlags, Device: "cpu", BatchSize: 1}}
	m, err := flags.open(ctx, s.err)
	if err != nil {
		return err
	}
	if err := m.CheckFinite(); err != nil {
		return err
	}
	dtype := map[string]torch.DType{"float32": torch.Float32, "float16": torch.Float16}[c.DType]
	o := clip.SaveOptions{DType: dtype, HuggingFace: c.To == "hf"}
	if err := writeModel(c.Out, func(dir string) error { return m.SaveAs(dir, &o) }); err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	layout := map[string]string{"open_clip": "open_clip's", "hf": "transformers'"}[c.To]
	if err := sayWritten(s.err, c.Out, fmt.Sprintf("%s layout, %d parameters in %s", layout, m.NumParameters(), c.DType)); err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	if v := m.Config.Vision; c.To == "open_clip" && v.TimmModelName != "" && v.ActOptions != nil {
		fmt.Fprintf(s.err, "infer: transformers computes this image tower with GELU's %s form and timm's %s with the other: goclip keeps to it (act_kwargs), open_clip does not read it there\n", v.ActOptions.Approximate, v.TimmModelName)
	}
	return nil
}

// sayWritten says what a directory holds that was written.
func sayWritten(errs io.Writer, dir, what string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	size := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		names = append(names, e.Name())
		size += info.Size()
	}
	fmt.Fprintf(errs, "infer: wrote %s: %s, %s\n", dir, what, bytesText(size))
	fmt.Fprintf(errs, "infer: its files are %s\n", strings.Join(names, ", "))
	return nil
}

// mustBeNew refuses a directory to write that is there.
func mustBeNew(command, dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return usageError(fmt.Sprintf("%s: %s is there already; name another directory", command, dir))
	}
	return nil
}

// writeModel has save write a directory under a temporary name and renames it to out: it is there
// whole or not at all.
func writeModel(out string, save func(dir string) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(out), "."+filepath.Base(out)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(fresh)
		}
	}()
	if err := save(fresh); err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	return os.Rename(fresh, out)
}

type interpolateCmd struct {
	Alpha      float64 `help:"Fraction of TUNED's weights, 0 to 1; the rest is START's." default:"0.5"`
	Pretrained string  `help:"Weights of START if it is a built-in config: a published tag, a file or a model directory." complete:"tags"`
	Start      string  `arg:"" help:"Model before fine-tuning: a directory, a weights file, or a built-in config with --pretrained." complete:"models"`
	Tuned      string  `arg:"" help:"Fine-tuned model: a directory or a weights file."`
	Out        string  `arg:"" help:"Directory to write, in open_clip's layout; it must not exist." complete:"dirs"`
}

func (*interpolateCmd) Help() string {
	return `Examples:

  infer interpolate --alpha 0.3 models/emoji-64 logs/photos/checkpoints/latest between
  infer interpolate --pretrained openai ViT-B-32 logs/photos/checkpoints/latest between`
}

// Run writes (1 - alpha) * START + alpha * TUNED (WiSE-FT; Wortsman et al., arXiv 2109.01903).
func (c *interpolateCmd) Run(ctx context.Context, io *streams) error {
	if !(c.Alpha >= 0 && c.Alpha <= 1) {
		return usageError(fmt.Sprintf("interpolate: --alpha %g: must be between 0 and 1", c.Alpha))
	}
	if err := mustBeNew("interpolate", c.Out); err != nil {
		return err
	}
	from := modelFlags{Model: c.Start, Pretrained: c.Pretrained, computeFlags: computeFlags{Device: "cpu", BatchSize: 1}}
	start, err := from.open(ctx, io.err)
	if err != nil {
		return err
	}
	tuned, err := clip.Open(ctx, c.Tuned, &clip.OpenOptions{Copy: true})
	if err != nil {
		return err
	}
	if err := tuned.Interpolate(start, c.Alpha); err != nil {
		return err
	}
	if err := tuned.CheckFinite(); err != nil {
		return err
	}
	if err := writeModel(c.Out, func(dir string) error { return tuned.Save(dir) }); err != nil {
		return fmt.Errorf("interpolate: %w", err)
	}
	return sayWritten(io.err, c.Out, fmt.Sprintf("%g of the weights of %s and %g of those of %s, in open_clip's layout", 1-c.Alpha, c.Start, c.Alpha, c.Tuned))
}
