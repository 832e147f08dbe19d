package main

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train"
	"github.com/goclip/goclip/train/data"
)

// config is what the flags say of a run; its model, data and processes come later. given tells
// which flags stand on the command line.
func (o *options) config(given func(flag string) bool) *train.Config {
	c := &train.Config{
		BatchSize: o.BatchSize, AccumFreq: o.AccumFreq, Epochs: o.Epochs, MaxSteps: o.MaxSteps,
		Schedule: o.LRScheduler, CooldownEpochs: o.EpochsCooldown, CooldownEndLR: o.LRCooldownEnd, CooldownPower: o.LRCooldownPow, SkipSchedule: o.SkipScheduler,
		ImageLayerDecay: o.ImageLayerDecay, TextLayerDecay: o.TextLayerDecay,
		Beta1: meant(o.Beta1), Beta2: meant(o.Beta2), Eps: o.Eps, GradClipNorm: o.GradClipNorm, SkipNonFinite: o.NonFinite == "skip",
		IDTargets: o.IDTargets, Precision: o.Precision, GradCheckpointing: o.GradCheckpointing, CUDAGraphs: o.CUDAGraphs, Workers: o.Workers, Seed: o.Seed,
		LockImage: o.LockImage, UnlockedGroups: o.UnlockedGroups, FreezeBNStats: o.FreezeBNStats,
		LockText: o.LockText, UnlockedLayers: o.UnlockedLayers, FreezeLayerNorm: o.FreezeLayerNorm,
		LoRARank: o.LoRARank, LoRAAlpha: o.LoRAAlpha, EMADecay: o.EMADecay, WiseFT: o.WiseFT,
		NoShuffle: o.NoShuffle, Resample: o.DatasetResampled, Augment: o.AugCfg.AugConfig, MaxImagePixels: o.MaxImagePixels, Orient: o.Orient, PlainText: o.PlainText,
		ValEpochs: meant(o.ValFrequency), ZeroShotEpochs: meant(o.ZeroshotFrequency), SaveEpochs: meant(o.SaveFrequency), DeletePrevious: o.DeletePrev,
		SaveSteps: o.SaveEverySteps, SaveEvery: train.None, LogEvery: o.LogEvery, TensorBoard: o.reportsTo("tensorboard"), MetricsAddr: o.MetricsAddr,
		Dir: o.dir(), Settings: o, Files: o.kept, Resuming: o.resuming, Naming: o.flagOf,
	}
	if o.DatasetType != "synthetic" {
		c.EpochSamples = o.TrainNumSamples
	}
	c.UpsamplingFactors, _ = o.upsampling()
	if o.SaveEveryMinutes > 0 {
		c.SaveEvery = max(1, time.Duration(o.SaveEveryMinutes*float64(time.Minute)))
	}
	if o.PatchDropout != -1 { // the model's
		c.PatchDropout = meant(o.PatchDropout)
	}
	if o.Warmup != -1 { // the default
		c.Warmup = meant(float64(o.Warmup))
	}
	if given("lr") { // else New chooses
		c.LR = o.LR
	}
	if given("wd") {
		c.WeightDecay = meant(o.WD)
	}
	if given("token-embedding-lr") {
		o.tokenLR(c)
	}
	return c
}

// dir is the run's directory; "" keeps nothing.
func (o *options) dir() string {
	if strings.EqualFold(o.Logs, "none") { // as open_clip spells it
		return ""
	}
	return filepath.Join(o.Logs, o.Name)
}

// tokenLR is --token-embedding-lr, whose 0 is --lr.
func (o *options) tokenLR(c *train.Config) {
	if c.TokenLR = o.TokenLR; o.TokenLR == 0 {
		c.TokenLR = train.TokenLRSame
	}
}

// meant is a flag's number in a Config, whose zero is its default.
func meant[T int | float64](x T) T {
	if x == 0 {
		return train.None
	}
	return x
}

