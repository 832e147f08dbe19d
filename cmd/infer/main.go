// Command infer scores images against texts, computes features, and shows what a model is.
//
// Data goes to stdout, everything else to stderr. Exit status: 0 done, 1 something failed while
// running, 2 the command line is wrong.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

type commands struct {
	Version kong.VersionFlag `help:"Say which goclip this is."`

	Score       scoreCmd       `cmd:"" help:"Similarity of every image with every text."`
	Classify    classifyCmd    `cmd:"" help:"Which of some classes each image shows; sorts folders, measures accuracy."`
	Eval        evalCmd        `cmd:"" help:"Evaluates models on data sets: zero-shot classification, retrieval, linear probe."`
	Embed       embedCmd       `cmd:"" help:"Features of images and texts, to .npy files; of many in parts, with Parquet."`
	Index       indexCmd       `cmd:"" help:"Makes images searchable: an index of features, kept up to date."`
	Search      searchCmd      `cmd:"" help:"Find images by words or by an image."`
	Cluster     clusterCmd     `cmd:"" help:"Groups the images of an index by what they are like."`
	Learn       learnCmd       `cmd:"" help:"Learns a word from images, for searches in an index."`
	Explain     explainCmd     `cmd:"" help:"Shows where in an image a text is; writes an overlay."`
	Serve       serveCmd       `cmd:"" help:"HTTP API and web page: embeddings, scores, classes."`
	Caption     captionCmd     `cmd:"" help:"Writes a sentence for each image, with a CoCa."`
	Tokenize    tokenizeCmd    `cmd:"" help:"Lines on stdin to JSON arrays of token ids on stdout."`
	Inspect     inspectCmd     `cmd:"" help:"Config, parameter counts, type and checksum of a model."`
	Convert     convertCmd     `cmd:"" help:"Writes a model as a directory in open_clip's layout."`
	Probe       probeCmd       `cmd:"" help:"Accuracy of logistic regression on a model's frozen features."`
	Interpolate interpolateCmd `cmd:"" help:"Weights between a model and its fine-tuning (WiSE-FT)."`
	Models      modelsCmd      `cmd:"" help:"The built-in configs and the published tags of their weights; what is on this machine."`
	Pull        pullCmd        `cmd:"" help:"Fetches a model, so that it can be used without the network."`
	Push        pushCmd        `cmd:"" help:"Uploads a model to the Hugging Face hub, with a model card."`
	Doctor      doctorCmd      `cmd:"" help:"What this machine has, what goclip uses of it, and how to fix what is wrong."`
	Completion  completionCmd  `cmd:"" help:"Completion of the command line for bash, zsh or fish."`
	Man         manCmd         `cmd:"" hidden:"" help:"The man page."`
	Report      reportCmd      `cmd:"" help:"A page with images, probabilities and the loss of a run."`
}

const description = `CLIP on the command line.

  infer score --image dog.png --image car.png --text "A cute dog" --text "A fast car"
  infer classify --label dog --label cat --sort-into sorted photos
  infer embed --images photos/*.jpg --out features
  infer search "a red car" photos
  infer serve --addr 127.0.0.1:8080
  infer inspect logs/photos/checkpoints/latest
  infer doctor`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// errReported says that the command has told what failed and that the exit status is 1.
var errReported = errors.New("reported")

