package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/train/data"
)

// Triple is three numbers, for R, G and B; none is the zero value.
type Triple []float32

// UnmarshalText reads one number, which stands for all three, or three, separated by spaces or commas.
func (t *Triple) UnmarshalText(text []byte) error {
	fields := strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" ,;[]()", r) })
	var out Triple
	for _, field := range fields {
		x, err := strconv.ParseFloat(field, 32)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("%q is no number", field)
		}
		out = append(out, float32(x))
	}
	if len(out) == 1 {
		out = Triple{out[0], out[0], out[0]}
	}
	if len(out) != 3 && len(out) != 0 {
		return fmt.Errorf("%q: one number is wanted, or three", text)
	}
	*t = out
	return nil
}

// MarshalText writes what UnmarshalText reads, for a checkpoint's state.
func (t Triple) MarshalText() ([]byte, error) {
	return []byte(strings.Trim(fmt.Sprint([]float32(t)), "[]")), nil
}

// checkData refuses options of the data that make no run.
func (o *Options) checkData(wants func(ok bool, format string, args ...any)) {
	wants(o.TrainData != "" || o.DatasetType == "synthetic", "--train-data is missing: a table, webdataset shards or a folder of pictures")
	wants(slices.Contains(data.Kinds, o.DatasetType), "--dataset-type %q is none of %s", o.DatasetType, strings.Join(data.Kinds, ", "))
	wants(data.CheckSeparator(o.CSVSeparator) == nil, "--csv-separator %q is not one character, or cannot part columns", o.CSVSeparator)
	wants(slices.Contains([]string{"", "draw", "each"}, o.Captions), "--captions %q is none of draw, each", o.Captions)
	wants(o.TrainNumSamples >= 0, "--train-num-samples %d is negative", o.TrainNumSamples)
	wants(o.DatasetType != "synthetic" || o.TrainNumSamples > 0, "--dataset-type synthetic wants --train-num-samples")
	_, err := o.upsampling()
	wants(err == nil, "--train-data-upsampling-factors %s: a number for each source is wanted, 0 or positive, as 1::2::0.5", o.UpsamplingFactors)
	wants(o.UpsamplingFactors == "" || o.DatasetResampled, "--train-data-upsampling-factors wants --dataset-resampled")
	wants(o.MaxImagePixels >= 0, "--max-image-pixels %d is negative", o.MaxImagePixels)
	c := preprocess.DefaultConfig(224)
	err = o.overridePreprocess(&c)
	wants(err == nil, "%v", err)
}

// upsampling is --train-data-upsampling-factors.
func (o *Options) upsampling() (factors []float64, err error) {
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

// overridePreprocess puts --image-mean and its siblings in place of what a model says of its pictures. The checkpoints
// keep them.
func (o *Options) overridePreprocess(c *preprocess.Config) error {
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

// reading says how --train-data and --val-data are read. An evaluation keeps all captions of a picture together.
func (r *run) reading(training bool) data.Options {
	o := data.Options{Kind: r.o.DatasetType, ImageKey: r.o.CSVImgKey, CaptionKey: r.o.CSVCaptionKey, Separator: r.o.CSVSeparator, Encoding: r.o.TextEncoding,
		TarImageKeys: r.o.ImageKey, TarTextKeys: r.o.TextKey, JSONTextKey: r.o.JSONTextKey,
		CaptionEach: training && r.o.Captions == "each", CaptionLines: r.o.CaptionLines, Classes: r.classCaptions,
		Samples: r.o.TrainNumSamples, Size: r.model.Preprocess.Size}
	if dir := pretrained.CacheDir(); dir != "" {
		o.Cache = filepath.Join(dir, "unpacked")
	}
	return o
}

// classCaptions puts the names of a folder's classes into --class-templates.
func (r *run) classCaptions(folders []string) ([][]string, error) {
	names, err := ClassNames(folders)
	if err != nil {
		return nil, err
	}
	spec := r.o.ClassPrompts
	if spec == "" {
		spec = "a photo of a {}."
	}
	templates, err := clip.Templates(spec)
	if err != nil {
		return nil, fmt.Errorf("--class-templates: %w", err)
	}
	out := make([][]string, len(names))
	for i, name := range names {
		for _, template := range templates {
			out[i] = append(out[i], strings.ReplaceAll(template, "{}", name))
		}
	}
	return out, nil
}

// openTrainData opens --train-data and, in a resumed run, refuses other data than it began with.
func (r *run) openTrainData(ctx context.Context) (*data.Sources, error) {
	o := r.reading(true)
	opened, err := data.Open(ctx, r.o.TrainData, &o)
	if err != nil {
		return nil, fmt.Errorf("--train-data: %w", inFlags(err))
	}
	set := opened.(*data.Sources)
	fingerprint, err := data.Fingerprint(ctx, set)
	if err != nil {
		return nil, fmt.Errorf("--train-data: %w", err)
	}
	print := strconv.FormatUint(fingerprint, 16)
	if r.state.Data != "" && r.state.Data != print {
		return nil, fmt.Errorf("train: --resume: the pictures or captions of --train-data are not those that the run began with; a resumed run continues it exactly")
	}
	r.state.Data = print
	captions := 0
	for i := range set.Len() {
		captions += len(set.Captions(i))
	}
	if captions > set.Len() {
		r.notes = append(r.notes, fmt.Sprintf("--train-data: %d pictures have %d captions; each epoch draws one of a picture's", set.Len(), captions))
	}
	if n := set.LeftOut(); n > 0 {
		r.notes = append(r.notes, fmt.Sprintf("--train-data: %d samples are left out, which lack a picture or a caption", n))
	}
	return set, nil
}

// sampling adds to o how an epoch is drawn from the training data.
func (o *Options) sampling(loading data.LoaderOptions, set *data.Sources) (data.LoaderOptions, error) {
	loading.DrawCaption = true
	loading.Resampled, loading.Parts = o.DatasetResampled, set.Parts()
	loading.UpsamplingFactors, _ = o.upsampling() // which check has checked
	if f := loading.UpsamplingFactors; f != nil && len(f) != len(loading.Parts) {
		return loading, fmt.Errorf("data: --train-data-upsampling-factors has %d numbers and --train-data %d sources", len(f), len(loading.Parts))
	}
	if o.DatasetType != "synthetic" {
		loading.NumSamples = o.TrainNumSamples
	}
	return loading, nil
}

// inFlags is an error of the data that names the flag which mends it.
func inFlags(err error) error {
	var option *data.OptionError
	flag, known := "", false
	if errors.As(err, &option) {
		flag, known = map[string]string{"Kind": "--dataset-type", "ImageKey": "--csv-img-key", "CaptionKey": "--csv-caption-key", "Encoding": "--text-encoding",
			"BatchSize": "--batch-size", "Cache": "GOCLIP_CACHE"}[option.Option]
	}
	if !known {
		return err
	}
	return &data.OptionError{Option: flag, Err: option.Err, Remedy: option.Remedy}
}
