package train

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/train/data"
	"github.com/goclip/goclip/train/evaluate"
)

// Sample is an image with its captions.
type Sample = data.Sample

// Dataset is what a run learns from. Its methods are called by many goroutines at once.
type Dataset = data.Dataset

// Classes is a Dataset of labelled images, as [data.OpenFolders] reads one.
type Classes = evaluate.Classes

// Loss is a training loss of one's own: a scalar of the normalised features (B, E), float32, of all
// pairs of a step, image i belonging to text i. The pairs are those of all processes and
// micro-batches, and the gradients that the features and the parameters of m get are those of the
// whole batch: exact, as those of the losses in clip/loss are. It runs inside torch.Do and must
// compute the same in every process. Unlike clip/loss it is not computed in tiles: B x B logits,
// and what autograd keeps of them, are in memory at once, in every process.
type Loss func(m *clip.Model, images, texts *torch.Tensor) *torch.Tensor

// None stands for a zero that is meant, in fields of [Config] whose zero is another default.
const None = -1

// Values of Config.TokenLR besides a rate.
const (
	TokenLRAuto = -1 // by the length of the run, see Config.TokenLR
	TokenLRSame = -2 // LR, in a fine-tuning too
)

// Config says how a run learns and what it keeps. A field that is zero means its default; where zero
// itself would make sense, and None is named, None stands for it. Names and defaults are open_clip's
// (open_clip_train/params.py), unless a field says otherwise.
type Config struct {
	// BatchSize is how many pairs a process carries through the towers at once. Default 64.
	BatchSize int
	// AccumFreq is how many such micro-batches make a step. The loss compares all BatchSize x
	// AccumFreq x processes pairs, and the gradient is that of one batch so large. Default 1.
	AccumFreq int
	// Epochs are passes over the data. Default 32.
	Epochs int
	// MaxSteps ends the run after so many steps, which the schedule then spans. Default: Epochs.
	MaxSteps int

	// LR is the peak learning rate. Default 5e-4, or 1e-5 for a model with trained weights.
	LR float64
	// Schedule is cosine (default), const or const-cooldown.
	Schedule string
	// Warmup is a number of steps or, below 1, a fraction of the run. Default: a tenth of the run, at
	// most 10,000 steps; None.
	Warmup float64
	// With const-cooldown: over the last CooldownEpochs the rate falls to CooldownEndLR, by a
	// polynomial of the power CooldownPower. Default power 1.
	CooldownEpochs int
	CooldownEndLR  float64
	CooldownPower  float64
	// SkipSchedule keeps LR all the time, without warm-up.
	SkipSchedule bool
	// TokenLR is the rate of the token embeddings. Default: LR or, for trained weights without LR,
	// TokenLRAuto, which is 0.04 over the steps of the run, or LR where that is more. TokenLRSame
	// is LR in any case.
	TokenLR float64
	// ImageLayerDecay, in [0, 1], is the rate of each group of the image tower as a fraction of that
	// of the next higher one; TextLayerDecay likewise for the text tower. 0 and 1: equal rates.
	ImageLayerDecay float64
	TextLayerDecay  float64

	// WeightDecay is AdamW's, of matrices; gains, biases and the temperature have none. Default
	// 0.2, or 0.1 for trained weights; None.
	WeightDecay float64
	// Beta1, Beta2 and Eps are AdamW's. Default 0.9 (None), 0.98 (None) and 1e-6.
	Beta1, Beta2 float64
	Eps          float64
	// GradClipNorm is the largest norm of the gradient; 0 clips nothing.
	GradClipNorm float64
	// SkipNonFinite leaves out a step whose loss or gradient is NaN or infinite, 100 in a row at
	// most. Default: such a step ends the run, and the error names the first tensor that is.
	SkipNonFinite bool

	// Loss is one's own. Default: the contrastive loss, or SigLIP's for a model with a LogitBias. A
	// resumed run is given it again, as it is given Teacher.
	Loss Loss `json:"-"`
	// Teacher is a frozen model of the same input sizes, whose softmax over the batch's
	// similarities is a second target. It is moved to the trained model's device and converted to
	// the run's precision.
	Teacher *clip.Model `json:"-"`
	// IDTargets is on: what matches an image are all captions of the batch that are equal to its
	// own, or those of the same image or class; off: its own alone, as open_clip has it; auto
	// (default): on for a folder of classes. Evaluations count the same matches. The softmax loss
	// is the same for captions that are equal; it differs where images of one ID or class have
	// different captions. SigLIP's loss differs in both cases.
	IDTargets string

	// Precision is fp32; amp_bf16 or bf16: products in bfloat16, weights in float32; amp or fp16:
	// products in float16, the loss scaled; pure_bf16: weights in bfloat16 too. Default auto:
	// amp_bf16 on CUDA, fp32 on the CPU.
	Precision string
	// GradCheckpointing computes each block again in the backward pass: less memory for one more
	// forward. Transformers only.
	GradCheckpointing bool
	// CUDAGraphs captures a step for each shape of a batch and replays it. It takes the build tag
	// cuda, one process, and bfloat16.
	CUDAGraphs bool
	// PatchDropout is the fraction of patches that training leaves out. Default: the model's; None.
	PatchDropout float64
	// Workers are goroutines that decode images. Default 4.
	Workers int
	// Seed is that of order, augmentation, patch dropout and LoRA.
	Seed uint64

	// LockImage keeps the image tower's weights, but for UnlockedGroups groups from the top: the
	// projection or pooling, then each block (a ResNet's stage). A timm tower's projection learns
	// in any case. FreezeBNStats keeps a ResNet's batch statistics as well.
	LockImage      bool
	UnlockedGroups int
	FreezeBNStats  bool
	// LockText keeps the text tower's weights, but for UnlockedLayers layers from the top. A
	// RoBERTa's projection learns in any case, and without FreezeLayerNorm each LayerNorm.
	LockText        bool
	UnlockedLayers  int
	FreezeLayerNorm bool
	// LoRARank has products of this rank learn beside frozen weights (arXiv 2106.09685), which
	// checkpoints have added in. They count LoRAAlpha/LoRARank times. Default alpha: the rank.
	LoRARank  int
	LoRAAlpha float64
	// EMADecay averages the weights over the steps, with a decay such as 0.999. Checkpoints then
	// have a model directory ema, which is evaluated too.
	EMADecay float64
	// WiseFT is the fraction of the trained weights in checkpoints/wise_ft, which the end of the run
	// mixes with those it began with (arXiv 2109.01903).
	WiseFT float64

	// NoShuffle keeps the order of the data.
	NoShuffle bool
	// EpochSamples is the length of an epoch. Default: all samples there are.
	EpochSamples int
	// Resample draws an epoch's samples with replacement, those of each source
	// ([data.Sources.Parts]) so much likelier as UpsamplingFactors say.
	Resample          bool
	UpsamplingFactors []float64
	// Augment varies the images; zero is open_clip's random crop.
	Augment preprocess.AugConfig
	// MaxImagePixels is the limit of an image; larger ones are bad samples. Default 178,956,970,
	// which is Pillow's. Large images are decoded one or a few at a time.
	MaxImagePixels int64
	// Orient turns images upright by their EXIF orientation; open_clip takes them as they lie in
	// the file.
	Orient bool
	// PlainText takes special tokens inside captions, such as <|endoftext|>, as text; open_clip
	// takes its own as tokens.
	PlainText bool

	// Val is evaluated for retrieval after every ValEpochs epochs. Default 1; None.
	Val       Dataset `json:"-"`
	ValEpochs int
	// ZeroShot is evaluated for zero-shot classification before the first step and after every
	// ZeroShotEpochs epochs. Default 2; None. "{}" in ZeroShotTemplates is the class. Default:
	// OpenAI's 80 templates.
	ZeroShot          Classes `json:"-"`
	ZeroShotEpochs    int
	ZeroShotTemplates []string

	// Dir is the run's directory: params.txt, metrics.jsonl, results.jsonl, out.log, loss.png,
	// checkpoints/latest and checkpoints/epoch_N. "" keeps nothing.
	Dir string `json:"-"`
	// SaveEpochs is how many epochs there are between checkpoints/epoch_N, of which DeletePrevious
	// keeps the newest alone. Default 1; None keeps checkpoints/latest alone.
	SaveEpochs     int
	DeletePrevious bool
	// Within an epoch checkpoints/latest is written every SaveSteps steps, 0 being never, and after
	// SaveEvery. Default 30 minutes; None.
	SaveSteps int
	SaveEvery time.Duration

	// LogEvery is how many steps there are between lines of the log. Default 100.
	LogEvery int
	// Log takes lines for people, besides Dir/out.log; its first are Notes.
	Log   io.Writer `json:"-"`
	Notes []string  `json:"-"`
	// TensorBoard writes event files in Dir/tensorboard, with open_clip's names.
	TensorBoard bool
	// MetricsAddr is an address, such as 127.0.0.1:9090, at which Prometheus finds /metrics while
	// the run lasts.
	MetricsAddr string

	// Group is the processes that train together, which the caller has joined
	// ([distributed.FromEnvironment], [distributed.Init]) and closes; nil: this one alone. All make
	// the same calls with the same Config. Process 0 writes, and says when to save.
	Group *distributed.Group `json:"-"`

	// Device is where [Resume] opens the model; zero: the CPU. New trains where its model is.
	Device torch.Device `json:"-"`

	// Model is what [Resume] fills from the checkpoint in place of opening its directory: for
	// towers of one's own.
	Model *clip.Model `json:"-"`

	// Settings is what else the run was made from, such as a command's flags: its String is
	// params.txt in place of this Config's, and checkpoints keep its JSON. Resume gives that to
	// Resuming, which may refuse it, and takes this Config as Resuming leaves it; without Resuming,
	// fields that are zero are as they were, and others must be.
	Settings fmt.Stringer                                    `json:"-"`
	Resuming func(settings json.RawMessage, c *Config) error `json:"-"`

	// Files are small files that are written beside params.txt and in the train_state of each
	// checkpoint, by name, such as a command's own config.
	Files func() (map[string][]byte, error) `json:"-"`

	// Naming is what messages call a field, a command's flag for example; nil: its name in Go.
	Naming func(field string) string `json:"-"`
}

