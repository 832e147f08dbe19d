package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
)

// evaluatesAlone reports whether there is nothing to train: with --eval-only and, as open_clip has it,
// where data to evaluate on is given and none to train on.
func (o *options) evaluatesAlone() bool {
	return o.EvalOnly || o.TrainData == "" && o.DatasetType != "synthetic" && (o.ValData != "" || o.ImageNetVal != "")
}

// evaluate prints the metrics of the model, or of the checkpoint that --resume names, as JSON.
func (o *options) evaluate(ctx context.Context, c *train.Config, device torch.Device, fetch pretrained.Options, out io.Writer) error {
	if err := o.openData(ctx, c, fetch.Log); err != nil {
		return err
	}
	of := *o
	if of.Resume != "" {
		of.Model, of.Pretrained = of.resumes(), ""
		if latest := filepath.Join(of.Model, "checkpoints", "latest"); isDirectory(latest) {
			of.Model = latest
		}
	}
	m, err := of.openModel(ctx, clip.OpenOptions{Device: device, Fetch: fetch, Log: fetch.Log})
	if err != nil {
		return err
	}
	metrics, err := train.Evaluate(ctx, m, c)
	if ctx.Err() != nil {
		return train.ErrInterrupted
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(metrics)
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
