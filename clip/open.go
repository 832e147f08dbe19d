package clip

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// The files of a model directory in open_clip's layout (open_clip src/open_clip/constants.py).
const (
	ConfigFile  = "open_clip_config.json"
	WeightsFile = "open_clip_model.safetensors"
)

// weightFiles are the names of weights in a model directory, open_clip's (src/open_clip/factory.py
// _find_checkpoint_in_dir) and transformers'; the first that is there counts.
var weightFiles = []string{WeightsFile, "open_clip_pytorch_model.bin", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}

// WeightsIn returns the file of weights in a model directory, or the first of the names that are looked for.
func WeightsIn(dir string) string {
	for _, name := range weightFiles {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	return filepath.Join(dir, WeightsFile)
}

// OpenOptions say how a model is opened. The zero value reads a model's own weights onto the CPU.
type OpenOptions struct {
	// Pretrained has the weights for a built-in config: a published tag ("openai"), a file (.safetensors, .pt, .bin,
	// OpenAI's archives), a model directory, or "random".
	Pretrained string
	Seed       uint64       // of "random", and of what the tower files lack
	Device     torch.Device // where the parameters live; zero: CPU
	Precision  Precision    // in which the towers compute; zero: FP32, which alone may be trained on the CPU

	// Copy has float32 weights read into memory at once, for a model that is trained or changed. Without it, they
	// stay in the mapped file, whose pages are read as they are used: a model opens in no time. The file must then
	// not be written into while the model lives; a new one may be renamed over it.
	Copy bool

	ImageTower string // a file with weights of the image tower alone, torchvision's too; what it lacks is random
	TextTower  string // a file with weights of the text tower alone, transformers' RobertaModel too

	ImageSize     int  // pixels of a square image in place of the config's; position embeddings are resampled
	ContextLength int  // tokens of a text in place of the config's, likewise
	QuickGELU     bool // QuickGELU whatever the config says
	PlainText     bool // special tokens inside texts, such as <|endoftext|>, are text: for what strangers write
	SigLIP        bool // a bias of the logits, for the sigmoid loss; random weights begin with a scale of 10 and a bias of -10

	Offline  bool                      // never touch the network, as with HF_HUB_OFFLINE=1
	Progress func(pretrained.Progress) // told of each piece of a download
	Log      func(message string)      // told in a sentence of what opening did beyond copying; nil for silence
	Fetch    pretrained.Options        // cache, retries and limits of downloads; Offline, Progress and Log above win
}

func (o *OpenOptions) log(format string, args ...any) {
	if o.Log != nil {
		o.Log(fmt.Sprintf(format, args...))
	}
}

// fetch is how files are found.
func (o *OpenOptions) fetch() pretrained.Options {
	f := o.Fetch
	f.Offline = f.Offline || o.Offline
	if o.Progress != nil {
		f.Progress = o.Progress
	}
	if o.Log != nil {
		f.Log = o.Log
	}
	return f
}

// What errors.Is finds in the errors of this package.
var (
	ErrNotFound    = pretrained.ErrNotFound // no model, tag, repository or file has the name
	ErrOffline     = pretrained.ErrOffline  // a file is not on this machine and must not be fetched
	ErrChecksum    = pretrained.ErrChecksum // a file's bytes are not those that were published
	ErrNoWeights   = errors.New("no weights")
	ErrUnsupported = errors.New("not supported") // a kind of model, or a precision on a device
	ErrAmbiguous   = errors.New("ambiguous")     // a file of weights that does not tell its architecture
)

// begun is the error of a context that has ended, or that a caller has left nil: goroutines that decode would meet it
// where nobody can recover.
func begun(ctx context.Context) error {
	if ctx == nil {
		return errors.New("clip: the context is nil: context.Background() is one that never ends")
	}
	return ctx.Err()
}

// marked is an error that is also one of the above, whose words its own sentence does not need.
type marked struct {
	error
	as error
}

func (m marked) Is(target error) bool { return target == m.as }
func (m marked) Unwrap() error        { return m.error }

// Open reads a model; a nil o means the defaults. name is
//
//   - a directory in open_clip's layout (open_clip_config.json) or Hugging Face's (config.json);
//   - a file of weights: one inside such a directory, or any whose shapes tell the architecture;
//   - a built-in config ("ViT-B-32", also "ViT-B/32"), whose weights come from o.Pretrained;
//   - a built-in config with a published tag: "ViT-B-32:openai", or "ViT-B-32__openai";
//   - a model of the Hugging Face hub: "hf-hub:org/name", "hf-hub:org/name@revision", or "org/name".
//
// What is not on this machine is fetched. Open stops when ctx ends.
func Open(ctx context.Context, name string, o *OpenOptions) (*Model, error) {
	if o == nil {
		o = &OpenOptions{}
	}
	m, err := open(ctx, name, *o)
	if err != nil {
		return nil, err
	}
	m.Name, m.Options = name, *o
	return m, m.prepare(o)
}

// prepare brings an opened model to its device and precision.
func (m *Model) prepare(o *OpenOptions) error {
	if err := m.To(o.Device); err != nil {
		return fmt.Errorf("clip: %s: %w", m.Name, err)
	}
	return m.compute(o.Precision)
}

func open(ctx context.Context, name string, o OpenOptions) (*Model, error) {
	d, err := describe(ctx, name, &o)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return d.open(ctx, name, o)
}

// open makes the model and reads its weights: those of a tag, of o.Pretrained, or its own.
func (d description) open(ctx context.Context, name string, o OpenOptions) (*Model, error) {
	if d.weights == "" && o.Pretrained == "" && o.ImageTower == "" && o.TextTower == "" {
		return nil, marked{fmt.Errorf("clip: the config %s has no weights of its own: Pretrained must name a published tag, a file of weights, a model directory, or random", name), ErrNoWeights}
	}
	if d.tag != "" {
		file, err := pretrained.Find(ctx, d.builtin, d.tag, o.fetch())
		if err != nil {
			return nil, fmt.Errorf("clip: %w", err)
		}
		d.weights, o.Pretrained = file.Path, ""
	}
	m, err := d.allocate(name, o)
	if err != nil {
		return nil, err
	}
	if err := m.findTokenizer(d, o); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return m, m.load(name, o, d)
}

// sumFile holds the SHA-256 of a model's weights in hexadecimal, so that nobody has to compute it.
const sumFile = "state.sha256"

// OpenFS is [Open] of the model directory dir of a file system, such as an embedded one. Its weights are read into
// memory. Pretrained, ImageTower and TextTower, which name other weights, must be empty.
func OpenFS(ctx context.Context, fsys fs.FS, dir string, o *OpenOptions) (*Model, error) {
	if o == nil {
		o = &OpenOptions{}
	}
	if err := begun(ctx); err != nil {
		return nil, err
	}
	if fsys == nil {
		return nil, errors.New("clip: OpenFS needs a file system, such as models.FS()")
	}
	if o.Pretrained != "" || o.ImageTower != "" || o.TextTower != "" {
		return nil, fmt.Errorf("clip: %s: OpenFS reads the weights beside the config; drop Pretrained, ImageTower and TextTower, or call Open", dir)
	}
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("clip: %q is not a name in an fs.FS, such as %q: %w", dir, "models/mine", err)
	}
	d, err := readDirectory(sub, dir)
	if errors.Is(err, errNoModel) {
		return nil, marked{err, ErrNotFound}
	}
	if err != nil {
		return nil, err
	}
	m, err := d.allocate(dir, *o)
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(sub, WeightsFile)
	if err != nil {
		return nil, marked{fmt.Errorf("clip: %s: %w", dir, err), ErrNoWeights}
	}
	f, err := checkpoint.Parse(dir+"/"+WeightsFile, data)
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	m.Name, m.Options = dir, *o
	if sum, err := fs.ReadFile(sub, sumFile); err == nil {
		m.StateSum = strings.TrimSpace(string(sum))
	}
	copied := *o
	copied.Copy = true // data is the caller's and Go's
	if err := m.loadFrom(f, dir, copied); err != nil {
		return nil, err
	}
	return m, m.prepare(o)
}
