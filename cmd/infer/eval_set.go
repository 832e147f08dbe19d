package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train/data"
	"github.com/goclip/goclip/train/evaluate"
)

// evalSet is a data set with what is evaluated on it.
type evalSet struct {
	name string
	task string // one of evaluate's

	pairs     data.Dataset     // of retrieval
	images    evaluate.Classes // of the others
	training  evaluate.Classes // of a linear probe
	names     []string         // of the classes, of zero-shot
	templates []string
}

// len is the number of images.
func (s *evalSet) len() int {
	if s.pairs != nil {
		return s.pairs.Len()
	}
	return s.images.Len()
}

// openSet opens the data set of the i-th --data.
func (c *evalCmd) openSet(ctx context.Context, i int, errs io.Writer) (*evalSet, error) {
	s := &evalSet{name: c.Data[i], task: map[string]string{"retrieval": evaluate.TaskRetrieval, "zeroshot": evaluate.TaskZeroShot, "linear-probe": evaluate.TaskProbe}[c.Task]}
	set, labelled, err := c.openData(ctx, s.name, c.Split, s.task)
	if err != nil {
		return nil, err
	}
	if n, ok := set.(interface{ LeftOut() int }); ok && n.LeftOut() > 0 {
		fmt.Fprintf(errs, "infer: %s: %d without an image, or without a caption or class, are left out\n", s.name, n.LeftOut())
	}
	switch {
	case s.task == "" && labelled:
		s.task = evaluate.TaskZeroShot
	case s.task == "":
		s.task = evaluate.TaskRetrieval
	}
	if s.task == evaluate.TaskRetrieval {
		s.pairs = set
		return s, nil
	}
	s.images = set.(evaluate.Classes)
	if s.task == evaluate.TaskZeroShot {
		return s, c.nameClasses(s)
	}
	return s, c.openTraining(ctx, i, s)
}

// openData opens a data set for a task, which is "" if the data is to tell: labelled says that its
// images have classes, which it then has too.
func (c *evalCmd) openData(ctx context.Context, spec, split, task string) (set data.Dataset, labelled bool, err error) {
	o := c.tableFlags.options()
	info, err := os.Stat(spec)
	isDir := err == nil && info.IsDir()
	if isDir && data.IsBenchmark(spec, split) {
		b, err := data.OpenBenchmark(ctx, spec, split, &o)
		if err != nil {
			return nil, false, inFlags(err)
		}
		if !b.Labelled() && (task == evaluate.TaskZeroShot || task == evaluate.TaskProbe) {
			return nil, false, fmt.Errorf("%s has captions and no classes: it is for --task retrieval", spec)
		}
		return b, b.Labelled(), nil
	}
	if isDir && task != evaluate.TaskRetrieval {
		if kind, err := data.KindOf(ctx, spec); err != nil || kind == "imagefolder" {
			f, err := data.OpenFolders(ctx, spec)
			return f, true, err
		}
	}
	o.CaptionLines = c.CaptionLines
	set, err = data.Open(ctx, spec, &o)
	if err != nil {
		return nil, false, inFlags(err)
	}
	if task == evaluate.TaskZeroShot || task == evaluate.TaskProbe || task == "" && c.Classes != "" {
		l, err := data.NewLabels(set.(data.Index))
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", spec, err)
		}
		return l, true, nil
	}
	return set, false, nil
}

// nameClasses finds the names of the classes and their prompts.
func (c *evalCmd) nameClasses(s *evalSet) (err error) {
	for _, spec := range c.Template {
		list, err := clip.Templates(spec)
		if err != nil {
			return fmt.Errorf("--template: %w", err)
		}
		s.templates = append(s.templates, list...)
	}
	standard := clip.ImageNet80
	switch {
	case c.Classes == "":
		s.names = s.images.Classes()
		switch set := s.images.(type) {
		case *data.Benchmark:
			if len(s.templates) == 0 {
				s.templates = set.Templates
			}
		case *data.Folders:
			if s.names, err = evaluate.ClassNames(s.names); err != nil {
				return fmt.Errorf("--data %s: %w", s.name, err)
			}
		}
	case slices.Contains(clip.ClassSets, c.Classes):
		if s.names, err = clip.ClassSet(c.Classes); err != nil {
			return err
		}
		if s.images, err = evaluate.Within(s.images, s.names); err != nil {
			return fmt.Errorf("--classes %s: %s: %s", c.Classes, s.name, strings.TrimPrefix(err.Error(), "evaluate: "))
		}
		if strings.HasPrefix(c.Classes, "cifar") {
			standard = clip.CIFAR18
		}
	default:
		if s.names, err = readLines("--classes", c.Classes, strings.NewReader(""), io.Discard); err != nil {
			return fmt.Errorf("%w; sets that are built in are %s", err, strings.Join(clip.ClassSets, ", "))
		}
		if n := len(s.images.Classes()); n != len(s.names) {
			return fmt.Errorf("--classes %s has %d names, and %s %d classes", c.Classes, len(s.names), s.name, n)
		}
	}
	if len(s.templates) == 0 {
		s.templates, err = clip.Templates(standard)
	}
	return err
}

// openTraining opens what a linear probe is trained on.
func (c *evalCmd) openTraining(ctx context.Context, i int, s *evalSet) error {
	spec, split := s.name, "train"
	if len(c.TrainData) > 0 {
		spec = c.TrainData[i]
	} else if _, ok := s.images.(*data.Benchmark); !ok {
		return usageError(fmt.Sprintf("eval: a linear probe on %s must have --train-data, the labelled images to train on", s.name))
	}
	set, _, err := c.openData(ctx, spec, split, evaluate.TaskProbe)
	if err != nil {
		return fmt.Errorf("--train-data: %w", err)
	}
	s.training = set.(evaluate.Classes)
	if have, want := s.training.Classes(), s.images.Classes(); !slices.Equal(have, want) {
		return fmt.Errorf("%s and %s have different classes, %d and %d, which must be the same", spec, s.name, len(have), len(want))
	}
	return nil
}
