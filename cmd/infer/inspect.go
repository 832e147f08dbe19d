package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch/checkpoint"
)

type tokenizeCmd struct {
	modelFlags
}

func (c *tokenizeCmd) Run(io *streams) error {
	m, err := c.open()
	if err != nil {
		return err
	}
	t, err := m.Tokenizer()
	if err != nil {
		return err
	}
	scanner := newScanner(io.in)
	out := bufio.NewWriter(io.out)
	for scanner.Scan() {
		ids, cut := t.Tokenize(scanner.Text(), m.ContextLength())
		if cut {
			fmt.Fprintf(io.err, "infer: the text %q is longer than the model's %d tokens: its end is cut off\n", scanner.Text(), m.ContextLength())
		}
		text, err := json.Marshal(ids)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return errors.Join(out.Flush(), scanError("stdin", err))
	}
	return out.Flush()
}

type modelsCmd struct{}

func (c *modelsCmd) Run(io *streams) error {
	tags := map[string][]string{}
	for _, m := range pretrained.Tags() {
		tags[m.Model] = m.Tags
	}
	t := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	for _, name := range clip.ConfigNames() {
		note := strings.Join(tags[name], " ")
		if name == models.Default {
			note = "shipped with its weights, the default"
		}
		fmt.Fprintf(t, "%s\t%s\n", name, note)
	}
	return t.Flush()
}

type inspectCmd struct {
	Format string `help:"text or json." default:"text" enum:"text,json"`
	Model  string `arg:"" optional:"" help:"Model directory or built-in config; the default is the shipped model." default:"emoji-64"`
}

// inspection is the JSON that inspect prints.
type inspection struct {
	Model      string         `json:"model"`
	Config     *clip.Config   `json:"config"`
	Parameters map[string]int `json:"parameters"` // visual, text, logit_scale, logit_bias, total
	DType      string         `json:"dtype,omitempty"`
	SHA256     string         `json:"sha256,omitempty"` // of the weights' file
}

func (c *inspectCmd) Run(io *streams) error {
	flags := modelFlags{Model: c.Model, BatchSize: 1, Device: "cpu"}
	if _, err := os.Stat(c.Model); err != nil && c.Model != models.Default {
		flags.Pretrained = "random" // a config has no weights to tell of
	}
	m, err := flags.open()
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
	if flags.Pretrained == "" {
		if err := i.file(c.Model); err != nil {
			return err
		}
	}
	return i.print(io.out, c.Format)
}

// file notes the type and the checksum of the weights' file.
func (i *inspection) file(model string) error {
	path := model
	if info, err := os.Stat(model); err == nil && info.IsDir() {
		path = filepath.Join(model, clip.WeightsFile)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = fs.ReadFile(models.FS(), models.Default+"/"+clip.WeightsFile)
	}
	if err != nil {
		return err
	}
	f, err := checkpoint.Parse(path, data)
	if err != nil {
		return err
	}
	for _, name := range f.Names() {
		e, _ := f.Entry(name)
		i.DType = e.DType.TorchDType().String()
	}
	i.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data))
	return nil
}

func (i *inspection) print(w io.Writer, format string) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(i)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	v, x := i.Config.Vision, i.Config.Text
	fmt.Fprintf(t, "model\t%s\n", i.Model)
	fmt.Fprintf(t, "picture tower\t%v\t%d parameters\n", v, i.Parameters["visual"])
	fmt.Fprintf(t, "text tower\t%v\t%d parameters\n", x, i.Parameters["text"])
	fmt.Fprintf(t, "features\t%d\t%d parameters in all\n", i.Config.EmbedDim, i.Parameters["total"])
	fmt.Fprintf(t, "activation\t%s\n", map[bool]string{true: "QuickGELU", false: "GELU"}[i.Config.QuickGELU])
	if i.SHA256 != "" {
		fmt.Fprintf(t, "weights\t%s\nsha256\t%s\n", i.DType, i.SHA256)
	}
	return t.Flush()
}
