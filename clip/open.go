package clip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
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

// WeightsIn is the file of weights in a model directory, or the first of the names that are looked for.
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
	Precision  Precision    // in which the towers compute; zero: FP32

	// Copy has float32 weights read into memory at once, for a model that is trained or changed. Without it, they
	// stay in the mapped file, whose pages are read as they are used: a model opens in no time. The file must then
	// not be written into while the model lives; a new one may be renamed over it.
	Copy bool

	ImageTower string // a file with weights of the image tower alone, torchvision's too; what it lacks is random
	TextTower  string // a file with weights of the text tower alone, transformers' RobertaModel too

	ImageSize     int  // pixels of a square image in place of the config's; position embeddings are resampled
	ContextLength int  // tokens of a text in place of the config's, likewise
	QuickGELU     bool // QuickGELU whatever the config says
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
)

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
	m.Name = name
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

// description is what is known of a model before its weights are read.
type description struct {
	config     *tower.Config
	preprocess *preprocess.Config // nil: OpenAI's
	dir        string             // with the tokenizer's files, or ""
	weights    string             // its own file; "" for a built-in config
	file       *checkpoint.File   // weights, opened, if its shapes told the config; nil otherwise
	builtin    string             // the name of the built-in config, or ""
	tag        string             // the published weights of builtin, or ""
}

func (d description) close() {
	if d.file != nil {
		d.file.Close()
	}
}

// describe finds out what name, and o.Pretrained with it, stands for. Of a model of the hub it finds the files; no
// other weights are read or fetched. The caller closes the description.
func describe(ctx context.Context, name string, o *OpenOptions) (d description, err error) {
	if err := ctx.Err(); err != nil {
		return d, err
	}
	switch info, err := os.Stat(name); {
	case err == nil && info.IsDir():
		return describeDirectory(name, o)
	case err == nil:
		return describeFile(name, o)
	}
	n, err := pretrained.ParseName(name, tower.ConfigNames())
	switch {
	case isPath(name):
		return d, marked{fmt.Errorf("clip: %q is neither a model directory, nor a file of weights, nor a built-in config: %w", name, fs.ErrNotExist), ErrNotFound}
	case err != nil:
		return d, fmt.Errorf("clip: %q is neither a model directory, nor a file of weights, nor a built-in config such as ViT-B-32: %w", name, err)
	case n.Repo != "":
		found, err := pretrained.FindRepo(ctx, n.Repo, o.fetch())
		if err != nil {
			return d, fmt.Errorf("clip: %w", err)
		}
		return describeDirectory(found.Dir, o)
	case n.Tag != "" && o.Pretrained != "" && o.Pretrained != n.Tag:
		return d, fmt.Errorf("clip: the name %s and Pretrained %s both name weights; drop one", name, o.Pretrained)
	case n.Tag != "":
		o.Pretrained = n.Tag
	}
	if d.config, err = tower.LookupConfig(n.Config); err != nil {
		return d, err
	}
	if o.Pretrained != "" && o.Pretrained != "random" && isTag(o.Pretrained) {
		d, err = describeTag(n.Config, d.config, o.Pretrained)
		o.Pretrained = d.tag
		return d, err
	}
	d.builtin = n.Config
	return d, nil
}

// isPath tells names that are written as paths.
func isPath(name string) bool {
	return filepath.IsAbs(name) || strings.HasPrefix(name, "."+string(filepath.Separator)) || strings.HasPrefix(name, "..") ||
		slices.Contains([]string{".safetensors", ".pt", ".bin", ".pth", ".json"}, filepath.Ext(name))
}

func describeDirectory(dir string, o *OpenOptions) (d description, err error) {
	d, err = readDirectory(os.DirFS(dir), dir)
	if errors.Is(err, errNoModel) && o.Pretrained == "" {
		if weights := WeightsIn(dir); isFile(weights) { // nothing but weights
			return describeShapes(weights, *o)
		}
	}
	d.weights = WeightsIn(dir)
	return d, err
}

// describeFile describes a file of weights by the config beside it or, where there is none, by its shapes.
func describeFile(path string, o *OpenOptions) (description, error) {
	dir := filepath.Dir(path)
	d, err := readDirectory(os.DirFS(dir), dir)
	if errors.Is(err, errNoModel) {
		if o.Pretrained != "" {
			return d, fmt.Errorf("clip: %s is a file of weights, and so is Pretrained %s; drop one", path, o.Pretrained)
		}
		return describeShapes(path, *o)
	}
	d.weights = path
	return d, err
}

