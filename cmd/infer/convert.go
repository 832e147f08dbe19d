package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/torch"
)

type convertCmd struct {
	To         string `help:"The layout to write: open_clip, or hf for Hugging Face's transformers." default:"open_clip" enum:"open_clip,hf"`
	DType      string `name:"dtype" help:"Type of the weights: float32 or float16." default:"float32" enum:"float32,float16"`
	Model      string `arg:"" help:"Model directory, file of weights, or a built-in config with --pretrained."`
	Pretrained string `help:"Weights of a built-in config: a published tag, a file (.safetensors, .pt, .bin), a model directory or random."`
	loadFlags
	Out string `arg:"" help:"The directory to write. It must not be there yet."`
}

// Run writes the directory under a temporary name and renames it: it is there whole or not at all.
func (c *convertCmd) Run(io *streams) (err error) {
	if _, err := os.Lstat(c.Out); err == nil {
		return usageError(fmt.Sprintf("convert: %s is there already; name another directory", c.Out))
	}
	flags := modelFlags{Model: c.Model, Pretrained: c.Pretrained, loadFlags: c.loadFlags, Device: "cpu", BatchSize: 1}
	m, err := flags.open(io.err)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.Out), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(c.Out), "."+filepath.Base(c.Out)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(fresh)
		}
	}()
	dtype := map[string]torch.DType{"float32": torch.Float32, "float16": torch.Float16}[c.DType]
	save := m.Save
	if c.To == "hf" {
		save = m.SaveHuggingFace
	}
	if err := save(fresh, dtype); err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	if v := m.Config.Vision; c.To == "open_clip" && v.TimmModelName != "" && v.ActOptions != nil {
		fmt.Fprintf(io.err, "infer: transformers computes this picture tower with GELU's %s form and timm's %s with the other: goclip keeps to it (act_kwargs), open_clip does not read it there\n", v.ActOptions.Approximate, v.TimmModelName)
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	return os.Rename(fresh, c.Out)
}