// chosen takes over what New has chosen, for params.txt and checkpoints.
func (o *options) chosen(c train.Config) {
	o.LR, o.WD, o.TokenLR = c.LR, max(c.WeightDecay, 0), c.TokenLR
	if c.TokenLR == train.TokenLRSame {
		o.TokenLR = 0
	}
}

// check refuses flags that make no run, all at once, each by its name; the error is a
// [train.ErrConfig].
func (o *options) check(c *train.Config) error {
	var faults []string
	wants := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	number := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	wants(o.Model != "", "--model is empty: it must be a built-in config such as ViT-B-32, or a model directory")
	wants(o.TrainData != "" || o.DatasetType == "synthetic" || o.evaluatesAlone(), "--train-data is missing: a table, webdataset shards or a folder of images")
	wants(!o.EvalOnly || o.ValData != "" || o.ImageNetVal != "", "--eval-only must have --val-data or --imagenet-val to evaluate on")
	wants(slices.Contains(data.Kinds, o.DatasetType), "--dataset-type %q: must be one of %s", o.DatasetType, strings.Join(data.Kinds, ", "))
	wants(data.CheckSeparator(o.CSVSeparator) == nil, "--csv-separator %q is not one character, or cannot part columns", o.CSVSeparator)
	wants(slices.Contains([]string{"", "draw", "each"}, o.Captions), "--captions %q: must be one of draw, each", o.Captions)
	wants(o.DatasetType != "synthetic" || o.TrainNumSamples > 0, "--dataset-type synthetic requires --train-num-samples")
	_, err := o.upsampling()
	wants(err == nil, "--train-data-upsampling-factors %s: must be a number for each source, 0 or positive, such as 1::2::0.5", o.UpsamplingFactors)
	wants(err != nil || o.UpsamplingFactors == "" || o.DatasetResampled, "--train-data-upsampling-factors requires --dataset-resampled")
	pictures := preprocess.DefaultConfig(224)
	err = o.overridePreprocess(&pictures)
	wants(err == nil, "%v", err)
	wants(o.ForceImageSize >= 0, "--force-image-size %d is negative", o.ForceImageSize)
	wants(o.ForceContextLength >= 0, "--force-context-length %d is negative", o.ForceContextLength)
	wants(o.DistillModel != "" || o.DistillPretrained == "", "--distill-pretrained requires --distill-model")
	wants(o.DistillModel == "" || !o.SigLIP, "--distill-model is for the softmax loss; drop --siglip")
	// A zero is the default of a field of Config, and -1 a zero: these flags mean neither.
	for _, f := range []struct {
		flag string
		is   int
	}{{"batch-size", o.BatchSize}, {"accum-freq", o.AccumFreq}, {"epochs", o.Epochs}, {"workers", o.Workers}, {"log-every-n-steps", o.LogEvery}} {
		wants(f.is != 0, "--%s 0: must be at least 1", f.flag)
	}
	wants(o.LR > 0 && number(o.LR), "--lr %g: must be a positive number", o.LR)
	wants(o.Eps != 0, "--eps 0: must be a positive number")
	wants(o.LRScheduler != "const-cooldown" || o.LRCooldownPow != 0, "--lr-cooldown-power 0: must be a positive number")
	wants(o.WD >= 0 && number(o.WD), "--wd %g: must be 0 or a positive number", o.WD)
	wants(o.Beta1 != -1, "--beta1 -1 is outside [0, 1)")
	wants(o.Beta2 != -1, "--beta2 -1 is outside [0, 1)")
	wants(o.TokenLR >= 0 && number(o.TokenLR) || o.TokenLR == -1, "--token-embedding-lr %g: must be a positive number, 0 for --lr, or -1", o.TokenLR)
	for _, f := range []struct {
		flag string
		is   int
	}{{"val-frequency", o.ValFrequency}, {"zeroshot-frequency", o.ZeroshotFrequency}, {"save-frequency", o.SaveFrequency}} {
		wants(f.is != -1, "--%s -1 is negative", f.flag)
	}
	wants(o.SaveEveryMinutes >= 0 && number(o.SaveEveryMinutes), "--save-every-minutes %g: must be 0 or a positive number", o.SaveEveryMinutes)
	wants(o.NonFinite == "stop" || o.NonFinite == "skip", "--non-finite %q: must be one of stop, skip", o.NonFinite)
	wants(o.Opt == "" || o.Opt == "adamw", "--opt %q: goclip has adamw alone", o.Opt)
	wants(o.Threads >= 0 && o.Threads <= 1024, "--threads %d: must be between 1 and 1024, or 0 for the default", o.Threads)
	wants(o.WiseFT == 0 || !o.source().random(), "--wise-ft must have trained weights to begin with: --pretrained, or a model directory")
	for _, place := range strings.Split(o.ReportTo, ",") {
		switch strings.TrimSpace(place) {
		case "", "tensorboard":
		case "wandb", "all":
			wants(false, "--report-to %s: goclip does not speak to Weights & Biases; write --report-to tensorboard, whose files wandb sync uploads", o.ReportTo)
		default:
			wants(false, "--report-to %q: must be tensorboard", place)
		}
	}
	fault := o.checkResume()
	wants(fault == "", "%s", fault)
	wants(o.Overfit == 0 || o.Overfit >= 2, "--overfit %d: must be at least 2 pairs", o.Overfit)
	wants(o.Overfit == 0 || o.Resume == "" && !o.DryRun, "--overfit stands alone: without --resume and --dry-run")
	wants(o.Name == "" || o.Name == filepath.Base(filepath.Clean("/"+o.Name)), "--name %q is not the name of a directory", o.Name)
	_, _, err = o.meeting()
	wants(err == nil, "--dist-url: %v", err)
	wants(o.DistBackend == "" || o.DistBackend == "gloo" || o.DistBackend == "nccl", "--dist-backend %q: must be one of gloo, nccl", o.DistBackend)
	var more *train.ConfigError
	if errors.As(c.Check(), &more) {
		for _, fault := range more.Faults {
			flag, _, _ := strings.Cut(fault, " ")
			wants(slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, flag+" ") }), "%s", fault)
		}
	}
	if len(faults) > 0 {
		return &train.ConfigError{Faults: faults}
	}
	return nil
}

