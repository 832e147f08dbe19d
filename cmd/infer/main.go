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
	_ "github.com/goclip/goclip/cmd/internal/heap"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

type commands struct {
	Version kong.VersionFlag `help:"Print the version."`

	Score       scoreCmd       `cmd:"" help:"Compare every image with every text."`
	Classify    classifyCmd    `cmd:"" help:"Label images, sort folders, measure accuracy."`
	Eval        evalCmd        `cmd:"" help:"Evaluate models: zero-shot classification, retrieval, linear probe."`
	Embed       embedCmd       `cmd:"" help:"Write embeddings of images and texts as .npy and Parquet files."`
	Index       indexCmd       `cmd:"" help:"Make or update a search index of images."`
	Search      searchCmd      `cmd:"" help:"Find images by words or by an image."`
	Cluster     clusterCmd     `cmd:"" help:"Group the images of an index by similarity."`
	Learn       learnCmd       `cmd:"" help:"Teach an index a new word from example images."`
	Explain     explainCmd     `cmd:"" help:"Show where in an image a text is."`
	Serve       serveCmd       `cmd:"" help:"Serve an HTTP API and a web page."`
	Caption     captionCmd     `cmd:"" help:"Write a caption for each image with a CoCa model."`
	Tokenize    tokenizeCmd    `cmd:"" help:"Convert lines on stdin to JSON arrays of token ids."`
	Inspect     inspectCmd     `cmd:"" help:"Print a model's config, parameter counts, type and checksum."`
	Convert     convertCmd     `cmd:"" help:"Convert a model to open_clip's or Hugging Face's layout."`
	Probe       probeCmd       `cmd:"" help:"Measure a linear probe on a model's frozen features."`
	Interpolate interpolateCmd `cmd:"" help:"Average a model with its fine-tuned version (WiSE-FT)."`
	Models      modelsCmd      `cmd:"" help:"List built-in configs, published weights, and downloaded models."`
	Pull        pullCmd        `cmd:"" help:"Download a model for use without the network."`
	Push        pushCmd        `cmd:"" help:"Upload a model to the Hugging Face hub, with a model card."`
	Doctor      doctorCmd      `cmd:"" help:"Check this machine and say how to fix what is wrong."`
	Completion  completionCmd  `cmd:"" help:"Print shell completion for bash, zsh or fish."`
	Man         manCmd         `cmd:"" hidden:"" help:"Print the man page."`
	Report      reportCmd      `cmd:"" help:"Write a page with a run's loss, images and probabilities."`
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
	Model      string `help:"Published model (ViT-B-32:openai, hf-hub:ORG/NAME), model directory (open_clip's or Hugging Face's), weights file or built-in config (default: $GOCLIP_MODEL, else the best downloaded model, else the built-in emoji-64)." complete:"models"`
	Pretrained string `help:"Weights of a built-in config: a published tag (openai, laion2b_s34b_b79k), a file (.safetensors, .pt, .bin), a model directory or random." complete:"tags"`
	computeFlags
}

// computeFlags say how a model is read and run.
type computeFlags struct {
	loadFlags `group:"Loading"`
	Device    string `help:"auto, cpu, cuda or cuda:N." default:"auto" complete:"auto,cpu,cuda"`
	Precision string `help:"fp32, by three bfloat16 products each on CPUs with AMX; fp32-strict, without them; bf16, fast on CPUs with bfloat16 instructions or AMX; int8, on CPUs only; fp16, on CUDA only. auto is fp32 on CPUs, and on CUDA bf16 (fp16 before Ampere)." default:"auto" enum:"auto,fp32,fp32-strict,bf16,fp16,int8"`
	Threads   int    `help:"Threads of libtorch's kernels (default: the number of CPUs)."`
	PlainText bool   `help:"Take special tokens inside texts, such as <|endoftext|>, as text."`
	Seed      uint64 `help:"Seed of random weights."`
	BatchSize int    `help:"Images or texts per batch." default:"32"`
}

// orientFlag is that of commands that look at people's images.
type orientFlag struct {
	NoOrient bool `help:"Ignore the EXIF orientation, as open_clip does."`
}

// loadFlags change a model while it is read.
type loadFlags struct {
	ForceImageSize     int    `help:"Side of the square images in pixels, instead of the config's; position embeddings are resampled."`
	ForceContextLength int    `help:"Tokens of a text, instead of the config's; position embeddings are resampled."`
	ForceQuickGELU     bool   `name:"force-quick-gelu" help:"Use QuickGELU, which OpenAI's weights need, whatever the config says."`
	PretrainedImage    string `name:"pretrained-image-path" help:"Weights of the image tower only, such as torchvision's for vit_b_32-roberta-base."`
	PretrainedText     string `name:"pretrained-text-path" help:"Weights of the text tower only, such as roberta-base's."`
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
		ImageSize: f.ForceImageSize, ContextLength: f.ForceContextLength, QuickGELU: f.ForceQuickGELU, PlainText: f.PlainText,
		ImageTower: f.PretrainedImage, TextTower: f.PretrainedText}, nil
}

func (f *modelFlags) open(ctx context.Context, errs io.Writer) (*clip.Model, error) {
	o, err := f.options(errs)
	if err != nil {
		return nil, err
	}
	f.Model = cmp.Or(f.Model, models.Default)
	if f.Precision == "auto" && !o.Precision.Float32() {
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
