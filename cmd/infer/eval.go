package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/goclip/goclip/train/evaluate"
)

type evalCmd struct {
	Model      []string `help:"Model to evaluate; repeat it for more." default:"emoji-64" sep:"none" complete:"models" placeholder:"MODEL"`
	Pretrained string   `help:"Weights of built-in configs, as for other commands." complete:"tags"`
	computeFlags

	Data         []string `help:"Data set: a folder with one folder per class, CLIP_benchmark's webdatasets, or tables, shards and folders of captioned images as for train. Repeat it for more." required:"" sep:"none" placeholder:"SPEC" group:"Data"`
	Split        string   `help:"Split of data sets in CLIP_benchmark's layout." default:"test" group:"Data"`
	Task         string   `help:"retrieval, zeroshot, linear-probe, or auto: zeroshot for labelled images, retrieval for captions." default:"auto" enum:"auto,retrieval,zeroshot,linear-probe" group:"Data"`
	CaptionLines bool     `help:"Take each line of a .txt as a caption instead of the whole text." group:"Data"`
	Orient       bool     `help:"Turn images upright by their EXIF orientation; open_clip takes them as they lie in the file." group:"Data"`
	Format       string   `help:"table, json (one object per line, as CLIP_benchmark writes) or csv." default:"table" enum:"table,json,csv" group:"Data"`
	tableFlags

	Classes  string   `help:"Class names: imagenet, cifar10, cifar100, or a file with one name per line in the order of the data's classes (default: the data set's own)." placeholder:"SET" group:"Zero-shot"`
	Template []string `help:"Prompt with {} for the class name, openai_imagenet_80, openai_imagenet_7, openai_cifar_18, or a file with one template per line; repeatable (default: the data set's own, openai_cifar_18 for CIFAR, else openai_imagenet_80)." sep:"none" complete:"templates" group:"Zero-shot"`

	TrainData      []string `help:"Labelled images to train the linear probe on, one SPEC for each --data (default in CLIP_benchmark's layout: the split train)." sep:"none" placeholder:"SPEC" group:"Linear probe"`
	LR             float64  `help:"Initial learning rate." default:"0.1" group:"Linear probe"`
	Epochs         int      `help:"Passes over the training embeddings." default:"10" group:"Linear probe"`
	WD             float64  `help:"Weight decay; -1 chooses it on a fifth of the training images." default:"0" group:"Linear probe"`
	ProbeBatchSize int      `help:"Training embeddings per step." default:"64" group:"Linear probe"`
	Shots          int      `help:"Training images per class (default: all)." default:"0" group:"Linear probe"`
}

func (*evalCmd) Help() string {
	return `Examples:

  infer eval --data flowers/test                                zero-shot, a folder for each class
  infer eval --data photos.csv --csv-separator ,                retrieval
  infer eval --model ViT-B-32:openai --model ViT-B-16:openai --data wds_cifar10 --data wds_mscoco_captions
  infer eval --data imagenetv2 --classes imagenet --format json
  infer eval --task linear-probe --data flowers/test --train-data flowers/train`
}

// Run evaluates each model on each data set and prints what each reaches, JSON and CSV as they come.
func (c *evalCmd) Run(ctx context.Context, s *streams) error {
	if err := c.check(); err != nil {
		return err
	}
	sets, images := make([]*evalSet, len(c.Data)), 0
	for i := range c.Data {
		var err error
		if sets[i], err = c.openSet(ctx, i, s.err); err != nil {
			return err
		}
		images += sets[i].len()
	}
	results, bad, err := c.run(ctx, s, sets, images)
	if c.Format != "json" && len(results) > 0 { // also those before an error
		if err := printResults(s.out, c.Format, results); err != nil {
			return err
		}
	}
	if err == nil && bad > 0 {
		return errReported
	}
	return err
}

// run evaluates each model on each data set, and prints JSON as it comes.
func (c *evalCmd) run(ctx context.Context, s *streams, sets []*evalSet, images int) (results []evaluate.Result, bad int, err error) {
	for _, name := range c.Model {
		f := modelFlags{Model: name, Pretrained: c.Pretrained, computeFlags: c.computeFlags}
		m, err := f.open(ctx, s.err)
		if err != nil {
			return results, bad, err
		}
		if err := packImages(m, images, s.err); err != nil {
			return results, bad, err
		}
		for _, set := range sets {
			r, unreadable, err := c.evaluate(ctx, m, set, s.err)
			if err != nil {
				return results, bad, fmt.Errorf("%s on %s: %w", name, set.name, err)
			}
			bad += unreadable
			results = append(results, c.named(r, name, set.name))
			if c.Format == "json" {
				if err := printJSON(s.out, results[len(results)-1]); err != nil {
					return results, bad, err
				}
			}
		}
	}
	return results, bad, nil
}

// check finds what is wrong with the command line before anything is read.
func (c *evalCmd) check() error {
	switch {
	case c.Pretrained != "" && len(c.Model) > 1:
		return usageError("eval: --pretrained is for one --model; name several as MODEL:TAG")
	case len(c.TrainData) > 0 && len(c.TrainData) != len(c.Data):
		return usageError(fmt.Sprintf("eval: --train-data is given %d times and --data %d times: each data set must have its own", len(c.TrainData), len(c.Data)))
	case len(c.TrainData) > 0 && c.Task != "linear-probe":
		return usageError("eval: --train-data goes with --task linear-probe")
	case (c.Classes != "" || len(c.Template) > 0) && (c.Task == "retrieval" || c.Task == "linear-probe"):
		return usageError("eval: --classes and --template go with --task zeroshot")
	case !(c.LR > 0) || c.Epochs < 1 || c.WD < 0 && c.WD != -1 || c.Shots < 0 || c.ProbeBatchSize < 1:
		return usageError(fmt.Sprintf("eval: --lr %g --epochs %d --probe-batch-size %d --wd %g --shots %d: they must be positive; --wd and --shots may be 0, and --wd -1", c.LR, c.Epochs, c.ProbeBatchSize, c.WD, c.Shots))
	}
	return c.tableFlags.check()
}

// named fills in what the command line calls the model and the data.
func (c *evalCmd) named(r evaluate.Result, model, set string) evaluate.Result {
	r.Dataset, r.Model, r.Pretrained, r.Language = set, model, c.Pretrained, "en"
	if config, tag, found := strings.Cut(model, ":"); found && !strings.HasPrefix(model, "hf-hub:") && c.Pretrained == "" {
		r.Model, r.Pretrained = config, tag
	}
	return r
}
