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
)

// Sample is an image with its captions.
type Sample = data.Sample

// Dataset is what a run learns from. Its methods are called by many goroutines at once.
type Dataset = data.Dataset

// Classes is a Dataset of labelled images, as [data.OpenFolders] reads one.
type Classes interface {
	Dataset
	Classes() []string // names of folders or of classes, see [ClassNames]
	Class(i int) int   // sample i's place in Classes
}

// Loss is a training loss of one's own: a scalar of the normalised features (B, E), float32, of all pairs of a step, image
// i belonging to text i. The pairs are those of all processes and micro-batches, and the gradients that the features and
// the parameters of m get are those of the whole batch: exact, as those of the losses in clip/loss are. It runs inside
// torch.Do and must compute the same in every process. Unlike clip/loss it is not computed in tiles: B x B logits, and
// what autograd keeps of them, are in memory at once, in every process.
type Loss func(m *clip.Model, images, texts *torch.Tensor) *torch.Tensor

// None stands for a zero that is meant, in fields of [Config] whose zero is another default.
const None = -1

// Values of Config.TokenLR besides a rate.
const (
	TokenLRAuto = -1 // by the length of the run, see Config.TokenLR
	TokenLRSame = -2 // LR, in a fine-tuning too
)

// Config says how a run learns and what it keeps. The zero value of every field is its default. Names and defaults are
// open_clip's (open_clip_train/params.py), unless a field says otherwise.
type Config struct {
	// The batch. The loss compares BatchSize x AccumFreq x processes pairs.
	BatchSize int // pairs that a process carries through the towers at once; default 64
	AccumFreq int // such micro-batches of a step, whose gradient is that of one batch so large; default 1
	Epochs    int // passes over the data; default 32
	MaxSteps  int // stop after so many steps, which the schedule then spans; default: Epochs count

	// The learning rate.
	LR             float64 // peak; default 5e-4, or 1e-5 for a model with trained weights
	Schedule       string  // cosine (default), const or const-cooldown
	Warmup         float64 // steps of linear warm-up or, below 1, their share of the run; default a tenth of it, at most 10,000 steps; None
	CooldownEpochs int     // with const-cooldown: the last epochs, over which the rate falls
	CooldownEndLR  float64 // with const-cooldown: the rate at the end
	CooldownPower  float64 // with const-cooldown: of the polynomial; default 1
	SkipSchedule   bool    // keep LR all the time

	// TokenLR is the rate of the token embeddings. Default: LR or, for trained weights without LR, TokenLRAuto, which is
	// 0.04 over the steps of the run, or LR where that is more. TokenLRSame is LR in any case.
	TokenLR         float64
	ImageLayerDecay float64 // rate of each group of the image tower: that of the next higher one times this; 0 and 1: all the same
	TextLayerDecay  float64 // the same of the text tower

	// AdamW.
	WeightDecay   float64 // of matrices; gains, biases and the temperature have none; default 0.2, or 0.1 for trained weights; None
	Beta1, Beta2  float64 // default 0.9 and 0.98; None
	Eps           float64 // default 1e-6
	GradClipNorm  float64 // largest norm of the gradient; 0 clips nothing
	SkipNonFinite bool    // leave out a step whose loss or gradient is NaN or infinite, 100 in a row at most, instead of ending the run

	// The loss. Default: the contrastive loss, or SigLIP's for a model with a bias of the logits.
	Loss Loss `json:"-"`
	// Teacher is a frozen model of the same input sizes, whose softmax over the batch's similarities is a second target.
	Teacher *clip.Model `json:"-"`
	// IDTargets is on: what matches an image are all captions of the batch that are its own or those of the same image or
	// class; off: its own alone, as open_clip has it; auto (default): on for a folder of classes.
	IDTargets string

	// Computing.
	Precision         string  // fp32; amp_bf16, bf16; amp, fp16; pure_bf16. Default auto: amp_bf16 on CUDA, fp32 on the CPU
	GradCheckpointing bool    // compute each block again in the backward pass: less memory, one more forward. Transformers only
	CUDAGraphs        bool    // capture a step for each shape of a batch and replay it (build tag cuda, one process, bfloat16)
	PatchDropout      float64 // share of patches left out in training; default: the model's; None
	Workers           int     // goroutines that decode images; default 4
	Seed              uint64  // of order, augmentation, patch dropout and LoRA

	// What learns.
	LockImage       bool    // keep the image tower's weights; timm's towers keep learning their projection
	UnlockedGroups  int     // with LockImage: groups that learn, from the top: the projection or pooling, then each block (a ResNet's stage)
	FreezeBNStats   bool    // with LockImage: keep a ResNet's batch statistics as well
	LockText        bool    // keep the text tower's weights; a RoBERTa keeps learning its projection and each LayerNorm
	UnlockedLayers  int     // with LockText: layers that learn, from the top
	FreezeLayerNorm bool    // with LockText: keep a RoBERTa's LayerNorms as well
	LoRARank        int     // learn products of this rank beside frozen weights (arXiv 2106.09685); checkpoints have them added in
	LoRAAlpha       float64 // the products count LoRAAlpha/LoRARank times; default LoRARank
	EMADecay        float64 // average the weights with this decay, such as 0.999; checkpoints then have ema/, evaluated too
	WiseFT          float64 // at the end keep this share of the trained and the rest of the first weights (arXiv 2109.01903) in checkpoints/wise_ft

	// The data.
	NoShuffle         bool      // keep its order
	EpochSamples      int       // of an epoch; default all there are
	Resample          bool      // draw an epoch's samples with replacement
	UpsamplingFactors []float64 // with Resample: how much likelier a sample of each source ([data.Sources.Parts]) is drawn
	Augment           preprocess.AugConfig
	MaxImagePixels    int64 // of an image; larger ones are bad samples; default 25,000,000

	// Evaluation, before the first step and after epochs.
	Val               Dataset  `json:"-"` // for retrieval
	ValEpochs         int      // epochs between those; default 1; None
	ZeroShot          Classes  `json:"-"` // for zero-shot classification
	ZeroShotEpochs    int      // epochs between those; default 2; None
	ZeroShotTemplates []string // prompts, "{}" being the class; default OpenAI's 80

	// What a run keeps.
	Dir            string        `json:"-"` // of the run: metrics.jsonl, checkpoints/ and so on; "" keeps nothing
	SaveEpochs     int           // epochs between checkpoints/epoch_N; default 1; None keeps checkpoints/latest alone
	DeletePrevious bool          // keep only the newest epoch_N
	SaveSteps      int           // steps between writings of checkpoints/latest within an epoch; 0: SaveEvery alone
	SaveEvery      time.Duration // time between those; default 30 minutes; None

	// How it is watched.
	LogEvery    int       // steps between lines of the log; default 100
	Log         io.Writer `json:"-"` // lines for people, besides Dir/out.log; nil: there alone
	Notes       []string  `json:"-"` // the log's first lines
	TensorBoard bool      // event files in Dir/tensorboard, with open_clip's names
	MetricsAddr string    // address, such as 127.0.0.1:9090, at which Prometheus finds /metrics while the run lasts

	// Group is the processes that train together, which the caller has joined ([distributed.FromEnvironment],
	// [distributed.Init]) and closes; nil: this one alone. All make the same calls with the same Config. Process 0 writes,
	// and says when to save.
	Group *distributed.Group `json:"-"`

	// Device is where [Resume] opens the model; zero: the CPU. New trains where its model is.
	Device torch.Device `json:"-"`

	// Model is what [Resume] fills from the checkpoint in place of opening its directory: for towers of one's own.
	Model *clip.Model `json:"-"`

	// Settings is what else the run was made from, such as a command's flags: its String is params.txt in place of this
	// Config's, and checkpoints keep its JSON. Resume gives that to Resuming, which may refuse it, and takes this Config as
	// Resuming leaves it; without Resuming, fields that are zero are as they were, and others must be.
	Settings fmt.Stringer                                    `json:"-"`
	Resuming func(settings json.RawMessage, c *Config) error `json:"-"`

	// Naming is what messages call a field, a command's flag for example; nil: its name in Go.
	Naming func(field string) string `json:"-"`
}

