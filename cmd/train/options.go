package main

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// options are the flags of a run. Names, meanings and defaults are open_clip's
// (open_clip_train/params.py) unless the help says otherwise; `complete` is for the shell
// completion, `field` the field of train.Config that the flag is, by which messages find the flag's
// name. Checkpoints keep them as JSON.
type options struct {
	TrainData  string  `name:"train-data" help:"Images with captions to train on (required): CSV, TSV, JSON Lines or Parquet tables, webdataset shards (.tar, .tar.gz, .tar.zst), a folder with one folder per class, or a folder of images with .txt files. Takes ranges (a-{00000..00012}.tar), globs, http(s)://, s3:// and pipe: shards, and sources joined by ::." group:"usual" field:"Data"`
	ValData    string  `name:"val-data" help:"Data of the same kinds to evaluate retrieval on." group:"usual" field:"Val"`
	Model      string  `name:"model" default:"RN50" help:"Model to train: a built-in config (ViT-B-32), the built-in model emoji-64, a model directory (open_clip's or Hugging Face's), a weights file, or a published model (ViT-B-32:openai, hf-hub:ORG/NAME)." group:"usual" complete:"models"`
	Pretrained string  `name:"pretrained" help:"Weights to start from: a published tag (openai, laion2b_s34b_b79k), a file (.safetensors, .pt, .bin), a model directory, or random, drawn from --seed (default: the model's own; random if it has none)." group:"usual" complete:"tags"`
	Epochs     int     `name:"epochs" default:"32" help:"Passes over the data. With --resume a larger number trains longer." group:"usual"`
	BatchSize  int     `name:"batch-size" default:"64" help:"Images per batch in each process." group:"usual"`
	LR         float64 `name:"lr" default:"5e-4" help:"Peak learning rate (default: 5e-4; 1e-5 when trained weights are fine-tuned)." group:"usual"`
	Warmup     warmup  `name:"warmup" default:"-1" help:"Steps of linear warm-up, or a fraction of the run: 0.1, 10% (default: a tenth of the run, at most 10000 steps)." group:"usual" complete:"none"`
	Precision  string  `name:"precision" default:"auto" help:"fp32, by three bfloat16 products each on CPUs with AMX; fp32-strict, without them; amp_bf16 (or bf16): products in bfloat16, weights in float32; amp (or fp16): products in float16, weights in float32, the loss scaled; pure_bf16: weights in bfloat16 too. auto is amp_bf16 on CUDA and fp32 on the CPU." group:"usual" complete:"auto,fp32,fp32-strict,amp_bf16,bf16,amp,fp16,pure_bf16"`
	Device     string  `name:"device" default:"auto" help:"auto, cpu, cuda or cuda:N." group:"usual" complete:"auto,cpu,cuda"`
	Workers    int     `name:"workers" default:"4" help:"Goroutines that decode images." group:"usual"`
	Name       string  `name:"name" help:"Name of the run, a directory under --logs (default: the time, model and batch size)." group:"usual" complete:"none" field:"Dir"`
	Logs       string  `name:"logs" default:"./logs/" help:"Directory of runs; none keeps nothing." group:"usual" complete:"dirs"`
	Resume     string  `name:"resume" help:"Continue a run exactly where it stopped: latest, for the run --name, or the directory of another run or checkpoint. Other flags default to the run's. latest starts the run if it has no checkpoint." group:"usual" complete:"latest" field:"resume"`
	Seed       uint64  `name:"seed" default:"0" help:"Seed of weights, order, augmentation and patch dropout." group:"usual"`
	DryRun     bool    `name:"dry-run" help:"Open everything, print the steps, memory and disk that the run needs, and write nothing." group:"usual"`

	DatasetType       string `name:"dataset-type" default:"auto" help:"auto, which goes by extension; csv, jsonl, parquet, webdataset, imagefolder (a folder for each class), pairs (images with .txt files), or synthetic." group:"data" complete:"auto,csv,jsonl,parquet,webdataset,imagefolder,pairs,synthetic"`
	CSVImgKey         string `name:"csv-img-key" default:"filepath" help:"Column, or JSON key, of image paths; in Parquet also of the images themselves." group:"data" complete:"none"`
	CSVCaptionKey     string `name:"csv-caption-key" default:"title" help:"Column, or JSON key, of captions." group:"data" complete:"none"`
	CSVSeparator      string `name:"csv-separator" default:"\\t" help:"Separator of a CSV table. If the default does not split the header, a comma, semicolon or bar is tried." group:"data" complete:"none"`
	TextEncoding      string `name:"text-encoding" help:"Encoding of tables and caption files, such as windows-1252 or euc-kr (default: UTF-8, or UTF-16 with a byte order mark)." placeholder:"NAME" group:"data" complete:"none"`
	ImageKey          string `name:"image-key" help:"Extensions of a shard's images, preferred first, such as jpg;png (default: all supported)." group:"data" complete:"none"`
	TextKey           string `name:"text-key" default:"txt" help:"Extensions of a shard's captions." group:"data" complete:"none"`
	JSONTextKey       string `name:"json-text-key" help:"Read captions from this key of a shard's .json members instead of --text-key." group:"data" complete:"none"`
	Captions          string `name:"captions" default:"draw" help:"For an image with several captions: draw takes one per epoch by --seed; each makes every caption a sample, as open_clip does." group:"data" complete:"draw,each"`
	CaptionLines      bool   `name:"caption-lines" help:"Take each line of a .txt as a caption instead of the whole text." group:"data"`
	ClassPrompts      string `name:"class-templates" default:"a photo of a {}." help:"Captions of a folder of classes: one template, a file with one template per line, openai_imagenet_7 or openai_imagenet_80." group:"data" complete:"templates"`
	TrainNumSamples   int    `name:"train-num-samples" help:"Images per epoch (default: all). Required with --dataset-type synthetic." group:"data" field:"EpochSamples"`
	DatasetResampled  bool   `name:"dataset-resampled" help:"Draw the images of an epoch with replacement." group:"data" field:"Resample"`
	UpsamplingFactors string `name:"train-data-upsampling-factors" help:"With --dataset-resampled: relative weight of the images of each source, such as 1::2::0.5." group:"data" complete:"none" field:"UpsamplingFactors"`
	NoShuffle         bool   `name:"no-shuffle" help:"Keep the order of the data." group:"data"`
	Orient            bool   `name:"orient" help:"Turn images upright by their EXIF orientation (default: as they lie in the file, as open_clip takes them)." group:"data"`
	PlainText         bool   `name:"plain-text" help:"Take special tokens inside captions, such as <|endoftext|>, as text (default: as tokens, as open_clip takes its own)." group:"data"`
	MaxImagePixels    int64  `name:"max-image-pixels" default:"178956970" help:"Largest image that is decoded; larger ones count as bad samples (default: Pillow's limit)." group:"data" field:"MaxImagePixels"`

	AccumFreq         int     `name:"accum-freq" default:"1" help:"Batches per step: the loss compares all their images, as in one large batch." group:"learning"`
	MaxSteps          int     `name:"max-steps" help:"Stop after this many steps; the schedule then spans them." group:"learning"`
	LRScheduler       string  `name:"lr-scheduler" default:"cosine" help:"cosine, const or const-cooldown." group:"learning" complete:"cosine,const,const-cooldown" field:"Schedule"`
	EpochsCooldown    int     `name:"epochs-cooldown" help:"With --lr-scheduler const-cooldown: epochs at the end over which the learning rate falls." group:"learning" field:"CooldownEpochs"`
	LRCooldownEnd     float64 `name:"lr-cooldown-end" default:"0" help:"With --lr-scheduler const-cooldown: the learning rate at the end." group:"learning" field:"CooldownEndLR"`
	LRCooldownPow     float64 `name:"lr-cooldown-power" default:"1" help:"With --lr-scheduler const-cooldown: power of the polynomial; 1 is linear." group:"learning" field:"CooldownPower"`
	SkipScheduler     bool    `name:"skip-scheduler" help:"Keep --lr constant, without warm-up." group:"learning" field:"SkipSchedule"`
	Opt               string  `name:"opt" default:"adamw" help:"Optimiser: adamw." group:"learning" complete:"adamw"`
	WD                float64 `name:"wd" default:"0.2" help:"Weight decay of matrices; gains, biases and the temperature have none (default: 0.2; 0.1 when trained weights are fine-tuned)." group:"learning" field:"WeightDecay"`
	Beta1             float64 `name:"beta1" default:"0.9" help:"AdamW's beta1." group:"learning"`
	Beta2             float64 `name:"beta2" default:"0.98" help:"AdamW's beta2 (default: 0.98; 0.999 for other configs than ViTs, as in open_clip)." group:"learning"`
	Eps               float64 `name:"eps" default:"1e-6" help:"AdamW's epsilon (default: 1e-6; 1e-8 for other configs than ViTs, as in open_clip)." group:"learning"`
	GradClipNorm      float64 `name:"grad-clip-norm" help:"Largest norm of the gradient (default: 0, no limit)." group:"learning"`
	SigLIP            bool    `name:"siglip" help:"Train with SigLIP's sigmoid loss instead of the softmax." group:"learning"`
	DistillModel      string  `name:"distill-model" help:"Frozen teacher, named as for --model: its softmax over the batch's similarities is a second target. It must take the same images and tokens." group:"learning" complete:"models" field:"Teacher"`
	DistillPretrained string  `name:"distill-pretrained" help:"Weights of the teacher, named as for --pretrained." group:"learning" complete:"tags"`
	IDTargets         string  `name:"id-targets" default:"auto" help:"What matches an image in the loss and in evaluations. on: equal captions, and those of the same image or class; off: only its own, as in open_clip; auto: on for a folder of classes." group:"learning" complete:"auto,on,off"`
	NonFinite         string  `name:"non-finite" default:"stop" help:"If a loss or gradient is NaN or infinite: stop ends the run and names the first such tensor; skip skips the step, at most 100 in a row." group:"learning" complete:"stop,skip" field:"SkipNonFinite"`

	LockImage       bool    `name:"lock-image" help:"Freeze the image tower; timm's towers still train their projection." group:"tuning"`
	UnlockedGroups  int     `name:"lock-image-unlocked-groups" default:"0" help:"With --lock-image: train this many groups, counted from the top: the projection or pooling, then each block (a ResNet's stage), then the patch and position embeddings." group:"tuning"`
	FreezeBNStats   bool    `name:"lock-image-freeze-bn-stats" help:"With --lock-image: also freeze the batch statistics of a ResNet's locked groups." group:"tuning"`
	LockText        bool    `name:"lock-text" help:"Freeze the text tower; a RoBERTa still trains its projection and LayerNorms." group:"tuning"`
	UnlockedLayers  int     `name:"lock-text-unlocked-layers" default:"0" help:"With --lock-text: train this many layers, counted from the top: in CLIP's own tower the projection, then each block, then the embeddings." group:"tuning"`
	FreezeLayerNorm bool    `name:"lock-text-freeze-layer-norm" help:"With --lock-text: also freeze a RoBERTa's LayerNorms; CLIP's own are always frozen." group:"tuning"`
	LoRARank        int     `name:"lora-rank" help:"Rank of LoRA's products, trained beside the frozen weights of attention and MLPs; checkpoints have them merged (default: 0, no LoRA)." group:"tuning"`
	LoRAAlpha       float64 `name:"lora-alpha" help:"With --lora-rank: scale of the products is alpha/rank (default: the rank)." group:"tuning"`
	WiseFT          float64 `name:"wise-ft" help:"Write and evaluate checkpoints/wise_ft at the end: this fraction of the trained weights and the rest of the initial ones, for example 0.5 (default: 0, none)." group:"tuning"`
	EMADecay        float64 `name:"ema-decay" help:"Decay of an average of the weights, such as 0.999; each checkpoint then has a model directory ema/, also evaluated (default: 0, none)." group:"tuning"`
	ImageLayerDecay float64 `name:"image-layer-decay" default:"1" help:"Factor of the learning rate from each group of the image tower to the next lower one; 1: equal rates. Groups are those of --lock-image-unlocked-groups." group:"tuning"`
	TextLayerDecay  float64 `name:"text-layer-decay" default:"1" help:"The same for the text tower and the layers of --lock-text-unlocked-layers." group:"tuning"`
	TokenLR         float64 `name:"token-embedding-lr" help:"Learning rate of the token embeddings; 0 is --lr; -1 is 0.04 divided by the number of steps, at least --lr (default: -1 when fine-tuning without --lr, else 0)." group:"tuning"`
	ImageTower      string  `name:"pretrained-image-path" help:"Weights of the image tower only: torchvision's vit_b_32 for vit_b_32-roberta-base, or a checkpoint's image tower." group:"tuning"`
	TextTower       string  `name:"pretrained-text-path" help:"Weights of the text tower only: roberta-base's pytorch_model.bin or model.safetensors, or a checkpoint's text tower." group:"tuning"`

	AugCfg             augCfg    `name:"aug-cfg" help:"Augmentation: scale=[0.9,1.0] ratio=[0.75,1.33] color_jitter=[b,c,s,h] color_jitter_prob=P gray_scale_prob=P, separated by spaces or semicolons." group:"images" complete:"none" field:"Augment"`
	ImageMean          triple    `name:"image-mean" help:"Mean of R, G and B in [0, 1], instead of the model's." group:"images" complete:"none"`
	ImageStd           triple    `name:"image-std" help:"Standard deviation of R, G and B, instead of the model's." group:"images" complete:"none"`
	ImageInterpolation string    `name:"image-interpolation" help:"bicubic, bilinear or random, instead of the model's, for evaluation; training crops are bicubic." group:"images" complete:"bicubic,bilinear,random"`
	ImageResizeMode    string    `name:"image-resize-mode" help:"shortest, longest or squash, instead of the model's, for evaluation." group:"images" complete:"shortest,longest,squash"`
	ForceImageSize     imageSize `name:"force-image-size" help:"Side of the square images in pixels, instead of the config's; position embeddings are resampled." group:"images"`
	ForceContextLength int       `name:"force-context-length" help:"Tokens of a text, instead of the config's; position embeddings are resampled." group:"images"`
	ForceQuickGELU     bool      `name:"force-quick-gelu" help:"Use QuickGELU, which OpenAI's weights need, whatever the config says." group:"images"`
	PatchDropout       float64   `name:"force-patch-dropout" default:"-1" help:"Fraction of patches to leave out in training (default: the config's)." group:"images"`

	ValFrequency      int    `name:"val-frequency" default:"1" help:"Epochs between evaluations on --val-data; 0: never." group:"evaluation" field:"ValEpochs"`
	EvalOnly          bool   `name:"eval-only" help:"Evaluate the model, or the checkpoint of --resume, on --val-data and --imagenet-val, and print the metrics as JSON. The default without --train-data." group:"evaluation"`
	ImageNetVal       string `name:"imagenet-val" help:"Labelled images to evaluate zero-shot classification on: a directory with one folder per class. Folders named as in ImageNet (n01440764) get ImageNet's class names; in others, underscores become spaces." group:"evaluation" complete:"dirs" field:"ZeroShot"`
	ZeroshotFrequency int    `name:"zeroshot-frequency" default:"2" help:"Epochs between zero-shot evaluations, besides those before the first step and at the end; 0: never." group:"evaluation" field:"ZeroShotEpochs"`
	ZeroshotTemplates string `name:"zeroshot-templates" default:"openai_imagenet_80" help:"Prompts: openai_imagenet_80, openai_imagenet_7, a file with one template per line, or one template such as 'a photo of a {}.'." group:"evaluation" complete:"templates" field:"ZeroShotTemplates"`

	SaveFrequency    int     `name:"save-frequency" default:"1" help:"Epochs between checkpoints/epoch_N; 0 keeps only checkpoints/latest." group:"keeping" field:"SaveEpochs"`
	DeletePrev       bool    `name:"delete-previous-checkpoint" help:"Keep only the newest epoch_N." group:"keeping" field:"DeletePrevious"`
	SaveEverySteps   int     `name:"save-every-n-steps" help:"Steps between writes of checkpoints/latest within an epoch (default: 0, only --save-every-minutes)." group:"keeping" field:"SaveSteps"`
	SaveEveryMinutes float64 `name:"save-every-minutes" default:"30" help:"Minutes between writes of checkpoints/latest within an epoch; 0: only at its end." group:"keeping" field:"SaveEvery"`
	SaveMostRecent   bool    `name:"save-most-recent" help:"Accepted for open_clip's command lines; checkpoints/latest is always written after every epoch." group:"keeping"`
	LogEvery         int     `name:"log-every-n-steps" default:"100" help:"Steps between lines of the log." group:"keeping"`
	ReportTo         string  `name:"report-to" help:"tensorboard writes event files into LOGS/NAME/tensorboard, with open_clip's names." group:"keeping" complete:"tensorboard" field:"TensorBoard"`
	MetricsAddr      string  `name:"metrics-addr" help:"Address for Prometheus metrics during the run, such as 127.0.0.1:9090." group:"keeping" complete:"none"`
	Overfit          int     `name:"overfit" help:"Self-test: train on only this many pairs, without augmentation, until the model has learned them, and write nothing. Exit status 1 if --max-steps (300) are not enough." group:"keeping" field:"Overfit"`

	Threads           int    `name:"threads" help:"Threads of libtorch's kernels (default: the number of CPUs). Runs are equal bit for bit only with the same number." group:"machine"`
	GradCheckpointing bool   `name:"grad-checkpointing" help:"Recompute each block in the backward pass: less memory, one more forward pass per step. Transformers only." group:"machine"`
	CUDAGraphs        bool   `name:"cuda-graphs" help:"Use CUDA graphs, one for each batch shape: faster for small batches on a GPU. Needs make build-cuda, one process and bfloat16." group:"machine"`
	CacheDir          string `name:"cache-dir" help:"Directory of downloaded weights and unpacked shards, instead of GOCLIP_CACHE." group:"machine" complete:"dirs"`
	DistURL           string `name:"dist-url" help:"Address on rank 0's host where the processes meet, tcp://HOST:PORT, instead of MASTER_ADDR and MASTER_PORT." group:"machine" complete:"none"`
	DistBackend       string `name:"dist-backend" help:"gloo for CPUs, or nccl for GPUs, which needs make build-cuda (default: the device's)." group:"machine" complete:"gloo,nccl"`
}