// configure is the config, changed as o says.
func (d description) configure(o OpenOptions) (*tower.Config, error) {
	c := d.config.Clone()
	if o.ImageSize != 0 {
		c.Vision.ImageSize = tower.Square(o.ImageSize)
	}
	if o.ContextLength != 0 {
		c.Text.ContextLength = o.ContextLength
	}
	c.QuickGELU = c.QuickGELU || o.QuickGELU
	if o.SigLIP { // open_clip_train/main.py's --siglip
		scale, bias := math.Log(10), -10.0
		c.InitLogitScale, c.InitLogitBias = &scale, &bias
	}
	return c, c.Complete()
}

// allocate makes the model without weights.
func (d description) allocate(name string, o OpenOptions) (*Model, error) {
	c, err := d.configure(o)
	if err != nil {
		return nil, err
	}
	m, err := tryAllocate(c)
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, name)
	}
	if d.preprocess != nil {
		m.Preprocess = *d.preprocess
		if o.ImageSize != 0 {
			m.Preprocess.Size, m.Preprocess.ShortestEdge = [2]int{o.ImageSize, o.ImageSize}, 0
		}
	}
	return m, nil
}

// errNoModel is inside the error for a directory without a config.
var errNoModel = errors.New("it is no model directory")

// readDirectory reads the config of a model directory in either layout.
func readDirectory(dir fs.FS, name string) (d description, err error) {
	file, read := ConfigFile, readOpenCLIP
	data, err := fs.ReadFile(dir, file)
	if errors.Is(err, fs.ErrNotExist) {
		file, read = hfConfigFile, readHuggingFace
		data, err = fs.ReadFile(dir, file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return d, fmt.Errorf("clip: %s holds neither %s nor %s: %w", name, ConfigFile, hfConfigFile, errNoModel)
	}
	if err != nil {
		return d, fmt.Errorf("clip: %w", err)
	}
	d, err = read(dir, data)
	if err != nil {
		return d, fmt.Errorf("%w (in %s/%s)", err, name, file)
	}
	d.dir = name
	if size := d.config.Vision.ImageSize; d.preprocess != nil && d.preprocess.Size != [2]int{size.Height, size.Width} {
		return d, fmt.Errorf("clip: %s: preprocessing makes pictures of %v pixels, the model takes %v", name, d.preprocess.Size, size)
	}
	return d, nil
}

func readOpenCLIP(_ fs.FS, data []byte) (d description, err error) {
	var j struct {
		Model      json.RawMessage `json:"model_cfg"`
		Preprocess json.RawMessage `json:"preprocess_cfg"`
		Own        bool            `json:"own_towers"`
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return d, fmt.Errorf("clip: %w", err)
	}
	if j.Own {
		return d, marked{errors.New("clip: its towers are a program's own: that program opens it, by NewModel and Load"), ErrUnsupported}
	}
	if len(j.Model) == 0 {
		return d, errors.New("clip: it has no model_cfg")
	}
	if d.config, err = tower.ParseConfig(j.Model); err != nil {
		return d, err
	}
	if len(j.Preprocess) > 0 && string(j.Preprocess) != "null" {
		size := d.config.Vision.ImageSize // where the preprocessing names none
		d.preprocess = &preprocess.Config{Size: [2]int{size.Height, size.Width}}
		if err := json.Unmarshal(j.Preprocess, d.preprocess); err != nil {
			return d, fmt.Errorf("clip: %w", err)
		}
	}
	return d, nil
}

func readHuggingFace(dir fs.FS, data []byte) (d description, err error) {
	if d.config, err = tower.ParseHuggingFace(data); err != nil {
		return d, err
	}
	p, ok, err := readHuggingFacePreprocess(dir)
	if ok {
		d.preprocess = &p
	}
	return d, err
}

// OpenFS is [Open] of the model directory dir of a file system, such as an embedded one. Its weights are read into
// memory.
func OpenFS(ctx context.Context, fsys fs.FS, dir string, o *OpenOptions) (*Model, error) {
	if o == nil {
		o = &OpenOptions{}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	d, err := readDirectory(sub, dir)
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
	m.Name = dir
	copied := *o
	copied.Copy = true // data is the caller's and Go's
	if err := m.loadFrom(f, dir, copied); err != nil {
		return nil, err
	}
	return m, m.prepare(o)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
