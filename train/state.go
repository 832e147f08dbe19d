package train

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// state is where a run stands: train_state/state.json of a checkpoint, beside the optimiser's tensors. It is written last
// and has the sums of all other files, so it tells whether the checkpoint is whole.
type state struct {
	Seal    string  `json:"seal,omitempty"`    // CRC-32C of this text; the first field, see seal
	Step    int     `json:"step"`              // optimiser steps done
	Epoch   int     `json:"epoch"`             // epochs done
	Batch   int     `json:"batch"`             // batches done of the epoch that follows them
	Closing bool    `json:"closing,omitempty"` // the last of Epoch's epochs has yet to be evaluated and kept
	Samples int     `json:"samples"`
	RNG     []byte  `json:"rng"`               // of the device, for patch dropout
	Threads int     `json:"threads,omitempty"` // of libtorch's kernels
	Options Options `json:"options"`

	Files map[string]fileSum `json:"files,omitempty"` // none: written by an earlier goclip
}

const (
	stateDir      = "train_state"
	stateFile     = "state.json"
	optimiserFile = "optimizer.safetensors"
	latest        = "latest"
)

// saveState writes the optimiser's tensors and, with the sums of all that went through disk, state.json.
func (r *run) saveState(disk *summing, dir string) error {
	if err := checkpoint.MkdirAllFS(disk, dir); err != nil {
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
	if err := checkpoint.WriteFS(disk, filepath.Join(dir, optimiserFile), entries, nil); err != nil {
		return err
	}
	r.state.RNG, r.state.Options, r.state.Threads, r.state.Files = torch.RNGState(r.device), r.o, torch.NumThreads(), disk.files
	text, err := seal(r.state)
	if err != nil {
		return err
	}
	return checkpoint.WriteFileFS(r.disk, filepath.Join(dir, stateFile), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// readState loads train_state/state.json and refuses options that would not continue the same run.
func (r *run) readState(dir string) error {
	path := filepath.Join(dir, stateDir, stateFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("train: --resume %s: %w", r.o.Resume, err)
	}
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
		{"force-patch-dropout", r.o.PatchDropout, was.PatchDropout}, {"no-shuffle", r.o.NoShuffle, was.NoShuffle},
		{"lock-image", r.o.LockImage, was.LockImage}, {"lock-image-unlocked-groups", r.o.UnlockedGroups, was.UnlockedGroups},
		{"lock-image-freeze-bn-stats", r.o.FreezeBNStats, was.FreezeBNStats}, {"lock-text", r.o.LockText, was.LockText},
		{"lock-text-unlocked-layers", r.o.UnlockedLayers, was.UnlockedLayers},
		{"lock-text-freeze-layer-norm", r.o.FreezeLayerNorm, was.FreezeLayerNorm},
		{"force-image-size", r.o.ForceImageSize, was.ForceImageSize}, {"force-context-length", r.o.ForceContextLength, was.ForceContextLength},
		{"force-quick-gelu", r.o.ForceQuickGELU, was.ForceQuickGELU}, {"seed", r.o.Seed, was.Seed}, {"aug-cfg", fmt.Sprint(r.o.AugCfg), fmt.Sprint(was.AugCfg)},
	} {
		if f.now != f.was {
			return fmt.Errorf("train: --resume: the run was started with --%s %v, not %v; a resumed run continues it exactly", f.flag, f.was, f.now)
		}
	}
	return nil
}

// restore brings the optimiser and the generator to where the checkpoint left them.
func (r *run) restore(dir string) error {
	if was, now := r.state.Threads, torch.NumThreads(); was != 0 && was != now {
		r.notes = append(r.notes, fmt.Sprintf("WARNING: the run had %d threads and now has %d, which add in another order: it continues, but not bit for bit; --threads %d does", was, now, was))
	}
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
