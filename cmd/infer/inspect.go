package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch/checkpoint"
)

type inspectCmd struct {
	Format     string `help:"text or json." default:"text" enum:"text,json"`
	Model      string `arg:"" optional:"" help:"Model directory, weights file or built-in config (default: the built-in model)." default:"emoji-64" complete:"models"`
	Pretrained string `help:"Weights of a built-in config: a published tag, a file or a model directory." complete:"tags"`
}

// inspection is the JSON that inspect prints.
type inspection struct {
	Model      string         `json:"model"`
	Config     *tower.Config  `json:"config"`
	Parameters map[string]int `json:"parameters"`       // visual, text, logit_scale, logit_bias, total
	Layout     string         `json:"layout,omitempty"` // of the weights' file: safetensors, TorchScript, ...
	DType      string         `json:"dtype,omitempty"`  // that most of the numbers have
	DTypes     map[string]int `json:"dtypes,omitempty"` // numbers of each
	Files      []weightFile   `json:"files,omitempty"`
	SHA256     string         `json:"sha256,omitempty"` // of the only file
}

type weightFile struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (*inspectCmd) Help() string {
	return `Examples:

  infer inspect
  infer inspect logs/photos/checkpoints/latest
  infer inspect --format json ViT-L-14.pt`
}

func (c *inspectCmd) Run(ctx context.Context, io *streams) error {
	flags := modelFlags{Model: c.Model, Pretrained: c.Pretrained, computeFlags: computeFlags{BatchSize: 1, Device: "cpu"}}
	if _, err := os.Stat(c.Model); err != nil && c.Model != models.Default && c.Pretrained == "" {
		if n, err := pretrained.ParseName(c.Model, tower.ConfigNames()); err == nil && n.Repo == "" && n.Tag == "" {
			flags.Pretrained = "random" // a config has no weights to tell of
		}
	}
	m, err := flags.open(ctx, io.err)
	if err != nil {
		return err
	}
	i := inspection{Model: c.Model, Config: m.Config, Parameters: map[string]int{}}
	for key, p := range m.Parameters() {
		part := "text"
		if strings.HasPrefix(key, "visual.") {
			part = "visual"
		} else if key == "logit_scale" || key == "logit_bias" {
			part = key
		}
		i.Parameters[part] += p.Numel()
		i.Parameters["total"] += p.Numel()
	}
	switch {
	case m.Weights != "":
		err = i.file(m.Weights)
	case flags.Pretrained == "":
		err = i.shipped()
	}
	if err != nil {
		return err
	}
	return i.print(io.out, c.Format)
}

// file notes the kind, the types and the checksums of the weights.
func (i *inspection) file(path string) error {
	f, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	i.describe(f)
	for _, path := range f.Paths() {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		w := weightFile{Path: path}
		w.Bytes, w.SHA256, err = checksum(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		i.Files = append(i.Files, w)
	}
	if len(i.Files) == 1 {
		i.SHA256 = i.Files[0].SHA256
	}
	return nil
}

func checksum(r io.Reader) (bytes int64, sum string, err error) {
	h := sha256.New()
	bytes, err = io.Copy(h, r)
	return bytes, fmt.Sprintf("%x", h.Sum(nil)), err
}

// shipped is file for the model inside the program.
func (i *inspection) shipped() error {
	path := models.Default + "/" + clip.WeightsFile
	data, err := fs.ReadFile(models.FS(), path)
	if err != nil {
		return err
	}
	f, err := checkpoint.Parse(path, data)
	if err != nil {
		return err
	}
	i.describe(f)
	i.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data))
	return nil
}

func (i *inspection) describe(f *checkpoint.File) {
	i.Layout, i.DTypes = f.Format(), map[string]int{}
	for _, name := range f.Names() {
		e, _ := f.Entry(name)
		dtype := e.DType.TorchDType().String()
		if i.DTypes[dtype] += len(e.Data) / e.DType.Size(); i.DTypes[dtype] > i.DTypes[i.DType] {
			i.DType = dtype
		}
	}
}

func (i *inspection) print(w io.Writer, format string) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(i)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	v, x := i.Config.Vision, i.Config.Text
	fmt.Fprintf(t, "model\t%s\n", i.Model)
	fmt.Fprintf(t, "image tower\t%v\t%d parameters\n", v, i.Parameters["visual"])
	fmt.Fprintf(t, "text tower\t%v\t%d parameters\n", x, i.Parameters["text"])
	fmt.Fprintf(t, "features\t%d\t%d parameters in all\n", i.Config.EmbedDim, i.Parameters["total"])
	fmt.Fprintf(t, "activation\t%s\n", map[bool]string{true: "QuickGELU", false: "GELU"}[i.Config.QuickGELU])
	if i.Layout != "" {
		var types []string
		for dtype, n := range i.DTypes {
			types = append(types, fmt.Sprintf("%s (%d numbers)", dtype, n))
		}
		slices.Sort(types)
		fmt.Fprintf(t, "weights\t%s, %s\n", i.Layout, strings.Join(types, ", "))
	}
	for _, f := range i.Files {
		fmt.Fprintf(t, "file\t%s\t%d bytes\n", f.Path, f.Bytes)
		fmt.Fprintf(t, "sha256\t%s\n", f.SHA256)
	}
	if len(i.Files) == 0 && i.SHA256 != "" {
		fmt.Fprintf(t, "sha256\t%s\n", i.SHA256)
	}
	return t.Flush()
}
