package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"

	"github.com/goclip/goclip/train/data"
	"github.com/goclip/goclip/train/evaluate"
)

type probeCmd struct {
	modelFlags
	LR       float64 `help:"Initial learning rate." default:"0.1"`
	Epochs   int     `help:"Passes over the training embeddings." default:"10"`
	WD       float64 `help:"Weight decay; -1 chooses it from 10^-6 to 10^2 on a fifth of the training images." default:"-1"`
	Orient   bool    `help:"Turn images upright by their EXIF orientation; open_clip takes them as they lie in the file."`
	Format   string  `help:"table or json." default:"table" enum:"table,json"`
	Training string  `arg:"" help:"Labelled images to train on: a directory with one folder per class." complete:"dirs"`
	Test     string  `arg:"" help:"Images of the same classes to test on." complete:"dirs"`
}

func (*probeCmd) Help() string {
	return `Examples:

  infer probe --model ViT-B-32 --pretrained openai flowers/train flowers/test
  infer probe --wd 1e-4 --format json flowers/train flowers/test`
}

// Run trains logistic regression on the frozen image tower's features: CLIP_benchmark's linear
// probe.
func (c *probeCmd) Run(ctx context.Context, s *streams) error {
	if c.LR <= 0 || c.Epochs < 1 || c.WD < 0 && c.WD != -1 {
		return usageError(fmt.Sprintf("probe: --lr %g --epochs %d --wd %g: --lr and --epochs must be positive, --wd positive or -1", c.LR, c.Epochs, c.WD))
	}
	var sets [2]*data.Folders
	for i, dir := range []string{c.Training, c.Test} {
		var err error
		if sets[i], err = data.OpenFolders(ctx, dir); err != nil {
			return err
		}
	}
	if !slices.Equal(sets[0].Classes(), sets[1].Classes()) {
		return fmt.Errorf("probe: %s and %s have different folders: %d and %d classes, which must be the same", c.Training, c.Test, len(sets[0].Classes()), len(sets[1].Classes()))
	}
	m, err := c.openFor(ctx, s, nil)
	if err != nil {
		return err
	}
	var rows [2]evaluate.Labelled
	bad := 0
	for i, set := range sets {
		images, err := evaluate.NewImages(ctx, m, set, &evaluate.Options{BatchSize: c.BatchSize, Orient: c.Orient, Workers: runtime.GOMAXPROCS(0)})
		if err != nil {
			return err
		}
		if rows[i], err = images.Features(ctx, m); err != nil {
			return fmt.Errorf("%s: %w", []string{c.Training, c.Test}[i], err)
		}
		bad += tellBad(s.err, images.Bad())
	}
	r, err := evaluate.LinearProbe(rows[0], rows[1], evaluate.ProbeOptions{LR: c.LR, Epochs: c.Epochs, WeightDecay: c.WD, Seed: c.Seed, Device: m.Device()})
	if err != nil {
		return err
	}
	if c.Format == "json" {
		err = json.NewEncoder(s.out).Encode(r)
	} else {
		_, err = fmt.Fprintf(s.out, "top-1 %.4f  top-5 %.4f  mean per class %.4f  (%d classes, %d images to train on, %d to test, weight decay %.3g)\n",
			r.Top1, r.Top5, r.MeanPerClass, len(sets[0].Classes()), len(rows[0].Classes), len(rows[1].Classes), r.WeightDecay)
	}
	if err == nil && bad > 0 {
		return errReported
	}
	return err
}
