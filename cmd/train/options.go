package main

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"time"
)

// options are the flags of a run. Names, meanings and defaults are open_clip's
// (open_clip_train/params.py) unless the help says otherwise; `complete` is for the shell
// completion, `field` the field of train.Config that the flag is, by which messages find the flag's
// name. Checkpoints keep them as JSON.
type options struct {
	TrainData     string `name:"train-data" help:"Pictures with captions: CSV, TSV, JSON Lines or Parquet tables, webdataset shards (.tar, .tar.gz, .tar.zst), a folder of folders as classes, a folder of pictures with .txt files. Ranges a-{00000..00012}.tar, globs, sources joined by ::. Must be given." field:"Data"`
	ValData       string `name:"val-data" help:"Data of the same kinds to evaluate retrieval on." field:"Val"`
	DatasetType   string `name:"dataset-type" default:"auto" help:"auto, which goes by extension; csv, jsonl, parquet, webdataset, imagefolder (a folder for each class), pairs (pictures with .txt files), or synthetic." complete:"auto,csv,jsonl,parquet,webdataset,imagefolder,pairs,synthetic"`
	CSVImgKey     string `name:"csv-img-key" default:"filepath" help:"Column, or JSON key, of picture paths; in Parquet also of the pictures themselves." complete:"none"`
	CSVCaptionKey string `name:"csv-caption-key" default:"title" help:"Column, or JSON key, of captions." complete:"none"`
	CSVSeparator  string `name:"csv-separator" default:"\\t" help:"CSV separator; where the default does not part the header, a comma, semicolon or bar that does is taken." complete:"none"`
	TextEncoding  string `name:"text-encoding" help:"Encoding of tables and caption files, such as windows-1252 or euc-kr (default: UTF-8, or UTF-16 where the first bytes say so)." placeholder:"NAME" complete:"none"`
	ImageKey      string `name:"image-key" help:"Extensions of a shard's pictures, as jpg;png, the one to prefer first; the default is all that are read." complete:"none"`
	TextKey       string `name:"text-key" default:"txt" help:"Extensions of a shard's captions." complete:"none"`
	JSONTextKey   string `name:"json-text-key" help:"Key of the captions, a text or a list of texts, in a shard's .json members, in place of --text-key." complete:"none"`
	Captions      string `name:"captions" default:"draw" help:"Of a picture with several captions (rows of the same path, a list): draw takes one each epoch by --seed; each makes every caption a sample, as open_clip does." complete:"draw,each"`
	CaptionLines  bool   `name:"caption-lines" help:"Each line of a .txt is a caption, instead of the whole text one."`
	ClassPrompts  string `name:"class-templates" default:"a photo of a {}." help:"Captions of a folder of classes: one template, a file with a template per line, openai_imagenet_7 or openai_imagenet_80." complete:"templates"`

	TrainNumSamples   int    `name:"train-num-samples" help:"Pictures of an epoch; the default is all there are. Must be given with --dataset-type synthetic." field:"EpochSamples"`
	DatasetResampled  bool   `name:"dataset-resampled" help:"Draw the pictures of an epoch with replacement." field:"Resample"`
	UpsamplingFactors string `name:"train-data-upsampling-factors" help:"With --dataset-resampled: how much likelier a picture of each source is drawn, as 1::2::0.5." complete:"none" field:"UpsamplingFactors"`
	MaxImagePixels    int64  `name:"max-image-pixels" default:"25000000" help:"Largest picture that is decoded; larger ones are bad samples." field:"MaxImagePixels"`

	ImageMean          triple `name:"image-mean" help:"Mean of R, G and B in [0, 1], in place of the model's." complete:"none"`
	ImageStd           triple `name:"image-std" help:"Standard deviation of R, G and B, in place of the model's." complete:"none"`
	ImageInterpolation string `name:"image-interpolation" help:"bicubic, bilinear or random, in place of the model's, for evaluation; training crops are bicubic." complete:"bicubic,bilinear,random"`
	ImageResizeMode    string `name:"image-resize-mode" help:"shortest, longest or squash, in place of the model's, for evaluation." complete:"shortest,longest,squash"`

	ImageNetVal       string `name:"imagenet-val" help:"Labelled pictures to evaluate zero-shot classification on: a directory with a folder for each class. ImageNet's folders (n01440764) take ImageNet's names; any other name, with spaces for underscores, is the class's." complete:"dirs" field:"ZeroShot"`
	ZeroshotFrequency int    `name:"zeroshot-frequency" default:"2" help:"Epochs between zero-shot evaluations, besides those before the first step and at the end; 0 evaluates never." field:"ZeroShotEpochs"`
	ZeroshotTemplates string `name:"zeroshot-templates" default:"openai_imagenet_80" help:"Prompts: openai_imagenet_80, openai_imagenet_7, a file with a template per line, or one template such as 'a photo of a {}.'." complete:"templates" field:"ZeroShotTemplates"`

	Model      string `name:"model" help:"Built-in config (ViT-B-32, emoji-64), model directory (open_clip's or Hugging Face's) or file of weights. Must be given." complete:"models"`
	Pretrained string `name:"pretrained" help:"Weights to start from: a published tag (openai, laion2b_s34b_b79k), a file (.safetensors, .pt, .bin) or a model directory; random (the default for a config) draws them from --seed." complete:"tags"`

	ForceImageSize     int    `name:"force-image-size" help:"Pixels of the square pictures in place of the config's; position embeddings are resampled."`
	ForceContextLength int    `name:"force-context-length" help:"Tokens of a text in place of the config's; position embeddings are resampled."`
	ForceQuickGELU     bool   `name:"force-quick-gelu" help:"QuickGELU whatever the config says, as OpenAI's weights want it."`
	SigLIP             bool   `name:"siglip" help:"Train with SigLIP's sigmoid loss in place of the softmax: each pair is judged by itself."`
	DistillModel       string `name:"distill-model" help:"A frozen teacher to learn from besides, as --model names one: its softmax over the batch's similarities is a second target. It must want the same pictures and tokens." complete:"models" field:"Teacher"`
	DistillPretrained  string `name:"distill-pretrained" help:"Weights of the teacher, as --pretrained names them." complete:"tags"`
	ImageTower         string `name:"pretrained-image-path" help:"Weights of the picture tower alone: a state dict of torchvision's vit_b_32 for vit_b_32-roberta-base, or a checkpoint whose picture tower is taken."`
	TextTower          string `name:"pretrained-text-path" help:"Weights of the text tower alone: roberta-base's pytorch_model.bin or model.safetensors, or a checkpoint whose text tower is taken."`

	LockImage       bool `name:"lock-image" help:"Keep the picture tower's weights as they are; timm's towers keep learning their projection."`
	UnlockedGroups  int  `name:"lock-image-unlocked-groups" default:"0" help:"With --lock-image: leave this many groups learning, counted from the top. The projection or pooling is one, then each block (a ResNet's stage); the last is the patches with the positions."`
	FreezeBNStats   bool `name:"lock-image-freeze-bn-stats" help:"With --lock-image: keep the batch statistics of a ResNet's locked groups as well."`
	LockText        bool `name:"lock-text" help:"Keep the text tower's weights as they are; a RoBERTa keeps learning its projection and each LayerNorm."`
	UnlockedLayers  int  `name:"lock-text-unlocked-layers" default:"0" help:"With --lock-text: leave this many layers learning, counted from the top. CLIP's own tower begins with its projection; the last is the embeddings."`
	FreezeLayerNorm bool `name:"lock-text-freeze-layer-norm" help:"With --lock-text: keep a RoBERTa's LayerNorms as well; CLIP's own are always kept."`

	EpochsCooldown int     `name:"epochs-cooldown" help:"With --lr-scheduler const-cooldown: the last epochs, over which the learning rate falls." field:"CooldownEpochs"`
	LRCooldownEnd  float64 `name:"lr-cooldown-end" default:"0" help:"With --lr-scheduler const-cooldown: the learning rate at the end." field:"CooldownEndLR"`
	LRCooldownPow  float64 `name:"lr-cooldown-power" default:"1" help:"With --lr-scheduler const-cooldown: power of the polynomial; 1 falls in a line." field:"CooldownPower"`
	SkipScheduler  bool    `name:"skip-scheduler" help:"Keep --lr all the time, without warm-up." field:"SkipSchedule"`

	GradCheckpointing bool    `name:"grad-checkpointing" help:"Keep only the input of each block and compute the block again in the backward pass: less memory, for one more forward in each step. Transformers only."`
	CUDAGraphs        bool    `name:"cuda-graphs" help:"Capture a step once for each shape of a batch and replay it: for small batches on a GPU, whose kernels are shorter than it takes to start them. Wants a build with CUDA graphs (make build-cuda), one process, and a precision of bfloat16."`
	TokenLR           float64 `name:"token-embedding-lr" help:"Learning rate of the token embeddings; 0 is --lr, and -1, the default when trained weights are fine-tuned without --lr, is 0.04 over the steps of the run, or --lr where that is more."`
	ImageLayerDecay   float64 `name:"image-layer-decay" default:"1" help:"Learning rate of the picture tower's groups, those of --lock-image-unlocked-groups: each has that of the next higher one times this. 1 leaves all the same."`
	TextLayerDecay    float64 `name:"text-layer-decay" default:"1" help:"The same of the text tower and --lock-text-unlocked-layers."`
	EMADecay          float64 `name:"ema-decay" help:"Average the weights over the steps with this decay, such as 0.999; each checkpoint then has a model directory ema/ beside its own weights, evaluated too. 0 averages nothing."`
	WiseFT            float64 `name:"wise-ft" help:"At the end write checkpoints/wise_ft, this share of the trained weights and the rest of those the run began with, 0.5 for example, and evaluate it. 0 writes nothing."`
	LoRARank          int     `name:"lora-rank" help:"Learn products of this low rank beside the frozen weights of attention and MLPs (LoRA); checkpoints have them added in. A locked tower has none. 0 trains the weights themselves."`
	LoRAAlpha         float64 `name:"lora-alpha" help:"With --lora-rank: the products count alpha/rank times; the default is the rank."`

	BatchSize     int     `name:"batch-size" default:"64" help:"Pictures of a batch."`
	AccumFreq     int     `name:"accum-freq" default:"1" help:"Batches that make a step: the loss compares all their pictures, and the gradient is that of one batch so large."`
	IDTargets     string  `name:"id-targets" default:"auto" help:"on: equal captions, and those of the same picture or class, all match a picture, in the loss and in evaluations; off: its own alone, as open_clip has it; auto is on for a folder of classes. The softmax loss is the same for equal captions; it differs where a class has several." complete:"auto,on,off"`
	Epochs        int     `name:"epochs" default:"32" help:"Passes over the data."`
	MaxSteps      int     `name:"max-steps" help:"Stop after this many steps; the schedule then spans them."`
	LR            float64 `name:"lr" default:"5e-4" help:"Peak learning rate; when trained weights are fine-tuned the default is 1e-5."`
	Beta1         float64 `name:"beta1" default:"0.9" help:"AdamW's beta1."`
	Beta2         float64 `name:"beta2" default:"0.98" help:"AdamW's beta2."`
	Eps           float64 `name:"eps" default:"1e-6" help:"AdamW's epsilon."`
	WD            float64 `name:"wd" default:"0.2" help:"Weight decay of matrices; gains, biases and the temperature have none. When trained weights are fine-tuned the default is 0.1." field:"WeightDecay"`
	Warmup        warmup  `name:"warmup" default:"-1" help:"Steps of linear warm-up, or a share of the run: 0.1, 10%. Must be less than the run. The default is a tenth of the run, at most 10000 steps." complete:"none"`
	LRScheduler   string  `name:"lr-scheduler" default:"cosine" help:"cosine, const or const-cooldown." complete:"cosine,const,const-cooldown" field:"Schedule"`
	GradClipNorm  float64 `name:"grad-clip-norm" help:"Largest norm of the gradient; 0 clips nothing."`
	Precision     string  `name:"precision" default:"auto" help:"fp32; amp_bf16 (or bf16): products in bfloat16, weights in float32; amp (or fp16): products in float16, weights in float32, the loss scaled; pure_bf16: weights in bfloat16 too. auto is amp_bf16 on CUDA, fp32 on the CPU." complete:"auto,fp32,amp_bf16,bf16,amp,fp16,pure_bf16"`
	NonFinite     string  `name:"non-finite" default:"stop" help:"What a loss or gradient does that is NaN or infinite: stop ends the run and names the first tensor that is; skip leaves the step out, at most 100 in a row." complete:"stop,skip" field:"SkipNonFinite"`
	Opt           string  `name:"opt" default:"adamw" help:"adamw." complete:"adamw"`
	AugCfg        augCfg  `name:"aug-cfg" help:"Augmentation: scale=[0.9,1.0] ratio=[0.75,1.33] color_jitter=[b,c,s,h] color_jitter_prob=P gray_scale_prob=P, separated by spaces or semicolons." complete:"none" field:"Augment"`
	PatchDropout  float64 `name:"force-patch-dropout" default:"-1" help:"Share of patches to leave out in training; the default is the config's."`
	NoShuffle     bool    `name:"no-shuffle" help:"Keep the order of the data."`
	Workers       int     `name:"workers" default:"4" help:"Goroutines that decode pictures."`
	Seed          uint64  `name:"seed" default:"0" help:"Of weights, order, augmentation and patch dropout."`
	Device        string  `name:"device" default:"auto" help:"auto, cpu, cuda or cuda:N." complete:"auto,cpu,cuda"`
	Threads       int     `name:"threads" help:"Threads of libtorch's kernels; the default is the CPUs there are. A run is the same bit for bit only with the same number: sums are added in another order."`
	DistURL       string  `name:"dist-url" help:"Where the processes of a run meet: tcp://HOST:PORT on rank 0's host, in place of MASTER_ADDR and MASTER_PORT." complete:"none"`
	DistBackend   string  `name:"dist-backend" help:"gloo, between CPUs, or nccl, between GPUs, in what make build-cuda builds; the default is the device's." complete:"gloo,nccl"`
	Resume        string  `name:"resume" help:"latest, or a checkpoint directory of this run: continue exactly where it was. A run that has no checkpoint yet begins anew with latest." complete:"latest" field:"resume"`
	SaveFrequency int     `name:"save-frequency" default:"1" help:"Epochs between checkpoints/epoch_N; 0 keeps only checkpoints/latest." field:"SaveEpochs"`
	DeletePrev    bool    `name:"delete-previous-checkpoint" help:"Keep only the newest epoch_N." field:"DeletePrevious"`

	SaveMostRecent   bool    `name:"save-most-recent" help:"Taken as open_clip has it; checkpoints/latest is written after every epoch in any case."`
	SaveEverySteps   int     `name:"save-every-n-steps" help:"Steps between writings of checkpoints/latest within an epoch; 0 goes by --save-every-minutes alone. --resume latest continues exactly from any of them." field:"SaveSteps"`
	SaveEveryMinutes float64 `name:"save-every-minutes" default:"30" help:"Minutes after which checkpoints/latest is written again within an epoch; 0 writes it at its end only." field:"SaveEvery"`

	ValFrequency int    `name:"val-frequency" default:"1" help:"Epochs between evaluations; 0 evaluates never." field:"ValEpochs"`
	Logs         string `name:"logs" default:"./logs/" help:"Directory of runs." complete:"dirs"`
	Name         string `name:"name" help:"Name of the run, a directory under --logs; the default has the time, model and batch size." complete:"none" field:"Dir"`
	LogEvery     int    `name:"log-every-n-steps" default:"100" help:"Steps between lines of the log."`
	ReportTo     string `name:"report-to" help:"tensorboard writes event files into LOGS/NAME/tensorboard, with open_clip's names." complete:"tensorboard" field:"TensorBoard"`
	MetricsAddr  string `name:"metrics-addr" help:"Address, such as 127.0.0.1:9090, at which Prometheus finds /metrics while the run lasts." complete:"none"`
	DryRun       bool   `name:"dry-run" help:"Open all that the run needs, print what it would do and what memory and disk it takes, and write nothing."`
	Overfit      int    `name:"overfit" help:"Self-test: train on this many pairs alone, without augmentation, until they are known by heart, and write nothing. Exit status 1 if --max-steps (300) do not suffice." field:"Overfit"`
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
