package train

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip"
)

// The directories of Config.WiseFT under checkpoints/: the model before the first step, and between
// that and the last one.
const (
	startDir  = "start"
	wiseFTDir = "wise_ft"
)

// keepStart writes the weights that the run begins with, which WiseFT needs at the end.
func (t *Trainer) keepStart() error {
	if t.c.WiseFT == 0 {
		return nil
	}
	return t.saveModel(startDir, t.model)
}

// wiseFT writes and evaluates checkpoints/wise_ft, (1 - alpha) * the weights of the start + alpha *
// those of the end: most of what fine-tuning brings and most of what the model knew before
// (WiSE-FT; Wortsman et al., arXiv 2109.01903).
func (t *Trainer) wiseFT(ctx context.Context) error {
	alpha := t.c.WiseFT
	dir := filepath.Join(t.dir, "checkpoints")
	if alpha == 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, wiseFTDir, clip.ConfigFile)); err == nil {
		return nil // an earlier sitting's
	} else if !errors.Is(err, os.ErrNotExist) {
		return t.c.errorf("{WiseFT}: %w", err)
	}
	start, err := clip.Open(ctx, filepath.Join(dir, startDir), &clip.OpenOptions{Device: t.device})
	if err != nil {
		return t.c.errorf("{WiseFT}: %w", err)
	}
	defer freeWeights(start)
	m, err := clip.Open(ctx, filepath.Join(dir, latest), &clip.OpenOptions{Device: t.device, Copy: true})
	if err != nil {
		return t.c.errorf("{WiseFT}: %w", err)
	}
	defer freeWeights(m)
	if err := m.Interpolate(start, alpha); err != nil {
		return t.c.errorf("{WiseFT}: %w", err)
	}
	t.watch.logf("WiSE-FT, %g of the start's weights and %g of the end's:", 1-alpha, alpha)
	metrics := Metrics{}
	if err := t.measureModel(ctx, m, t.zeroshot != nil && t.c.ZeroShotEpochs > 0, t.val != nil && t.c.ValEpochs > 0, metrics); err != nil {
		return err
	}
	if len(metrics) > 0 {
		metrics["epoch"], metrics["step"], metrics["wise_ft"] = float64(t.state.Epoch), float64(t.state.Step), alpha
		if err := t.watch.records.result(metrics); err != nil {
			return err
		}
	}
	if err := t.saveModel(wiseFTDir, m); err != nil {
		return err
	}
	t.watch.logf("%s holds them", filepath.Join(dir, wiseFTDir))
	return nil
}

// saveModel writes checkpoints/NAME, a model directory without a run's state, whole or not at all.
func (t *Trainer) saveModel(name string, m *clip.Model) error {
	if !t.first() {
		return nil
	}
	return t.put(name, func(fsys *summing, dir string) error { return m.SaveAs(dir, &clip.SaveOptions{FS: fsys}) })
}

// freeWeights frees a model's, which the collector would not see the size of.
func freeWeights(m *clip.Model) {
	for _, p := range m.State() {
		p.Free()
	}
}
