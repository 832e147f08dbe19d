package train

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// Options of a run. Names, meanings and defaults are open_clip's (open_clip_train/params.py) unless the help says
// otherwise; the tags are read by cmd/train.
type Options struct {
	TrainData     string `name:"train-data" help:"CSV or TSV file, or webdataset shards: a-{00000..00012}.tar, globs, parts joined by ::. Must be given."`
	ValData       string `name:"val-data" help:"Data of the same kinds to evaluate retrieval on."`
	DatasetType   string `name:"dataset-type" default:"auto" help:"auto, csv or webdataset."`
	CSVImgKey     string `name:"csv-img-key" default:"filepath" help:"CSV column of picture paths."`
	CSVCaptionKey string `name:"csv-caption-key" default:"title" help:"CSV column of captions."`
	CSVSeparator  string `name:"csv-separator" default:"\\t" help:"CSV separator."`

	ImageNetVal       string `name:"imagenet-val" help:"Labelled pictures to evaluate zero-shot classification on: a directory with a folder for each class. ImageNet's folders (n01440764) take ImageNet's names; any other name, with spaces for underscores, is the class's."`
	ZeroshotFrequency int    `name:"zeroshot-frequency" default:"2" help:"Epochs between zero-shot evaluations, besides those before the first step and at the end; 0 evaluates never."`
	ZeroshotTemplates string `name:"zeroshot-templates" default:"openai_imagenet_80" help:"Prompts: openai_imagenet_80, openai_imagenet_7, a file with a template per line, or one template such as 'a photo of a {}.'."`

	Model      string `name:"model" help:"Built-in config (ViT-B-32, emoji-64), model directory (open_clip's or Hugging Face's) or file of weights. Must be given."`
	Pretrained string `name:"pretrained" help:"Weights to start from: a published tag (openai, laion2b_s34b_b79k), a file (.safetensors, .pt, .bin) or a model directory; random (the default for a config) draws them from --seed."`

	ForceImageSize     int    `name:"force-image-size" help:"Pixels of the square pictures in place of the config's; position embeddings are resampled."`
	ForceContextLength int    `name:"force-context-length" help:"Tokens of a text in place of the config's; position embeddings are resampled."`
	ForceQuickGELU     bool   `name:"force-quick-gelu" help:"QuickGELU whatever the config says, as OpenAI's weights want it."`
	SigLIP             bool   `name:"siglip" help:"Train with SigLIP's sigmoid loss in place of the softmax: each pair is judged by itself."`
	ImageTower         string `name:"pretrained-image-path" help:"Weights of the picture tower alone: a state dict of torchvision's vit_b_32 for vit_b_32-roberta-base, or a checkpoint whose picture tower is taken."`
	TextTower          string `name:"pretrained-text-path" help:"Weights of the text tower alone: roberta-base's pytorch_model.bin or model.safetensors, or a checkpoint whose text tower is taken."`

	LockImage       bool `name:"lock-image" help:"Keep the picture tower's weights as they are; timm's towers keep learning their projection."`
	UnlockedGroups  int  `name:"lock-image-unlocked-groups" default:"0" help:"With --lock-image: leave this many groups learning, counted from the top. The projection or pooling is one, then each block (a ResNet's stage); the last is the patches with the positions."`
	FreezeBNStats   bool `name:"lock-image-freeze-bn-stats" help:"With --lock-image: keep the batch statistics of a ResNet's locked groups as well."`
	LockText        bool `name:"lock-text" help:"Keep the text tower's weights as they are; a RoBERTa keeps learning its projection and each LayerNorm."`
	UnlockedLayers  int  `name:"lock-text-unlocked-layers" default:"0" help:"With --lock-text: leave this many layers learning, counted from the top. CLIP's own tower begins with its projection; the last is the embeddings."`
	FreezeLayerNorm bool `name:"lock-text-freeze-layer-norm" help:"With --lock-text: keep a RoBERTa's LayerNorms as well; CLIP's own are always kept."`

	BatchSize     int     `name:"batch-size" default:"64" help:"Pictures of a batch."`
	AccumFreq     int     `name:"accum-freq" default:"1" help:"Batches that make a step: the loss compares all their pictures, and the gradient is that of one batch so large."`
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
	Precision     string  `name:"precision" default:"auto" help:"fp32; amp_bf16 (or bf16): products in bfloat16, weights in float32; amp (or fp16): products in float16, weights in float32, the loss scaled; pure_bf16: weights in bfloat16 too. auto is amp_bf16 on CUDA, fp32 on the CPU."`
	NonFinite     string  `name:"non-finite" default:"stop" help:"What a loss or gradient does that is NaN or infinite: stop ends the run and names the first tensor that is; skip leaves the step out, at most 100 in a row."`
	AugCfg        AugCfg  `name:"aug-cfg" help:"Augmentation: scale=[0.9,1.0] ratio=[0.75,1.33] color_jitter=[b,c,s,h] color_jitter_prob=P gray_scale_prob=P, separated by spaces or semicolons."`
	PatchDropout  float64 `name:"force-patch-dropout" default:"-1" help:"Share of patches to leave out in training; the default is the config's."`
	NoShuffle     bool    `name:"no-shuffle" help:"Keep the order of the data."`
	Workers       int     `name:"workers" default:"4" help:"Goroutines that decode pictures."`
	Seed          uint64  `name:"seed" default:"0" help:"Of weights, order, augmentation and patch dropout."`
	Device        string  `name:"device" default:"auto" help:"auto, cpu, cuda or cuda:N."`
	Threads       int     `name:"threads" help:"Threads of libtorch's kernels; the default is the CPUs there are."`
	Resume        string  `name:"resume" help:"latest, or a checkpoint directory of this run: continue exactly where it was. A run that has no checkpoint yet begins anew with latest."`
	SaveFrequency int     `name:"save-frequency" default:"1" help:"Epochs between checkpoints/epoch_N; 0 keeps only checkpoints/latest."`
	DeletePrev    bool    `name:"delete-previous-checkpoint" help:"Keep only the newest epoch_N."`
	ValFrequency  int     `name:"val-frequency" default:"1" help:"Epochs between evaluations; 0 evaluates never."`
	Logs          string  `name:"logs" default:"./logs/" help:"Directory of runs."`
	Name          string  `name:"name" help:"Name of the run, a directory under --logs; the default has the time, model and batch size."`
	LogEvery      int     `name:"log-every-n-steps" default:"100" help:"Steps between lines of the log."`
	ReportTo      string  `name:"report-to" help:"tensorboard writes event files into LOGS/NAME/tensorboard, with open_clip's names."`
	MetricsAddr   string  `name:"metrics-addr" help:"Address, such as 127.0.0.1:9090, at which Prometheus finds /metrics while the run lasts."`
	DryRun        bool    `name:"dry-run" help:"Open all that the run needs, print what it would do and what memory and disk it takes, and write nothing."`
	Overfit       int     `name:"overfit" help:"Self-test: train on this many pairs alone, without augmentation, until they are known by heart, and write nothing. Exit status 1 if --max-steps (300) do not suffice."`
}

