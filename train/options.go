package train

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Options of a run. Names, meanings and defaults are open_clip's (open_clip_train/params.py) unless the help says
// otherwise; the tags are read by cmd/train.
type Options struct {
	TrainData     string `name:"train-data" help:"CSV or TSV file, or webdataset shards: a-{00000..00012}.tar, globs, parts joined by ::."`
	ValData       string `name:"val-data" help:"Data of the same kinds to evaluate retrieval on."`
	DatasetType   string `name:"dataset-type" default:"auto" help:"auto, csv or webdataset."`
	CSVImgKey     string `name:"csv-img-key" default:"filepath" help:"CSV column of picture paths."`
	CSVCaptionKey string `name:"csv-caption-key" default:"title" help:"CSV column of captions."`
	CSVSeparator  string `name:"csv-separator" default:"\\t" help:"CSV separator."`

	ImageNetVal       string `name:"imagenet-val" help:"Labelled pictures to evaluate zero-shot classification on: a directory with a folder for each class. ImageNet's folders (n01440764) take ImageNet's names; any other name, with spaces for underscores, is the class's."`
	ZeroshotFrequency int    `name:"zeroshot-frequency" default:"2" help:"Epochs between zero-shot evaluations, besides those before the first step and at the end; 0 evaluates never."`
	ZeroshotTemplates string `name:"zeroshot-templates" default:"openai_imagenet_80" help:"Prompts: openai_imagenet_80, openai_imagenet_7, a file with a template per line, or one template such as 'a photo of a {}.'."`

	Model      string `name:"model" required:"" help:"Built-in config (ViT-B-32, emoji-64) or model directory."`
	Pretrained string `name:"pretrained" help:"Weights to start from: a .safetensors file or model directory; random (the default for a config) draws them from --seed."`

	BatchSize     int     `name:"batch-size" default:"64" help:"Pictures of a batch."`
	Epochs        int     `name:"epochs" default:"32" help:"Passes over the data."`
	MaxSteps      int     `name:"max-steps" help:"Stop after this many steps; the schedule then spans them."`
	LR            float64 `name:"lr" default:"5e-4" help:"Peak learning rate. For fine-tuning take 1e-5 or less."`
	Beta1         float64 `name:"beta1" default:"0.9" help:"AdamW's beta1."`
	Beta2         float64 `name:"beta2" default:"0.98" help:"AdamW's beta2."`
	Eps           float64 `name:"eps" default:"1e-6" help:"AdamW's epsilon."`
	WD            float64 `name:"wd" default:"0.2" help:"Weight decay of matrices; gains, biases and the temperature have none."`
	Warmup        int     `name:"warmup" default:"-1" help:"Steps of linear warm-up; must be less than the run. The default is a tenth of the run, at most 10000."`
	LRScheduler   string  `name:"lr-scheduler" default:"cosine" help:"cosine or const."`
	GradClipNorm  float64 `name:"grad-clip-norm" help:"Largest norm of the gradient; 0 clips nothing."`
	Precision     string  `name:"precision" default:"fp32" help:"fp32, or amp_bf16: products in bfloat16, weights in float32."`
	AugCfg        AugCfg  `name:"aug-cfg" help:"Augmentation: scale=[0.9,1.0] ratio=[0.75,1.33] color_jitter=[b,c,s,h] color_jitter_prob=P gray_scale_prob=P, separated by spaces or semicolons."`
	PatchDropout  float64 `name:"force-patch-dropout" default:"-1" help:"Share of patches to leave out in training; the default is the config's."`
	NoShuffle     bool    `name:"no-shuffle" help:"Keep the order of the data."`
	Workers       int     `name:"workers" default:"4" help:"Goroutines that decode pictures."`
	Seed          uint64  `name:"seed" default:"0" help:"Of weights, order, augmentation and patch dropout."`
	Device        string  `name:"device" default:"auto" help:"auto, cpu, cuda or cuda:N."`
	Threads       int     `name:"threads" help:"Threads of libtorch's kernels; the default is the CPUs there are."`
	Resume        string  `name:"resume" help:"latest, or a checkpoint directory of this run: continue exactly where it was."`
	SaveFrequency int     `name:"save-frequency" default:"1" help:"Epochs between checkpoints/epoch_N; 0 keeps only checkpoints/latest."`
	DeletePrev    bool    `name:"delete-previous-checkpoint" help:"Keep only the newest epoch_N."`
	ValFrequency  int     `name:"val-frequency" default:"1" help:"Epochs between evaluations; 0 evaluates never."`
	Logs          string  `name:"logs" default:"./logs/" help:"Directory of runs."`
	Name          string  `name:"name" help:"Name of the run, a directory under --logs; the default has the time, model and batch size."`
	LogEvery      int     `name:"log-every-n-steps" default:"100" help:"Steps between lines of the log."`
}

// check refuses options that make no run, each by the name of its flag.
func (o *Options) check() error {
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("train: "+format, args...))
		}
	}
	refuse(o.TrainData == "", "--train-data is missing: a CSV file or webdataset shards")
	refuse(o.BatchSize < 2, "--batch-size %d: the loss compares pictures of a batch, so at least 2 are wanted", o.BatchSize)
	refuse(o.Epochs < 1, "--epochs %d: at least 1 is wanted", o.Epochs)
	refuse(o.MaxSteps < 0, "--max-steps %d is negative", o.MaxSteps)
	refuse(o.LR <= 0, "--lr %g: a positive number is wanted", o.LR)
	refuse(o.Beta1 < 0 || o.Beta1 >= 1, "--beta1 %g is outside [0, 1)", o.Beta1)
	refuse(o.Beta2 < 0 || o.Beta2 >= 1, "--beta2 %g is outside [0, 1)", o.Beta2)
	refuse(o.Workers < 1, "--workers %d: at least 1 is wanted", o.Workers)
	refuse(o.Threads < 0, "--threads %d is negative", o.Threads)
	refuse(o.PatchDropout >= 1, "--force-patch-dropout %g is outside [0, 1)", o.PatchDropout)
	refuse(o.ZeroshotFrequency < 0, "--zeroshot-frequency %d is negative", o.ZeroshotFrequency)
	refuse(o.Precision != "fp32" && o.Precision != "amp_bf16", "--precision %q is none of fp32, amp_bf16", o.Precision)
	refuse(o.Name != filepath.Base(filepath.Clean("/"+o.Name)) && o.Name != "", "--name %q is not the name of a directory", o.Name)
	if len(errs) > 0 {
		return optionsError{errors.Join(errs...)}
	}
	return nil
}

// optionsError is an [ErrOptions] that reads as what it wraps.
type optionsError struct{ error }

func (e optionsError) Is(target error) bool { return target == ErrOptions }

// directory is where the run writes.
func (o *Options) directory(now time.Time) string {
	name := o.Name
	if name == "" {
		name = fmt.Sprintf("%s-model_%s-b_%d", now.Format("2006_01_02-15_04_05"), filepath.Base(o.Model), o.BatchSize)
	}
	return filepath.Join(o.Logs, name)
}
