package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/disk"
)

// The directories of --wise-ft under checkpoints/: the model before the first step, and between that and the last one.
const (
	startDir  = "start"
	wiseFTDir = "wise_ft"
)

// keepStart writes the weights that the run begins with, which --wise-ft wants at the end.
func (r *run) keepStart() error {
	if r.o.WiseFT == 0 {
		return nil
	}
	return r.saveModel(startDir, r.model)
}

// wiseFT writes and evaluates checkpoints/wise_ft, (1 - alpha) * the weights of the start + alpha * those of the end: most
// of what fine-tuning brings and most of what the model knew before (WiSE-FT; Wortsman et al., arXiv 2109.01903).
func (r *run) wiseFT(ctx context.Context) error {
	alpha := r.o.WiseFT
	dir := filepath.Join(r.dir, "checkpoints")
	if alpha == 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, wiseFTDir, clip.ConfigFile)); err == nil {
		return nil // an earlier sitting's
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("train: --wise-ft: %w", err)
	}
	start, err := clip.Open(ctx, filepath.Join(dir, startDir), &clip.OpenOptions{Device: r.device})
	if err != nil {
		return fmt.Errorf("train: --wise-ft: %w", err)
	}
	m, err := clip.Open(ctx, filepath.Join(dir, latest), &clip.OpenOptions{Device: r.device, Copy: true})
	if err != nil {
		return fmt.Errorf("train: --wise-ft: %w", err)
	}
	if err := m.Interpolate(start, alpha); err != nil {
		return fmt.Errorf("train: --wise-ft: %w", err)
	}
	r.logf("WiSE-FT, %g of the start's weights and %g of the end's:", 1-alpha, alpha)
	r.trained, r.model = r.model, m
	defer func() { r.model, r.trained = r.trained, nil }()
	metrics := map[string]float64{}
	if r.zeroshot != nil && r.o.ZeroshotFrequency > 0 {
		if err := r.classify(ctx, metrics); err != nil {
			return err
		}
	}
	if r.val != nil && r.o.ValFrequency > 0 {
		if err := r.retrieve(ctx, metrics); err != nil {
			return err
		}
	}
	if len(metrics) > 0 {
		metrics["epoch"], metrics["step"], metrics["wise_ft"] = float64(r.state.Epoch), float64(r.state.Step), alpha
		if err := r.records.result(metrics); err != nil {
			return err
		}
	}
	if err := r.saveModel(wiseFTDir, m); err != nil {
		return err
	}
	r.logf("%s holds them", filepath.Join(dir, wiseFTDir))
	return nil
}

// saveModel writes checkpoints/NAME, a model directory without a run's state, whole or not at all.
func (r *run) saveModel(name string, m *clip.Model) error {
	if !r.first() {
		return nil
	}
	dir := filepath.Join(r.dir, "checkpoints", name)
	fresh := hidden(dir, "tmp")
	err := r.disk.RemoveAll(fresh)
	if err == nil {
		err = r.disk.Mkdir(fresh)
	}
	if err == nil {
		err = m.SaveAs(fresh, &clip.SaveOptions{FS: r.disk})
	}
	if err == nil {
		err = r.place(fresh, dir)
	}
	if err != nil {
		return fmt.Errorf("train: %s was not written: %w", dir, disk.Plain(errors.Join(err, r.disk.RemoveAll(fresh))))
	}
	return nil
}
