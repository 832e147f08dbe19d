package clip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

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

// OpenOptions say how a model is opened. The zero value reads a directory's own weights onto the CPU.
type OpenOptions struct {
	// Pretrained has the weights for a built-in config: a file (.safetensors, .pt, .bin, OpenAI's archives), a model
	// directory, a published tag ("openai"), or "random".
	Pretrained string
	Seed       uint64       // of "random", and of what the tower files lack
	Device     torch.Device // where the parameters live

	// Copy has float32 weights read into memory at once. Without, they stay in the mapped file, whose pages are read as
	// they are used: a model opens in no time. The file must then not be written into while the model lives; a new one
	// may be renamed over it.
	Copy bool

	ImageTower string // a file with weights of the picture tower alone, torchvision's too; what it lacks is random
	TextTower  string // a file with weights of the text tower alone, transformers' RobertaModel too

	ImageSize     int  // pixels of a square picture in place of the config's; position embeddings are resampled
	ContextLength int  // tokens of a text in place of the config's, likewise
	QuickGELU     bool // QuickGELU whatever the config says
	SigLIP        bool // a bias of the logits, for the sigmoid loss; random weights begin with a scale of 10 and a bias of -10

	Fetch pretrained.Options   // how a published tag's file is found; zero: on this machine, then the network
	Log   func(message string) // told in a sentence of what loading did beyond copying; nil for silence
}

func (o OpenOptions) log(format string, args ...any) {
	if o.Log != nil {
		o.Log(fmt.Sprintf(format, args...))
	}
}

// Open reads a model. name is
//
//   - a directory in open_clip's layout (open_clip_config.json) or Hugging Face's (config.json);
//   - a file of weights: one inside such a directory, or any whose shapes tell the architecture;
//   - a built-in config ("ViT-B-32", "emoji-64"), whose weights come from o.Pretrained.
func Open(name string, o OpenOptions) (*Model, error) {
	m, err := open(name, o)
	if err != nil {
		return nil, err
	}
	m.Name = name
	return m, m.To(o.Device)
}

func open(name string, o OpenOptions) (*Model, error) {
	d, err := describe(name, o)
	if err != nil {
		return nil, err
	}
	defer d.close()
	if d.weights == "" && o.Pretrained == "" && o.ImageTower == "" && o.TextTower == "" {
		return nil, fmt.Errorf("clip: the config %s has no weights of its own: give --pretrained a published tag, a file of weights, a model directory or random", name)
	}
	return d.open(name, o)
}

// description is what is known of a model before its weights are read.
type description struct {
	config     *tower.Config
	preprocess *preprocess.Config // nil: OpenAI's
	dir        string             // with the tokenizer's files, or ""
	weights    string             // its own file; "" for a built-in config
	file       *checkpoint.File   // weights, opened, if its shapes told the config; nil otherwise
	published  bool               // the weights are those of a tag
}

func (d description) close() {
	if d.file != nil {
		d.file.Close()
	}
}

// describe finds out what name, and o.Pretrained with it, stands for. No weights are read or fetched. The caller closes
// the description.
func describe(name string, o OpenOptions) (d description, err error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		d, err = readDirectory(os.DirFS(name), name)
		if errors.Is(err, errNoModel) && o.Pretrained == "" {
			if weights := WeightsIn(name); isFile(weights) { // nothing but weights
				return describeShapes(weights, o)
			}
		}
		d.weights = WeightsIn(name)
		return d, err
	case err == nil:
		return describeFile(name, o)
	case !tower.IsConfig(name):
		return d, fmt.Errorf("clip: %q is neither a model directory, nor a file of weights, nor a built-in config such as ViT-B-32; infer models lists them", name)
	}
	if d.config, err = tower.LookupConfig(name); err != nil {
		return d, err
	}
	if o.Pretrained != "" && o.Pretrained != "random" && isTag(o.Pretrained) {
		return describeTag(name, d.config, o.Pretrained)
	}
	return d, nil
}

// describeFile describes a file of weights by the config beside it or, where there is none, by its shapes.
func describeFile(path string, o OpenOptions) (description, error) {
	dir := filepath.Dir(path)
	d, err := readDirectory(os.DirFS(dir), dir)
	if errors.Is(err, errNoModel) {
		if o.Pretrained != "" {
			return d, fmt.Errorf("clip: --model %s is a file of weights and so is --pretrained %s: one of them is wanted", path, o.Pretrained)
		}
		return describeShapes(path, o)
	}
	d.weights = path
	return d, err
}

// open makes the model and reads its weights: those of o.Pretrained, or else its own.
func (d description) open(name string, o OpenOptions) (*Model, error) {
	if d.published {
		path, err := findPublished(name, o)
		if err != nil {
			return nil, err
		}
		d.weights, o.Pretrained = path, ""
	}
	m, err := d.allocate(name, o)
	if err != nil {
		return nil, err
	}
	if err := m.findTokenizer(d, o); err != nil {
		return nil, err
	}
	return m, m.load(name, o, d)
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
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return d, fmt.Errorf("clip: %w", err)
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

// OpenFS reads the model directory dir of a file system, such as an embedded one, onto the CPU; [Model.To] moves it on.
func OpenFS(fsys fs.FS, dir string) (*Model, error) {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	d, err := readDirectory(sub, dir)
	if err != nil {
		return nil, err
	}
	m, err := d.allocate(dir, OpenOptions{})
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(sub, WeightsFile)
	if err != nil {
		return nil, fmt.Errorf("clip: %s: %w", dir, err)
	}
	f, err := checkpoint.Parse(dir+"/"+WeightsFile, data)
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	m.Name = dir
	return m, m.LoadFrom(f, dir)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
