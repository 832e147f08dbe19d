package train

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// state is where a run stands: train_state/state.json of a checkpoint, beside the optimiser's tensors. It is written last
// and has the sums of all other files, so it tells whether the checkpoint is whole.
type state struct {
	Seal    string   `json:"seal,omitempty"`    // CRC-32C of this text; the first field, see seal
	Step    int      `json:"step"`              // optimiser steps done
	Epoch   int      `json:"epoch"`             // epochs done
	Batch   int      `json:"batch"`             // batches done of the epoch that follows them
	Closing bool     `json:"closing,omitempty"` // the last of Epoch's epochs has yet to be evaluated and kept
	Samples int      `json:"samples"`
	RNG     [][]byte `json:"rng"`               // of every process's device, for patch dropout
	Threads int      `json:"threads,omitempty"` // of libtorch's kernels
	Scaler  *scaler  `json:"scaler,omitempty"`
	Data    string   `json:"data,omitempty"` // fingerprint of the training data
	Options Options  `json:"options"`

	Skipped       int `json:"skipped,omitempty"`
	SkippedInARow int `json:"skipped_in_a_row,omitempty"`

	Files map[string]fileSum `json:"files,omitempty"` // none: written by an earlier goclip
}

const (
	stateDir      = "train_state"
	stateFile     = "state.json"
	optimiserFile = "optimizer.safetensors"
	latest        = "latest"
)

// saveState writes the optimiser's tensors and, with the sums of all that went through disk, state.json.
func (r *run) saveState(fsys *summing, dir string) error {
	if err := disk.MkdirAll(fsys, dir); err != nil {
		return err
	}
	if err := writeTensors(fsys, filepath.Join(dir, optimiserFile), r.optimiser.State()); err != nil {
		return err
	}
	r.state.Options, r.state.Threads, r.state.Files = r.o, torch.NumThreads(), fsys.files
	text, err := seal(r.state)
	if err != nil {
		return err
	}
	return disk.WriteFile(r.disk, filepath.Join(dir, stateFile), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// changeable are the flags that a resumed run may be given anew: they say where it runs and what is watched and kept, not
// what it learns. What opens the model is not asked again.
var changeable = strings.Fields(`resume logs name device threads workers dist-url dist-backend val-data imagenet-val
	zeroshot-frequency zeroshot-templates val-frequency save-frequency save-most-recent save-every-n-steps
	save-every-minutes delete-previous-checkpoint log-every-n-steps report-to metrics-addr dry-run
	overfit cuda-graphs pretrained pretrained-image-path pretrained-text-path`)

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
	now, was := reflect.ValueOf(r.o), reflect.ValueOf(r.state.Options)
	for i := range now.NumField() {
		flag := now.Type().Field(i).Tag.Get("name")
		if a, b := now.Field(i).Interface(), was.Field(i).Interface(); !slices.Contains(changeable, flag) && !reflect.DeepEqual(a, b) {
			return fmt.Errorf("train: --resume: the run was started with --%s %v, not %v; a resumed run continues it exactly", flag, b, a)
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
	return r.restoreGenerator()
}