// free are the fields that a resumed run may change: how long it is, see changeLength, where it
// runs, and what is watched and kept.
var free = strings.Fields(`Epochs MaxSteps CUDAGraphs Workers ValEpochs ZeroShotEpochs ZeroShotTemplates SaveEpochs DeletePrevious SaveSteps
	SaveEvery LogEvery TensorBoard MetricsAddr`)

// The rates for trained weights, where open_clip's are those of training from nothing: its learning
// rate of 5e-4 destroys a trained model's zero-shot accuracy in an epoch. Both are those of FLYP
// (Goyal et al., arXiv 2212.00638) and near those of WiSE-FT (Wortsman et al., arXiv 2109.01903:
// 3e-5 and 0.1). The token embeddings have a rate of their own, see tokenLR.
const (
	fineTuneLR          = 1e-5
	fineTuneWeightDecay = 0.1
)

// filled has the defaults in fields that are zero. note says which of them are those of fine-tuning
// trained weights.
func (c Config) filled(trained bool) (out Config, note string) {
	var chosen []string
	choose := func(field string, value *float64, plain, tuned float64) {
		switch {
		case *value != 0:
		case trained:
			*value = tuned
			chosen = append(chosen, fmt.Sprintf("{%s} %g", field, tuned))
		default:
			*value = plain
		}
	}
	given := c.LR != 0
	choose("LR", &c.LR, 5e-4, fineTuneLR)
	choose("WeightDecay", &c.WeightDecay, 0.2, fineTuneWeightDecay)
	if given { // a rate that is given is the rate of all
		fill(&c.TokenLR, TokenLRSame)
	}
	choose("TokenLR", &c.TokenLR, TokenLRSame, TokenLRAuto)
	if len(chosen) > 0 {
		note = c.words("fine-tuning trained weights: the defaults are " + strings.Join(chosen, " "))
	}
	fill(&c.BatchSize, 64)
	fill(&c.AccumFreq, 1)
	fill(&c.Epochs, 32)
	fill(&c.Schedule, "cosine")
	fill(&c.CooldownPower, 1)
	fill(&c.Beta1, 0.9)
	fill(&c.Beta2, 0.98)
	fill(&c.Eps, 1e-6)
	fill(&c.IDTargets, "auto")
	fill(&c.Precision, "auto")
	fill(&c.Workers, 4)
	fill(&c.MaxImagePixels, 178_956_970)
	fill(&c.ValEpochs, 1)
	fill(&c.ZeroShotEpochs, 2)
	fill(&c.SaveEpochs, 1)
	fill(&c.SaveEvery, 30*time.Minute)
	fill(&c.LogEvery, 100)
	return c, note
}