// reportsTo reports whether --report-to names a place.
func (o *options) reportsTo(name string) bool {
	return slices.ContainsFunc(strings.Split(o.ReportTo, ","), func(place string) bool { return strings.TrimSpace(place) == name })
}

// upsampling is --train-data-upsampling-factors.
func (o *options) upsampling() (factors []float64, err error) {
	if o.UpsamplingFactors == "" {
		return nil, nil
	}
	for _, field := range strings.Split(o.UpsamplingFactors, "::") {
		x, err := strconv.ParseFloat(strings.TrimSpace(field), 64)
		if err != nil || !(x >= 0) || math.IsInf(x, 0) {
			return nil, fmt.Errorf("%q is no factor", field)
		}
		factors = append(factors, x)
	}
	return factors, nil
}

// overridePreprocess puts --image-mean and its siblings in place of what a model says of its
// images. The checkpoints keep them.
func (o *options) overridePreprocess(c *preprocess.Config) error {
	was := *c
	if len(o.ImageMean) == 3 {
		c.Mean = [3]float32(o.ImageMean)
	}
	if len(o.ImageStd) == 3 {
		c.Std = [3]float32(o.ImageStd)
	}
	if o.ImageInterpolation != "" {
		c.Interpolation = o.ImageInterpolation
	}
	if o.ImageResizeMode != "" {
		c.ResizeMode = o.ImageResizeMode
	}
	if err := c.Validate(); err != nil {
		*c = was
		return fmt.Errorf("--image-mean, --image-std, --image-interpolation, --image-resize-mode: %w", err)
	}
	return nil
}
