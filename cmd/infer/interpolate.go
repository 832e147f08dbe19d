package main

import (
	"context"
	"fmt"

	"github.com/goclip/goclip/clip"
)

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
