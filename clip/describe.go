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
	"github.com/goclip/goclip/torch/checkpoint"
)

// description is what is known of a model before its weights are read.
type description struct {
	config     *tower.Config
	preprocess *preprocess.Config // nil: OpenAI's
	dir        string             // with the tokenizer's files, or ""
	weights    string             // its own file; "" for a built-in config
	file       *checkpoint.File   // weights, opened, if its shapes told the config; nil otherwise
	builtin    string             // the name of the built-in config, or ""
	tag        string             // the published weights of builtin, or ""
	openAI     bool               // the weights are OpenAI's, or in Hugging Face's layout
}

func (d description) close() {
	if d.file != nil {
		d.file.Close()
	}
}

// describe finds out what name, and o.Pretrained with it, stands for. Of a model of the hub it finds the files; no
// other weights are read or fetched. The caller closes the description.
func describe(ctx context.Context, name string, o *OpenOptions) (d description, err error) {
	if err := begun(ctx); err != nil {
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
			size := c.Vision.PixelSize()
			m.Preprocess.Size, m.Preprocess.ShortestEdge = [2]int{size.Height, size.Width}, 0
		}
	}
	return m, nil
}

// errNoModel is inside the error for a directory without a config.
var errNoModel = errors.New("it is not a model directory")

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
	if size := d.config.Vision.PixelSize(); d.preprocess != nil && d.preprocess.Size != [2]int{size.Height, size.Width} {
		return d, fmt.Errorf("clip: %s: preprocessing makes images of %v pixels, the model takes %v", name, d.preprocess.Size, size)
	}
	return d, nil
}

func readOpenCLIP(_ fs.FS, data []byte) (d description, err error) {
	var j struct {
		Model      json.RawMessage `json:"model_cfg"`
		Preprocess json.RawMessage `json:"preprocess_cfg"`
		Own        bool            `json:"own_towers"`
		OpenAI     bool            `json:"openai_special_tokens"`
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
	d.openAI = j.OpenAI
	if d.config, err = tower.ParseConfig(j.Model); err != nil {
		return d, err
	}
	if len(j.Preprocess) > 0 && string(j.Preprocess) != "null" {
		size := d.config.Vision.PixelSize() // where the preprocessing names none
		d.preprocess = &preprocess.Config{Size: [2]int{size.Height, size.Width}}
		if err := json.Unmarshal(j.Preprocess, d.preprocess); err != nil {
			return d, fmt.Errorf("clip: %w", err)
		}
	}
	return d, nil
}

func readHuggingFace(dir fs.FS, data []byte) (d description, err error) {
	d.openAI = true
	if d.config, err = tower.ParseHuggingFace(data); err != nil {
		return d, err
	}
	p, ok, err := readHuggingFacePreprocess(dir)
	if ok {
		d.preprocess = &p
	}
	if v := &d.config.Vision; ok && v.IsNaFlex() && p.PatchSize == v.PatchSize { // the processor says how many patches there are
		v.ImageSize = tower.Size{Height: p.Size[0] - p.PatchSize, Width: p.Size[1]}
	}
	return d, err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// isTag reports whether Pretrained is meant as a published tag: it does not exist and does not look like a path.
func isTag(pretrained string) bool {
	_, err := os.Stat(pretrained)
	return err != nil && !strings.ContainsRune(pretrained, filepath.Separator) && filepath.Ext(pretrained) == ""
}

// describeTag describes the built-in config name with the weights of a published tag. The tag says which GELU they were
// trained with and how images are prepared; both follow it, because neither can be seen in the weights.
func describeTag(name string, c *tower.Config, tag string) (d description, err error) {
	e, err := pretrained.Lookup(name, tag)
	if err != nil {
		return d, fmt.Errorf("clip: %q is not a file, and %w", tag, err)
	}
	d = description{config: c.Clone(), builtin: name, tag: e.Tag, openAI: e.Tag == "openai"}
	d.config.QuickGELU = e.QuickGELU
	size := c.Vision.PixelSize()
	p := preprocess.DefaultConfig(size.Height)
	p.Size = [2]int{size.Height, size.Width}
	p.Mean, p.Std, p.Interpolation, p.ResizeMode = e.Mean, e.Std, e.Interpolation, e.ResizeMode
	d.preprocess = &p
	return d, p.Validate()
}