func run(args []string, in io.Reader, out, errs io.Writer) int {
	var c commands
	exit := -1
	parser, err := kong.New(&c, kong.Name("infer"), kong.Description(description), kong.Writers(out, errs),
		kong.Exit(func(code int) { exit = code }), kong.Vars{"version": version(), "excluded": strings.Join(index.Excluded, ", "), "partSize": fmt.Sprint(defaultPartSize)},
		rawStrings, kong.WithHyphenPrefixedParameters(true)) // --batch-size -1 then meets its own sentence
	if err != nil {
		fmt.Fprintln(errs, "infer:", err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help or --version has been printed
		return exit
	}
	if err != nil {
		fmt.Fprintf(errs, "%s; infer --help lists commands and flags\n", message(err))
		return 2
	}
	ctx, stop := untilInterrupt()
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	switch err := parsed.Run(&streams{in, out, errs}, parser.Model); {
	case err == nil, errors.Is(err, syscall.EPIPE): // the reader of a pipe has seen enough
		return 0
	case errors.Is(err, errReported):
		return 1
	case errors.As(err, new(interrupted)):
		fmt.Fprintln(errs, message(err))
		return 130
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(errs, "infer: interrupted; nothing was written")
		return 130
	case errors.As(err, new(usageError)):
		fmt.Fprintln(errs, message(err))
		return 2
	default:
		fmt.Fprintln(errs, message(err))
		return 1
	}
}

// usageError is a fault of the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// interrupted is what a command says that was stopped when some of its work was done.
type interrupted string

func (e interrupted) Error() string { return string(e) }

// untilInterrupt ends at Ctrl-C or SIGTERM; a second Ctrl-C ends the process at once.
func untilInterrupt() (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// release is the version that scripts/release.sh gives at link time.
var release string

// version is what a release, go install or the checkout's commit gave the binary.
func version() string {
	if release != "" {
		return "goclip " + release
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return "goclip " + info.Main.Version
	}
	return "goclip"
}

// message is an error as one line, without the names of the packages that it came through first,
// and with the command that fixes it.
func message(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	for _, name := range []string{"clip: ", "pretrained: ", "preprocess: ", "checkpoint: ", "index: ", "serve: ", "evaluate: ", "data: "} {
		text = strings.TrimPrefix(text, name)
	}
	for _, remedy := range []struct {
		of   error
		does string
	}{{index.ErrModel, "infer index --model does that, and searches continue meanwhile"}, {index.ErrDamaged, "infer index --rebuild does that"},
		{index.ErrNoConcept, "infer learn --list lists them"}, {index.ErrConceptModel, "infer learn NAME does that"},
		{index.ErrVersion, "infer index --rebuild does that"}, {index.ErrEngine, "infer index --engine does that"}} {
		if errors.Is(err, remedy.of) {
			text += "; " + remedy.does
		}
	}
	return "infer: " + printable(text)
}

// modelFlags are the flags of every command that runs a model.
type modelFlags struct {
	Model      string `help:"A published model (ViT-B-32:openai, hf-hub:ORG/NAME), a model directory (open_clip's or Hugging Face's), a file of weights or a built-in config (default: $GOCLIP_MODEL, else the best one that infer pull or Python has fetched, else the shipped emoji-64)." complete:"models"`
	Pretrained string `help:"Weights of a built-in config: a published tag (openai, laion2b_s34b_b79k), a file (.safetensors, .pt, .bin), a model directory or random." complete:"tags"`
	computeFlags
}

// computeFlags say how a model is read and run.
type computeFlags struct {
	loadFlags `group:"Loading"`
	Device    string `help:"auto, cpu, cuda or cuda:N." default:"auto" complete:"auto,cpu,cuda"`
	Precision string `help:"fp32; bf16, on a CPU fast where it has AMX or bfloat16 instructions; on the CPU also int8, on CUDA fp16. auto is fp32 on the CPU, and on CUDA bf16, or fp16 before Ampere." default:"auto" enum:"auto,fp32,bf16,fp16,int8"`
	Threads   int    `help:"Threads of libtorch's kernels; the default is the CPUs there are."`
	Seed      uint64 `help:"Of random weights."`
	BatchSize int    `help:"Images or texts of a batch; more is no slower and takes more memory." default:"32"`
}

// orientFlag is that of commands that look at people's images.
type orientFlag struct {
	NoOrient bool `help:"Take images as they lie in the file, as open_clip does, instead of upright by their EXIF orientation."`
}

// loadFlags change a model while it is read.
type loadFlags struct {
	ForceImageSize     int    `help:"Pixels of the square images in place of the config's; position embeddings are resampled."`
	ForceContextLength int    `help:"Tokens of a text in place of the config's; position embeddings are resampled."`
	ForceQuickGELU     bool   `name:"force-quick-gelu" help:"QuickGELU whatever the config says, as OpenAI's weights want it."`
	PretrainedImage    string `name:"pretrained-image-path" help:"Weights of the image tower alone, torchvision's vit_b_32 for vit_b_32-roberta-base."`
	PretrainedText     string `name:"pretrained-text-path" help:"Weights of the text tower alone, such as roberta-base's."`
}

// Beyond these a number is a slip, and the machine would choke on it.
const (
	maxBatchSize = 4096
	maxThreads   = 1024
)

// options are the flags as clip takes them.
func (f *modelFlags) options(errs io.Writer) (o *clip.OpenOptions, err error) {
	if f.BatchSize < 1 || f.BatchSize > maxBatchSize {
		return o, usageError(fmt.Sprintf("--batch-size %d: must be between 1 and %d", f.BatchSize, maxBatchSize))
	}
	if f.Threads < 0 || f.Threads > maxThreads {
		return o, usageError(fmt.Sprintf("--threads %d: must be between 1 and %d, or 0 for the default", f.Threads, maxThreads))
	}
	if f.ForceImageSize < 0 || f.ForceContextLength < 0 {
		return o, usageError(fmt.Sprintf("--force-image-size %d, --force-context-length %d: must be positive, or 0 for the config's value", f.ForceImageSize, f.ForceContextLength))
	}
	device, err := torch.ParseDevice(f.Device)
	if err != nil {
		return o, usageError(fmt.Sprintf("--device: %v", err))
	}
	precision := clip.DefaultPrecision(device)
	if f.Precision != "" && f.Precision != "auto" {
		if precision, err = clip.ParsePrecision(f.Precision); err != nil {
			return o, usageError(fmt.Sprintf("--precision: %v", err))
		}
	}
	lines := pretrained.Lines(errs, "infer: ")
	return &clip.OpenOptions{Pretrained: f.Pretrained, Seed: f.Seed, Device: device, Precision: precision, Progress: lines.Progress, Log: lines.Log,
		ImageSize: f.ForceImageSize, ContextLength: f.ForceContextLength, QuickGELU: f.ForceQuickGELU,
		ImageTower: f.PretrainedImage, TextTower: f.PretrainedText}, nil
}

func (f *modelFlags) open(ctx context.Context, errs io.Writer) (*clip.Model, error) {
	o, err := f.options(errs)
	if err != nil {
		return nil, err
	}
	f.Model = cmp.Or(f.Model, models.Default)
	if f.Precision == "auto" && o.Precision != clip.FP32 {
		fmt.Fprintf(errs, "infer: computing in %s on %s; --precision fp32 takes longer and rounds less\n", o.Precision, o.Device)
	}
	torch.SetNumThreads(f.Threads)
	if note := torch.FellBack(f.Device, o.Device); note != "" {
		fmt.Fprintln(errs, "infer:", note)
	}
	m, err := f.read(ctx, o)
	return m, f.worded(err)
}

// worded says an error of opening a model in the flags' names.
func (f *modelFlags) worded(err error) error {
	switch {
	case errors.Is(err, clip.ErrNoWeights):
		return fmt.Errorf("the config %s has no weights of its own: give --pretrained a published tag, a file of weights, a model directory or random", f.Model)
	case errors.Is(err, clip.ErrUnsupported) && f.Precision != "fp32" && f.Precision != "auto":
		return usageError(fmt.Sprintf("--precision: %s", strings.TrimPrefix(err.Error(), "clip: ")))
	case errors.Is(err, clip.ErrAmbiguous):
		return fmt.Errorf("%w; --model takes the directory or the config, --pretrained the file, and --force-quick-gelu chooses QuickGELU", err)
	case errors.Is(err, clip.ErrNotFound) && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; infer models lists the names", err)
	}
	return err
}

func (f *modelFlags) read(ctx context.Context, o *clip.OpenOptions) (*clip.Model, error) {
	if f.Model == models.Default && f.Pretrained == "" && f.loadFlags == (loadFlags{}) {
		if _, err := os.Stat(f.Model); err != nil {
			return clip.OpenFS(ctx, models.FS(), models.Default, o)
		}
	}
	return clip.Open(ctx, f.Model, o)
}