// helpGroups are the groups of flags, the commonest first.
var helpGroups = kong.Groups{
	"usual": "Usual flags:", "data": "Reading the data:", "learning": "Steps, rates and loss:", "tuning": "Fine-tuning:", "images": "Images and texts:",
	"evaluation": "Evaluation:", "keeping": "Checkpoints, log and reports:", "machine": "The machine:", "processes": "Several processes:", "about": "This program:",
}

// flagOf is the flag, "--lr", that gives a field of train.Config, or what else its messages name.
func (o *options) flagOf(field string) string {
	switch field {
	case "fields":
		return "flags"
	case "Resume":
		return "--resume latest --name " + o.Name
	case "Trained":
		return "--pretrained, or a model directory"
	}
	t := reflect.TypeFor[options]()
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		if is := tag.Get("field"); is == field || is == "" && t.Field(i).Name == field {
			return "--" + tag.Get("name")
		}
	}
	return field
}

// String is params.txt: each flag with its value, as open_clip writes it.
func (o options) String() string {
	var b strings.Builder
	v := reflect.ValueOf(o)
	for i := range v.NumField() {
		fmt.Fprintf(&b, "%s: %v\n", v.Type().Field(i).Tag.Get("name"), v.Field(i).Interface())
	}
	return b.String()
}

// runName is --name, or the name that a run gets which begins now.
func (o *options) runName(now time.Time) string {
	if o.Name != "" {
		return o.Name
	}
	return fmt.Sprintf("%s-model_%s-b_%d", now.Format("2006_01_02-15_04_05"), filepath.Base(o.Model), o.BatchSize)
}