// DefaultOptions are the defaults of cmd/train.
func DefaultOptions() Options {
	var o Options
	v := reflect.ValueOf(&o).Elem()
	for i := range v.NumField() {
		text := v.Type().Field(i).Tag.Get("default")
		if text == "" {
			continue
		}
		if v.Field(i).Kind() == reflect.String {
			v.Field(i).SetString(text)
		} else if _, err := fmt.Sscan(text, v.Field(i).Addr().Interface()); err != nil {
			panic(fmt.Sprintf("train: the default of %s: %v", v.Type().Field(i).Name, err))
		}
	}
	return o
}

// mostThreads bounds --workers and --threads: beyond it a number is a slip, and the machine would choke on it.
const mostThreads = 1024

// check refuses options that make no run, each by the name of its flag.
func (o *Options) check() error {
	var faults []string
	wants := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	number := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	wants(o.Model != "", "--model is missing: a built-in config such as ViT-B-32, or a model directory")
	wants(o.TrainData != "", "--train-data is missing: a CSV file or webdataset shards")
	wants(slices.Contains([]string{"auto", "csv", "webdataset"}, o.DatasetType), "--dataset-type %q is none of auto, csv, webdataset", o.DatasetType)
	wants(data.CheckSeparator(o.CSVSeparator) == nil, "--csv-separator %q is not one character, or cannot part columns", o.CSVSeparator)
	wants(o.ForceImageSize >= 0, "--force-image-size %d is negative", o.ForceImageSize)
	wants(o.ForceContextLength >= 0, "--force-context-length %d is negative", o.ForceContextLength)
	wants(o.BatchSize >= 1 && o.BatchSize*o.AccumFreq >= 2, "--batch-size %d: the loss compares pictures of a batch, so at least 2 are wanted", o.BatchSize)
	wants(o.AccumFreq >= 1, "--accum-freq %d: at least 1 is wanted", o.AccumFreq)
	wants(o.Epochs >= 1, "--epochs %d: at least 1 is wanted", o.Epochs)
	wants(o.MaxSteps >= 0, "--max-steps %d is negative", o.MaxSteps)
	wants(o.LR > 0 && number(o.LR), "--lr %g: a positive number is wanted", o.LR)
	wants(o.Beta1 >= 0 && o.Beta1 < 1, "--beta1 %g is outside [0, 1)", o.Beta1)
	wants(o.Beta2 >= 0 && o.Beta2 < 1, "--beta2 %g is outside [0, 1)", o.Beta2)
	wants(o.Eps > 0 && number(o.Eps), "--eps %g: a positive number is wanted", o.Eps)
	wants(o.WD >= 0 && number(o.WD), "--wd %g: 0 or a positive number is wanted", o.WD)
	wants(o.Warmup >= -1, "--warmup %d: a number of steps is wanted, or -1 for the default", o.Warmup)
	wants(o.LRScheduler == "cosine" || o.LRScheduler == "const", "--lr-scheduler %q is none of cosine, const", o.LRScheduler)
	wants(o.GradClipNorm >= 0 && number(o.GradClipNorm), "--grad-clip-norm %g: 0 or a positive number is wanted", o.GradClipNorm)
	_, known := precisions[o.Precision]
	wants(known || o.Precision == "auto", "--precision %q is none of auto, fp32, amp_bf16, bf16, amp, fp16, pure_bf16", o.Precision)
	wants(o.NonFinite == "stop" || o.NonFinite == "skip", "--non-finite %q is none of stop, skip", o.NonFinite)
	wants(o.PatchDropout == -1 || o.PatchDropout >= 0 && o.PatchDropout < 1, "--force-patch-dropout %g is outside [0, 1)", o.PatchDropout)
	wants(o.UnlockedGroups >= 0, "--lock-image-unlocked-groups %d is negative", o.UnlockedGroups)
	wants(o.UnlockedLayers >= 0, "--lock-text-unlocked-layers %d is negative", o.UnlockedLayers)
	wants(o.LockImage || o.UnlockedGroups <= 0, "--lock-image-unlocked-groups %d wants --lock-image", o.UnlockedGroups)
	wants(o.LockText || o.UnlockedLayers <= 0, "--lock-text-unlocked-layers %d wants --lock-text", o.UnlockedLayers)
	wants(o.LockImage || !o.FreezeBNStats, "--lock-image-freeze-bn-stats wants --lock-image")
	wants(o.LockText || !o.FreezeLayerNorm, "--lock-text-freeze-layer-norm wants --lock-text")
	wants(o.Workers >= 1 && o.Workers <= mostThreads, "--workers %d: 1 to %d are wanted", o.Workers, mostThreads)
	wants(o.Threads >= 0 && o.Threads <= mostThreads, "--threads %d: 1 to %d are wanted, or 0 for the default", o.Threads, mostThreads)
	wants(o.SaveFrequency >= 0, "--save-frequency %d is negative", o.SaveFrequency)
	wants(o.ValFrequency >= 0, "--val-frequency %d is negative", o.ValFrequency)
	wants(o.ZeroshotFrequency >= 0, "--zeroshot-frequency %d is negative", o.ZeroshotFrequency)
	for _, place := range strings.Split(o.ReportTo, ",") {
		switch strings.TrimSpace(place) {
		case "", "tensorboard":
		case "wandb", "all":
			wants(false, "--report-to %s: goclip does not speak to Weights & Biases; write --report-to tensorboard, whose files wandb sync uploads", o.ReportTo)
		default:
			wants(false, "--report-to %q is none of tensorboard", place)
		}
	}
	wants(o.Overfit == 0 || o.Overfit >= 2, "--overfit %d: at least 2 pairs are wanted", o.Overfit)
	wants(o.Overfit == 0 || o.Resume == "" && !o.DryRun, "--overfit stands alone: without --resume and --dry-run")
	wants(o.LogEvery >= 1, "--log-every-n-steps %d: at least 1 is wanted", o.LogEvery)
	wants(o.Name == "" || o.Name == filepath.Base(filepath.Clean("/"+o.Name)), "--name %q is not the name of a directory", o.Name)
	_, err := preprocess.NewTrainTransform(preprocess.DefaultConfig(224), o.AugCfg.AugConfig)
	wants(err == nil, "--aug-cfg: %v", err)
	if len(faults) > 0 {
		return optionsError{errors.New("train: " + strings.Join(faults, "; "))}
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
