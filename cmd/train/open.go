package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
	"github.com/goclip/goclip/train/data"
)

// open makes the Trainer of the flags: of a new run, or of a resumed one. As open_clip's,
// --resume latest without any checkpoint is the beginning: a run that was killed before its first
// checkpoint is started by the same command line.
func (o *options) open(ctx context.Context, c *train.Config, device torch.Device, fetch pretrained.Options) (*train.Trainer, error) {
	if err := o.openData(ctx, c, fetch.Log); err != nil {
		return nil, err
	}
	var err error
	if c.Teacher, err = o.openTeacher(ctx, device, fetch); err != nil {
		return nil, err
	}
	set, err := o.trainData(ctx, fetch.Log)
	if err != nil {
		return nil, err
	}
	if o.Resume != "" {
		c.Device = device
		t, err := train.Resume(ctx, o.resumes(), set, c)
		if !errors.Is(err, train.ErrNoCheckpoint) {
			return t, err
		}
		c.Notes = append(c.Notes, fmt.Sprintf("--resume latest: %s holds no checkpoint yet, so the run begins", filepath.Join(c.Dir, "checkpoints")))
	}
	c.Notes = append([]string{o.source().String()}, c.Notes...)
	m, err := o.openModel(ctx, clip.OpenOptions{Device: device, Fetch: fetch, Log: func(line string) { c.Notes = append(c.Notes, line) }})
	if err != nil {
		return nil, err
	}
	if o.Overfit > 0 {
		_, err := train.Overfit(ctx, m, set, o.Overfit, c)
		return nil, err
	}
	t, err := train.New(m, set, c)
	if err == nil {
		o.chosen(t.Config())
	}
	return t, err
}

// fetching is how weights are found and downloaded.
func (o *options) fetching(errs *os.File) pretrained.Options {
	fetch := pretrained.Lines(errs, "train: ")
	fetch.Cache = o.CacheDir
	return fetch
}

// reading says how --train-data and --val-data are read; log hears of streams that are fetched.
func (o *options) reading(log func(string)) (data.Options, error) {
	templates, err := clip.Templates(o.ClassPrompts)
	if err != nil {
		return data.Options{}, fmt.Errorf("--class-templates: %w", err)
	}
	d := data.Options{Kind: o.DatasetType, ImageKey: o.CSVImgKey, CaptionKey: o.CSVCaptionKey, Separator: o.CSVSeparator, Encoding: o.TextEncoding,
		TarImageKeys: o.ImageKey, TarTextKeys: o.TextKey, JSONTextKey: o.JSONTextKey, CaptionLines: o.CaptionLines,
		Classes: train.ClassCaptions(templates...), Samples: o.TrainNumSamples, Size: [2]int{224, 224}, Log: log}
	if dir := cmp.Or(o.CacheDir, pretrained.CacheDir()); dir != "" {
		d.Cache = filepath.Join(dir, "unpacked")
	}
	return d, nil
}

func (o *options) trainData(ctx context.Context, log func(string)) (train.Dataset, error) {
	reading, err := o.reading(log)
	if err != nil {
		return nil, err
	}
	reading.CaptionEach = o.Captions == "each"
	set, err := data.Open(ctx, o.TrainData, &reading)
	if err != nil {
		return nil, fmt.Errorf("--train-data: %w", inFlags(err))
	}
	return set, nil
}

// openData opens what is evaluated on, where all captions of an image stay together.
func (o *options) openData(ctx context.Context, c *train.Config, log func(string)) (err error) {
	if o.ValData != "" {
		reading, err := o.reading(log)
		if err != nil {
			return err
		}
		if c.Val, err = data.Open(ctx, o.ValData, &reading); err != nil {
			return fmt.Errorf("--val-data: %w", inFlags(err))
		}
	}
	if o.ImageNetVal == "" {
		return nil
	}
	if c.ZeroShotTemplates, err = clip.Templates(o.ZeroshotTemplates); err != nil {
		return fmt.Errorf("--zeroshot-templates: %w", err)
	}
	folders, err := data.OpenFolders(ctx, o.ImageNetVal)
	if err != nil {
		return fmt.Errorf("--imagenet-val: %w", err)
	}
	c.ZeroShot = folders
	return nil
}

// inFlags is an error of the data that names the flag which fixes it.
func inFlags(err error) error {
	var option *data.OptionError
	flag, known := "", false
	if errors.As(err, &option) {
		flag, known = map[string]string{"Kind": "--dataset-type", "ImageKey": "--csv-img-key", "CaptionKey": "--csv-caption-key", "Encoding": "--text-encoding", "Cache": "GOCLIP_CACHE"}[option.Option]
	}
	if !known {
		return err
	}
	return &data.OptionError{Option: flag, Err: option.Err, Remedy: option.Remedy}
}
