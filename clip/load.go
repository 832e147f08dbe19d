package clip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// The files of a model directory in open_clip's layout (open_clip src/open_clip/constants.py).
const (
	ConfigFile  = "open_clip_config.json"
	WeightsFile = "open_clip_model.safetensors"
)

// weightsIn is the file of weights in a model directory, under the first of open_clip's names that is there
// (open_clip src/open_clip/factory.py _find_checkpoint_in_dir), or the first of all.
func weightsIn(dir string) string {
	for _, name := range []string{WeightsFile, "open_clip_pytorch_model.bin", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	return filepath.Join(dir, WeightsFile)
}

// OpenOptions say how a model is opened. The zero value reads a directory's own weights onto the CPU.
type OpenOptions struct {
	Pretrained string       // weights for a built-in config: a file (.safetensors, .pt, .bin, OpenAI's archives), a model directory, a published tag ("openai"), or "random"
	Seed       uint64       // of "random"
	Device     torch.Device // where the parameters live

	Fetch pretrained.Options // how a published tag's file is found; the zero value looks on the machine, then on the network
}

// directoryConfig is open_clip_config.json.
type directoryConfig struct {
	Model      json.RawMessage    `json:"model_cfg"`
	Preprocess *preprocess.Config `json:"preprocess_cfg,omitempty"`
}

// Open reads a model: name is a directory in open_clip's layout, a .safetensors file inside one, or a built-in config
// ("ViT-B-32", "emoji-64"), whose weights then come from o.Pretrained.
func Open(name string, o OpenOptions) (*Model, error) {
	m, err := open(name, o)
	if err != nil {
		return nil, err
	}
	m.Name = name
	return m, m.to(o.Device)
}

func open(name string, o OpenOptions) (*Model, error) {
	info, statErr := os.Stat(name)
	switch {
	case statErr == nil && info.IsDir():
		m, err := allocateFS(os.DirFS(name), name)
		if err != nil {
			return nil, err
		}
		if err := m.openTokenizer(name); err != nil {
			return nil, err
		}
		return m, m.load(name, o, weightsIn(name))
	case statErr == nil:
		dir := filepath.Dir(name)
		m, err := allocateFS(os.DirFS(dir), dir)
		if err != nil {
			return nil, fmt.Errorf("%w; give the directory of the checkpoint, or --model CONFIG --pretrained %s", err, name)
		}
		if err := m.openTokenizer(dir); err != nil {
			return nil, err
		}
		return m, m.load(name, o, name)
	case !isConfig(name):
		return nil, fmt.Errorf("clip: %q is neither a model directory nor a built-in config such as ViT-B-32; infer models lists them", name)
	}
	c, err := LookupConfig(name)
	if err != nil {
		return nil, err
	}
	switch o.Pretrained {
	case "":
		return nil, fmt.Errorf("clip: the config %s has no weights of its own: give --pretrained a .safetensors file, a model directory or random", name)
	case "random":
		return New(c, o.Seed)
	}
	if isTag(o.Pretrained) {
		return openPublished(name, c, o)
	}
	m, err := tryAllocate(c)
	if err != nil {
		return nil, err
	}
	return m, m.load(name, o, "")
}

// OpenFS reads the model directory dir of a file system, such as an embedded one, onto the CPU.
func OpenFS(fsys fs.FS, dir string) (*Model, error) {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	m, err := allocateFS(sub, dir)
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

// allocateFS reads a directory's open_clip_config.json and makes the model that it describes, without weights.
func allocateFS(dir fs.FS, name string) (*Model, error) {
	data, err := fs.ReadFile(dir, ConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("clip: %s holds no %s: it is no model directory", name, ConfigFile)
	}
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	var d directoryConfig
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("clip: %s/%s: %w", name, ConfigFile, err)
	}
	if len(d.Model) == 0 {
		return nil, fmt.Errorf("clip: %s/%s has no model_cfg", name, ConfigFile)
	}
	c, err := ParseConfig(d.Model)
	if err != nil {
		return nil, fmt.Errorf("%w (in %s/%s)", err, name, ConfigFile)
	}
	m, err := tryAllocate(c)
	if err != nil {
		return nil, fmt.Errorf("%w (in %s/%s)", err, name, ConfigFile)
	}
	if d.Preprocess != nil {
		m.Preprocess = *d.Preprocess
		if size := [2]int{c.Vision.ImageSize.Height, c.Vision.ImageSize.Width}; m.Preprocess.Size != size {
			return nil, fmt.Errorf("clip: %s/%s: preprocess_cfg makes pictures of %v pixels, the model takes %v", name, ConfigFile, m.Preprocess.Size, size)
		}
	}
	return m, nil
}

// tryAllocate is allocate for a config from a file, which may ask for more than there is.
func tryAllocate(c *Config) (m *Model, err error) {
	if torch.NoGrad(func(*torch.Scope) { m = allocate(c) }) != nil { // the allocator's refusal: nothing else can fail
		return nil, fmt.Errorf("clip: config: a picture tower of width %d with %d layers and a text tower of width %d with %d do not fit into memory",
			c.Vision.Width, c.Vision.Depth(), c.Text.Width, c.Text.Layers)
	}
	return m, nil
}

// load reads the weights from o.Pretrained or, without one, from the file own.
func (m *Model) load(name string, o OpenOptions, own string) error {
	path := own
	switch o.Pretrained {
	case "":
	case "random":
		random, err := New(m.Config, o.Seed)
		if err != nil {
			return err
		}
		m.Text, m.LogitScale, m.LogitBias, m.Visual = random.Text, random.LogitScale, random.LogitBias, random.Visual
		return nil
	default:
		path = o.Pretrained
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			path = weightsIn(path)
		}
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		return fmt.Errorf("clip: %s: %w", name, err)
	}
	defer f.Close()
	if err := m.checkActivation(f, path); err != nil {
		return err
	}
	return m.LoadFrom(f, path)
}

