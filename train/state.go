package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// state is where a run stands: train_state/state.json of a checkpoint, beside the optimiser's tensors.
type state struct {
	Step    int     `json:"step"`              // optimiser steps done
	Epoch   int     `json:"epoch"`             // epochs done
	Batch   int     `json:"batch"`             // batches done of the epoch that follows them
	Closing bool    `json:"closing,omitempty"` // the last of Epoch's epochs has yet to be evaluated and kept
	Samples int     `json:"samples"`
	RNG     []byte  `json:"rng"` // of the device, for patch dropout
	Scaler  *scaler `json:"scaler,omitempty"`
	Options Options `json:"options"`

	Skipped       int `json:"skipped,omitempty"`
	SkippedInARow int `json:"skipped_in_a_row,omitempty"`
}

const (
	stateDir      = "train_state"
	stateFile     = "state.json"
	optimiserFile = "optimizer.safetensors"
	latest        = "latest"
)

// save writes checkpoints/NAME: into a directory of a temporary name, which then takes the place of the former one. A
// crash at any moment leaves the old checkpoint, under its name or as .NAME.old, or the new one.
func (r *run) save(name string) (err error) {
	dir := filepath.Join(r.dir, "checkpoints", name)
	parent := filepath.Dir(dir)
	fresh, old := filepath.Join(parent, "."+name+".tmp"), filepath.Join(parent, "."+name+".old")
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(fresh)
			err = fmt.Errorf("train: the checkpoint %s was not written: %w", dir, err)
		}
	}()
	if err := r.model.Save(fresh, torch.Float32); err != nil {
		return err
	}
	if err := r.saveState(filepath.Join(fresh, stateDir)); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil { // otherwise old, left by a crash, is the only checkpoint there is
		if err := os.RemoveAll(old); err != nil {
			return err
		}
		if err := os.Rename(dir, old); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	return checkpoint.SyncDir(parent)
}

func (r *run) saveState(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var entries []checkpoint.Entry
	for key, t := range r.optimiser.State() {
		e, err := checkpoint.FromTensor(key, t, torch.Float32)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	if err := checkpoint.Write(filepath.Join(dir, optimiserFile), entries, nil); err != nil {
		return err
	}
	r.state.RNG, r.state.Options = torch.RNGState(r.device), r.o
	text, err := json.MarshalIndent(r.state, "", "  ")
	if err != nil {
		return err
	}
	return checkpoint.WriteFile(filepath.Join(dir, stateFile), func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// findResume is the checkpoint directory that --resume means. As open_clip's, latest without any checkpoint is the
// beginning, dir "": a run that was killed before its first checkpoint is started by the same command line.
func (r *run) findResume() (dir string, err error) {
	if r.o.Resume != latest {
		return r.o.Resume, nil
	}
	for _, name := range []string{latest, "." + latest + ".old"} {
		dir := filepath.Join(r.dir, "checkpoints", name)
		switch _, err := os.Stat(filepath.Join(dir, stateDir, stateFile)); {
		case err == nil:
			return dir, nil
		case !errors.Is(err, os.ErrNotExist):
			return "", fmt.Errorf("train: --resume latest: %w", err)
		}
	}
	return "", nil
}

// readState loads train_state/state.json and refuses options that would not continue the same run.
func (r *run) readState(dir string) error {
	path := filepath.Join(dir, stateDir, stateFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("train: --resume %s: %w", r.o.Resume, err)
	}
	r.state.Options = DefaultOptions() // for the flags that a run of an earlier version did not know
	if err := json.Unmarshal(text, &r.state); err != nil {
		return fmt.Errorf("train: --resume: %s is not a run's state: %w", path, err)
	}
	was := r.state.Options
	for _, f := range []struct {
		flag     string
		now, was any
	}{
		{"train-data", r.o.TrainData, was.TrainData}, {"model", r.o.Model, was.Model}, {"batch-size", r.o.BatchSize, was.BatchSize},
		{"epochs", r.o.Epochs, was.Epochs}, {"max-steps", r.o.MaxSteps, was.MaxSteps}, {"lr", r.o.LR, was.LR},
		{"beta1", r.o.Beta1, was.Beta1}, {"beta2", r.o.Beta2, was.Beta2}, {"eps", r.o.Eps, was.Eps}, {"wd", r.o.WD, was.WD},
		{"warmup", r.o.Warmup, was.Warmup}, {"lr-scheduler", r.o.LRScheduler, was.LRScheduler},
		{"grad-clip-norm", r.o.GradClipNorm, was.GradClipNorm}, {"precision", r.o.Precision, was.Precision},
		{"accum-freq", r.o.AccumFreq, was.AccumFreq}, {"non-finite", r.o.NonFinite, was.NonFinite},
		{"force-patch-dropout", r.o.PatchDropout, was.PatchDropout}, {"no-shuffle", r.o.NoShuffle, was.NoShuffle},
		{"lock-image", r.o.LockImage, was.LockImage}, {"lock-image-unlocked-groups", r.o.UnlockedGroups, was.UnlockedGroups},
		{"lock-image-freeze-bn-stats", r.o.FreezeBNStats, was.FreezeBNStats}, {"lock-text", r.o.LockText, was.LockText},
		{"lock-text-unlocked-layers", r.o.UnlockedLayers, was.UnlockedLayers},
		{"lock-text-freeze-layer-norm", r.o.FreezeLayerNorm, was.FreezeLayerNorm},
		{"force-image-size", r.o.ForceImageSize, was.ForceImageSize}, {"force-context-length", r.o.ForceContextLength, was.ForceContextLength},
		{"force-quick-gelu", r.o.ForceQuickGELU, was.ForceQuickGELU}, {"siglip", r.o.SigLIP, was.SigLIP}, {"seed", r.o.Seed, was.Seed}, {"aug-cfg", fmt.Sprint(r.o.AugCfg), fmt.Sprint(was.AugCfg)},
	} {
		if f.now != f.was {
			return fmt.Errorf("train: --resume: the run was started with --%s %v, not %v; a resumed run continues it exactly", f.flag, f.was, f.now)
		}
	}
	return nil
}

// restore brings the optimiser and the generator to where the checkpoint left them.
func (r *run) restore(dir string) error {
	f, err := checkpoint.Open(filepath.Join(dir, stateDir, optimiserFile))
	if err != nil {
		return fmt.Errorf("train: --resume: %w", err)
	}
	defer f.Close()
	want := 0
	for key, t := range r.optimiser.State() {
		want++
		e, ok := f.Entry(key)
		if !ok {
			return fmt.Errorf("train: --resume: %s lacks %s", optimiserFile, key)
		}
		if !slices.Equal(e.Shape, t.Shape()) {
			return fmt.Errorf("train: --resume: %s: %s has the shape %v, not %v", optimiserFile, key, e.Shape, t.Shape())
		}
		if err := f.CopyTo(e, t); err != nil {
			return fmt.Errorf("train: --resume: %w", err)
		}
	}
	if extra := len(f.Names()) - want; extra > 0 {
		return fmt.Errorf("train: --resume: %s holds %d tensors too many", optimiserFile, extra)
	}
	return torch.SetRNGState(r.device, r.state.RNG)
}