func fill[T comparable](field *T, is T) {
	var zero T
	if *field == zero {
		*field = is
	}
}

// meant is the number of a field where None stands for zero.
func meant[T int | float64](x T) T {
	if x == None {
		return 0
	}
	return x
}

var fieldName = regexp.MustCompile(`\{[A-Za-z0-9]+\}`)

// inGo are names in messages that stand for no field.
var inGo = map[string]string{"Data": "the training data", "Overfit": "Overfit", "Resume": "Resume", "fields": "fields",
	"resume": "Resume", "Trained": "weights that clip.Open has read"}

// name is what messages call a field.
func (c *Config) name(field string) string {
	if c.Naming != nil {
		return c.Naming(field)
	}
	if name := inGo[field]; name != "" {
		return name
	}
	return field
}

// words has the names of fields in place of {Field}.
func (c *Config) words(text string) string {
	return fieldName.ReplaceAllStringFunc(text, func(field string) string { return c.name(field[1 : len(field)-1]) })
}

// errorf is fmt.Errorf with [Config.words].
func (c *Config) errorf(format string, args ...any) error {
	return fmt.Errorf("train: "+c.words(format), args...)
}

// inherit makes c that of a resumed run, which was started with was: zero fields are as they
// were, others must be, but for those that are free.
func (c *Config) inherit(was Config) error {
	var differ []string
	now, before := reflect.ValueOf(c).Elem(), reflect.ValueOf(was)
	for i := range now.NumField() {
		field := now.Type().Field(i)
		if field.Tag.Get("json") == "-" {
			continue
		}
		a, b := now.Field(i), before.Field(i)
		if a.IsZero() {
			a.Set(b)
		} else if !slices.Contains(free, field.Name) && !reflect.DeepEqual(a.Interface(), b.Interface()) {
			differ = append(differ, fmt.Sprintf("%s %v, not %v", c.name(field.Name), b, a))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	var names []string
	for _, field := range free {
		names = append(names, c.name(field))
	}
	return c.errorf("{resume}: the run was started with %s; a resumed run may change %s alone", strings.Join(differ, ", and "), strings.Join(names, ", "))
}

// String returns a line for each field that is kept, "LR: 1e-05".
func (c Config) String() string {
	var b strings.Builder
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if field := v.Type().Field(i); field.Tag.Get("json") != "-" {
			fmt.Fprintf(&b, "%s: %v\n", field.Name, v.Field(i).Interface())
		}
	}
	return b.String()
}