// checkActivation refuses weights that say they were trained with the other GELU: shapes cannot tell, and the wrong
// one costs 2.7 points of ImageNet accuracy without a word. OpenAI's files, which hold the resolution beside the weights,
// are QuickGELU's.
func (m *Model) checkActivation(f *checkpoint.File, path string) error {
	have, ok := f.Metadata()["quick_gelu"]
	if _, openAI := f.Entry("input_resolution"); openAI && !ok {
		have, ok = "true", true
	}
	if ok && have != fmt.Sprint(m.Config.QuickGELU) {
		return fmt.Errorf("clip: %s was trained with quick_gelu=%s and the config says %v: choose the config with or without -quickgelu", path, have, m.Config.QuickGELU)
	}
	return nil
}

// LoadFrom copies the weights of a safetensors file into the model. Keys and shapes must agree both ways; the error
// lists every one that does not, and the model then keeps its weights.
func (m *Model) LoadFrom(f *checkpoint.File, path string) error {
	var problems []string
	known, entries := map[string]bool{}, m.stateDict(f)
	for key, p := range m.State() {
		known[key] = true
		e, ok := entries[key]
		switch {
		case !ok:
			problems = append(problems, "missing "+key)
		case !slices.Equal(e.Shape, p.Shape()) && !(p.Dim() == 0 && slices.Equal(e.Shape, []int{1})):
			problems = append(problems, fmt.Sprintf("%s has the shape %v, the model wants %v", key, e.Shape, p.Shape()))
		}
	}
	for key := range entries {
		if !known[key] {
			problems = append(problems, "unexpected "+key)
		}
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return fmt.Errorf("clip: %s does not fit the model: %s", path, strings.Join(problems, "; "))
	}
	for key, p := range m.State() {
		e := entries[key]
		e.Shape = p.Shape()
		if err := e.CopyTo(p); err != nil {
			return fmt.Errorf("clip: %s: %w", path, err)
		}
		f.Release(e)
	}
	return nil
}

// to moves the model to a device.
func (m *Model) to(d torch.Device) error {
	if d == (torch.Device{}) || d == torch.CPU {
		return nil
	}
	return torch.NoGrad(func(s *torch.Scope) {
		for _, p := range m.State() {
			p.Set(s.Alias(p).To(d, p.DType()))
		}
	})
}
