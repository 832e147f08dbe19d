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
	TrainData  string  `name:"train-data" help:"Images with captions to train on: CSV, TSV, JSON Lines or Parquet tables, webdataset shards (.tar, .tar.gz, .tar.zst), a folder with a folder for each class, or a folder of images with .txt files. Takes ranges (a-{00000..00012}.tar), globs, http(s)://, s3:// and pipe: shards, and several sources joined by ::. Required." group:"usual" field:"Data"`
	ValData    string  `name:"val-data" help:"Data of the same kinds to evaluate retrieval on." group:"usual" field:"Val"`
	Model      string  `name:"model" default:"RN50" help:"Model to train: a built-in config (ViT-B-32), emoji-64 with the weights that goclip ships, a model directory (open_clip's or Hugging Face's), a file of weights, or a published model (ViT-B-32:openai, hf-hub:ORG/NAME)." group:"usual" complete:"models"`
	Pretrained string  `name:"pretrained" help:"Weights to start from: a published tag (openai, laion2b_s34b_b79k), a file (.safetensors, .pt, .bin), a model directory, or random, drawn from --seed (default: the model's own; random if it has none)." group:"usual" complete:"tags"`
	Epochs     int     `name:"epochs" default:"32" help:"Passes over the data. With --resume a larger number trains longer." group:"usual"`
	BatchSize  int     `name:"batch-size" default:"64" help:"Images of a batch in each process." group:"usual"`
	LR         float64 `name:"lr" default:"5e-4" help:"Peak learning rate (default: 5e-4; 1e-5 when trained weights are fine-tuned)." group:"usual"`
	Warmup     warmup  `name:"warmup" default:"-1" help:"Steps of linear warm-up, or a fraction of the run: 0.1, 10% (default: a tenth of the run, at most 10000 steps)." group:"usual" complete:"none"`
	Precision  string  `name:"precision" default:"auto" help:"fp32; amp_bf16 (or bf16): products in bfloat16, weights in float32; amp (or fp16): products in float16, weights in float32, the loss scaled; pure_bf16: weights in bfloat16 too. auto is amp_bf16 on CUDA and fp32 on the CPU." group:"usual" complete:"auto,fp32,amp_bf16,bf16,amp,fp16,pure_bf16"`
	Device     string  `name:"device" default:"auto" help:"auto, cpu, cuda or cuda:N." group:"usual" complete:"auto,cpu,cuda"`
	Workers    int     `name:"workers" default:"4" help:"Goroutines that decode images." group:"usual"`
	Name       string  `name:"name" help:"Name of the run, a directory under --logs (default: the time, model and batch size)." group:"usual" complete:"none" field:"Dir"`
	Logs       string  `name:"logs" default:"./logs/" help:"Directory of runs; none keeps nothing." group:"usual" complete:"dirs"`
	Resume     string  `name:"resume" help:"Continue exactly where a run was: latest, for the run --name; or the directory of another run or of a checkpoint. Flags that are not given are the run's. Without a checkpoint, latest begins the run." group:"usual" complete:"latest" field:"resume"`
	Seed       uint64  `name:"seed" default:"0" help:"Seed of weights, order, augmentation and patch dropout." group:"usual"`
	DryRun     bool    `name:"dry-run" help:"Open all that the run needs, print what it would do and what memory and disk it takes, and write nothing." group:"usual"`

	DatasetType       string `name:"dataset-type" default:"auto" help:"auto, which goes by extension; csv, jsonl, parquet, webdataset, imagefolder (a folder for each class), pairs (images with .txt files), or synthetic." group:"data" complete:"auto,csv,jsonl,parquet,webdataset,imagefolder,pairs,synthetic"`
	CSVImgKey         string `name:"csv-img-key" default:"filepath" help:"Column, or JSON key, of image paths; in Parquet also of the images themselves." group:"data" complete:"none"`
	CSVCaptionKey     string `name:"csv-caption-key" default:"title" help:"Column, or JSON key, of captions." group:"data" complete:"none"`
	CSVSeparator      string `name:"csv-separator" default:"\\t" help:"Separator of a CSV table. If the default does not part the header, a comma, semicolon or bar that does is taken." group:"data" complete:"none"`
	TextEncoding      string `name:"text-encoding" help:"Encoding of tables and caption files, such as windows-1252 or euc-kr (default: UTF-8, or UTF-16 if the first bytes say so)." placeholder:"NAME" group:"data" complete:"none"`
	ImageKey          string `name:"image-key" help:"Extensions of a shard's images, the one to prefer first, such as jpg;png (default: all that can be read)." group:"data" complete:"none"`
	TextKey           string `name:"text-key" default:"txt" help:"Extensions of a shard's captions." group:"data" complete:"none"`
	JSONTextKey       string `name:"json-text-key" help:"Key of the captions, a text or a list of texts, in a shard's .json members, in place of --text-key." group:"data" complete:"none"`
	Captions          string `name:"captions" default:"draw" help:"Which captions of an image that has several (rows of the same path, a list): draw takes one each epoch by --seed; each makes every caption a sample, as open_clip does." group:"data" complete:"draw,each"`
	CaptionLines      bool   `name:"caption-lines" help:"Make each line of a .txt a caption, instead of the whole text one." group:"data"`
	ClassPrompts      string `name:"class-templates" default:"a photo of a {}." help:"Captions of a folder of classes: one template, a file with a template per line, openai_imagenet_7 or openai_imagenet_80." group:"data" complete:"templates"`
	TrainNumSamples   int    `name:"train-num-samples" help:"Images of an epoch (default: all there are). Required with --dataset-type synthetic." group:"data" field:"EpochSamples"`
	DatasetResampled  bool   `name:"dataset-resampled" help:"Draw the images of an epoch with replacement." group:"data" field:"Resample"`
	UpsamplingFactors string `name:"train-data-upsampling-factors" help:"With --dataset-resampled: how much likelier an image of each source is drawn, such as 1::2::0.5." group:"data" complete:"none" field:"UpsamplingFactors"`
	NoShuffle         bool   `name:"no-shuffle" help:"Keep the order of the data." group:"data"`
	MaxImagePixels    int64  `name:"max-image-pixels" default:"178956970" help:"Largest image that is decoded; larger ones are bad samples. The default is Pillow's limit." group:"data" field:"MaxImagePixels"`

	AccumFreq         int     `name:"accum-freq" default:"1" help:"Batches that make a step: the loss compares all their images, and the gradient is that of one batch so large." group:"learning"`
	MaxSteps          int     `name:"max-steps" help:"Stop after this many steps; the schedule then spans them." group:"learning"`
	LRScheduler       string  `name:"lr-scheduler" default:"cosine" help:"cosine, const or const-cooldown." group:"learning" complete:"cosine,const,const-cooldown" field:"Schedule"`
	EpochsCooldown    int     `name:"epochs-cooldown" help:"With --lr-scheduler const-cooldown: the last epochs, over which the learning rate falls." group:"learning" field:"CooldownEpochs"`
	LRCooldownEnd     float64 `name:"lr-cooldown-end" default:"0" help:"With --lr-scheduler const-cooldown: the learning rate at the end." group:"learning" field:"CooldownEndLR"`
	LRCooldownPow     float64 `name:"lr-cooldown-power" default:"1" help:"With --lr-scheduler const-cooldown: power of the polynomial; 1 falls in a line." group:"learning" field:"CooldownPower"`
	SkipScheduler     bool    `name:"skip-scheduler" help:"Keep --lr all the time, without warm-up." group:"learning" field:"SkipSchedule"`
	Opt               string  `name:"opt" default:"adamw" help:"Optimiser: adamw." group:"learning" complete:"adamw"`
	WD                float64 `name:"wd" default:"0.2" help:"Weight decay of matrices; gains, biases and the temperature have none (default: 0.2; 0.1 when trained weights are fine-tuned)." group:"learning" field:"WeightDecay"`
	Beta1             float64 `name:"beta1" default:"0.9" help:"AdamW's beta1." group:"learning"`
	Beta2             float64 `name:"beta2" default:"0.98" help:"AdamW's beta2 (default: 0.98; 0.999 for a config that is no ViT, as open_clip has it)." group:"learning"`
	Eps               float64 `name:"eps" default:"1e-6" help:"AdamW's epsilon (default: 1e-6; 1e-8 for a config that is no ViT, as open_clip has it)." group:"learning"`
	GradClipNorm      float64 `name:"grad-clip-norm" help:"Largest norm of the gradient; 0 clips nothing." group:"learning"`
	SigLIP            bool    `name:"siglip" help:"Train with SigLIP's sigmoid loss in place of the softmax: each pair is judged on its own." group:"learning"`
	DistillModel      string  `name:"distill-model" help:"A frozen teacher to learn from besides, named as --model: its softmax over the batch's similarities is a second target. It must take the same images and tokens." group:"learning" complete:"models" field:"Teacher"`
	DistillPretrained string  `name:"distill-pretrained" help:"Weights of the teacher, named as --pretrained." group:"learning" complete:"tags"`
	IDTargets         string  `name:"id-targets" default:"auto" help:"What matches an image, in the loss and in evaluations: on takes equal captions, and those of the same image or class; off takes its own alone, as open_clip does; auto is on for a folder of classes. The softmax loss is the same for equal captions; it differs if a class has several." group:"learning" complete:"auto,on,off"`
	NonFinite         string  `name:"non-finite" default:"stop" help:"What happens when a loss or gradient is NaN or infinite: stop ends the run and names the first such tensor; skip leaves the step out, at most 100 in a row." group:"learning" complete:"stop,skip" field:"SkipNonFinite"`

	LockImage       bool    `name:"lock-image" help:"Keep the image tower's weights as they are; timm's towers keep learning their projection." group:"tuning"`
	UnlockedGroups  int     `name:"lock-image-unlocked-groups" default:"0" help:"With --lock-image: leave this many groups learning, counted from the top. The projection or pooling is one, then each block (a ResNet's stage); the last is the patches with the positions." group:"tuning"`
	FreezeBNStats   bool    `name:"lock-image-freeze-bn-stats" help:"With --lock-image: keep the batch statistics of a ResNet's locked groups as well." group:"tuning"`
	LockText        bool    `name:"lock-text" help:"Keep the text tower's weights as they are; a RoBERTa keeps learning its projection and each LayerNorm." group:"tuning"`
	UnlockedLayers  int     `name:"lock-text-unlocked-layers" default:"0" help:"With --lock-text: leave this many layers learning, counted from the top. CLIP's own tower begins with its projection; the last is the embeddings." group:"tuning"`
	FreezeLayerNorm bool    `name:"lock-text-freeze-layer-norm" help:"With --lock-text: keep a RoBERTa's LayerNorms as well; CLIP's own are always kept." group:"tuning"`
	LoRARank        int     `name:"lora-rank" help:"Learn products of this low rank beside the frozen weights of attention and MLPs (LoRA); checkpoints have them added in. 0 trains the weights themselves." group:"tuning"`
	LoRAAlpha       float64 `name:"lora-alpha" help:"With --lora-rank: the products count alpha/rank times (default: the rank)." group:"tuning"`
	WiseFT          float64 `name:"wise-ft" help:"Write and evaluate checkpoints/wise_ft at the end: this fraction of the trained weights and the rest of the initial ones, for example 0.5 (default: 0, none)." group:"tuning"`
	EMADecay        float64 `name:"ema-decay" help:"Average the weights over the steps with this decay, such as 0.999; each checkpoint then has a model directory ema/, evaluated too. 0 averages nothing." group:"tuning"`
	ImageLayerDecay float64 `name:"image-layer-decay" default:"1" help:"Learning rate of the image tower's groups, those of --lock-image-unlocked-groups: each has that of the next higher one times this. 1: equal rates." group:"tuning"`
	TextLayerDecay  float64 `name:"text-layer-decay" default:"1" help:"The same of the text tower and --lock-text-unlocked-layers." group:"tuning"`
	TokenLR         float64 `name:"token-embedding-lr" help:"Learning rate of the token embeddings; 0 is --lr, and -1, the default when trained weights are fine-tuned without --lr, is 0.04 over the steps of the run, or --lr if that is more." group:"tuning"`
	ImageTower      string  `name:"pretrained-image-path" help:"Weights of the image tower alone: a state dict of torchvision's vit_b_32 for vit_b_32-roberta-base, or a checkpoint whose image tower is taken." group:"tuning"`
	TextTower       string  `name:"pretrained-text-path" help:"Weights of the text tower alone: roberta-base's pytorch_model.bin or model.safetensors, or a checkpoint whose text tower is taken." group:"tuning"`

	AugCfg             augCfg    `name:"aug-cfg" help:"Augmentation: scale=[0.9,1.0] ratio=[0.75,1.33] color_jitter=[b,c,s,h] color_jitter_prob=P gray_scale_prob=P, separated by spaces or semicolons." group:"images" complete:"none" field:"Augment"`
	ImageMean          triple    `name:"image-mean" help:"Mean of R, G and B in [0, 1], in place of the model's." group:"images" complete:"none"`
	ImageStd           triple    `name:"image-std" help:"Standard deviation of R, G and B, in place of the model's." group:"images" complete:"none"`
	ImageInterpolation string    `name:"image-interpolation" help:"bicubic, bilinear or random, in place of the model's, for evaluation; training crops are bicubic." group:"images" complete:"bicubic,bilinear,random"`
	ImageResizeMode    string    `name:"image-resize-mode" help:"shortest, longest or squash, in place of the model's, for evaluation." group:"images" complete:"shortest,longest,squash"`
	ForceImageSize     imageSize `name:"force-image-size" help:"Pixels of the square images in place of the config's; position embeddings are resampled." group:"images"`
	ForceContextLength int       `name:"force-context-length" help:"Tokens of a text in place of the config's; position embeddings are resampled." group:"images"`
	ForceQuickGELU     bool      `name:"force-quick-gelu" help:"Use QuickGELU whatever the config says, as OpenAI's weights need it." group:"images"`
	PatchDropout       float64   `name:"force-patch-dropout" default:"-1" help:"Fraction of patches to leave out in training (default: the config's)." group:"images"`

	ValFrequency      int    `name:"val-frequency" default:"1" help:"Epochs between evaluations on --val-data; 0 evaluates never." group:"evaluation" field:"ValEpochs"`
	EvalOnly          bool   `name:"eval-only" help:"Evaluate the model, or the checkpoint of --resume, on --val-data and --imagenet-val, print the metrics as JSON and end. The default without --train-data." group:"evaluation"`
	ImageNetVal       string `name:"imagenet-val" help:"Labelled images to evaluate zero-shot classification on: a directory with a folder for each class. ImageNet's folders (n01440764) take ImageNet's names; any other name, with spaces for underscores, is the class's." group:"evaluation" complete:"dirs" field:"ZeroShot"`
	ZeroshotFrequency int    `name:"zeroshot-frequency" default:"2" help:"Epochs between zero-shot evaluations, besides those before the first step and at the end; 0 evaluates never." group:"evaluation" field:"ZeroShotEpochs"`
	ZeroshotTemplates string `name:"zeroshot-templates" default:"openai_imagenet_80" help:"Prompts: openai_imagenet_80, openai_imagenet_7, a file with a template per line, or one template such as 'a photo of a {}.'." group:"evaluation" complete:"templates" field:"ZeroShotTemplates"`

	SaveFrequency    int     `name:"save-frequency" default:"1" help:"Epochs between checkpoints/epoch_N; 0 keeps only checkpoints/latest." group:"keeping" field:"SaveEpochs"`
	DeletePrev       bool    `name:"delete-previous-checkpoint" help:"Keep only the newest epoch_N." group:"keeping" field:"DeletePrevious"`
	SaveEverySteps   int     `name:"save-every-n-steps" help:"Steps between writings of checkpoints/latest within an epoch; 0 goes by --save-every-minutes alone." group:"keeping" field:"SaveSteps"`
	SaveEveryMinutes float64 `name:"save-every-minutes" default:"30" help:"Minutes after which checkpoints/latest is written again within an epoch; 0 writes it at its end only." group:"keeping" field:"SaveEvery"`
	SaveMostRecent   bool    `name:"save-most-recent" help:"Accepted as open_clip has it; checkpoints/latest is written after every epoch in any case." group:"keeping"`
	LogEvery         int     `name:"log-every-n-steps" default:"100" help:"Steps between lines of the log." group:"keeping"`
	ReportTo         string  `name:"report-to" help:"tensorboard writes event files into LOGS/NAME/tensorboard, with open_clip's names." group:"keeping" complete:"tensorboard" field:"TensorBoard"`
	MetricsAddr      string  `name:"metrics-addr" help:"Address, such as 127.0.0.1:9090, at which Prometheus finds /metrics while the run lasts." group:"keeping" complete:"none"`
	Overfit          int     `name:"overfit" help:"Self-test: train on this many pairs alone, without augmentation, until they are known by heart, and write nothing. Exit status 1 if --max-steps (300) do not suffice." group:"keeping" field:"Overfit"`

	Threads           int    `name:"threads" help:"Threads of libtorch's kernels (default: the CPUs there are). A run is the same bit for bit only with the same number: sums are added in another order." group:"machine"`
	GradCheckpointing bool   `name:"grad-checkpointing" help:"Keep only the input of each block and compute the block again in the backward pass: less memory, for one more forward in each step. Transformers only." group:"machine"`
	CUDAGraphs        bool   `name:"cuda-graphs" help:"Capture a step once for each shape of a batch and replay it: for small batches on a GPU. Takes a build with CUDA graphs (make build-cuda), one process, and a precision of bfloat16." group:"machine"`
	CacheDir          string `name:"cache-dir" help:"Directory of downloaded weights and unpacked shards, in place of GOCLIP_CACHE." group:"machine" complete:"dirs"`
	DistURL           string `name:"dist-url" help:"Where the processes of a run meet: tcp://HOST:PORT on rank 0's host, in place of MASTER_ADDR and MASTER_PORT." group:"machine" complete:"none"`
	DistBackend       string `name:"dist-backend" help:"gloo, between CPUs, or nccl, between GPUs, in what make build-cuda builds (default: the device's)." group:"machine" complete:"gloo,nccl"`
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