// free are the fields that a resumed run may have anew: they say where it runs and what is watched and kept, not what it
// learns.
var free = strings.Fields(`CUDAGraphs Workers ValEpochs ZeroShotEpochs ZeroShotTemplates SaveEpochs DeletePrevious SaveSteps
	SaveEvery LogEvery TensorBoard MetricsAddr`)

// The rates for trained weights, where open_clip's are those of training from nothing: its learning rate of 5e-4 destroys
// a trained model's zero-shot accuracy in an epoch. Both are those of FLYP (Goyal et al., arXiv 2212.00638) and near those
// of WiSE-FT (Wortsman et al., arXiv 2109.01903: 3e-5 and 0.1). The token embeddings have a rate of their own, see tokenLR.
const (
	fineTuneLR          = 1e-5
	fineTuneWeightDecay = 0.1
)

// filled has the defaults in fields that are zero. note says which of them are those of fine-tuning trained weights.
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
		note = c.words("fine-tuning trained weights, so the defaults are " + strings.Join(chosen, " ") + "; {fields} that are given win")
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
	fill(&c.MaxImagePixels, 25_000_000)
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

// inherit makes c that of a run that goes on, which was made with was: zero fields are as they were, others must be.
func (c *Config) inherit(was Config) error {
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
			return c.errorf("{Resume}: the run was started with "+c.name(field.Name)+" %v, not %v; a resumed run continues it exactly", b, a)
		}
	}
	return nil
}

// String is a line for each field that is kept, "LR: 1e-05".
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
