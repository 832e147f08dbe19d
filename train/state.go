package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// state is where a run stands: train_state/state.json of a checkpoint, beside the optimiser's tensors.
type state struct {
	Step    int      `json:"step"`              // optimiser steps done
	Epoch   int      `json:"epoch"`             // epochs done
	Batch   int      `json:"batch"`             // batches done of the epoch that follows them
	Closing bool     `json:"closing,omitempty"` // the last of Epoch's epochs has yet to be evaluated and kept
	Samples int      `json:"samples"`
	RNG     [][]byte `json:"rng"` // of every process's device, for patch dropout
	Scaler  *scaler  `json:"scaler,omitempty"`
	Data    string   `json:"data,omitempty"` // fingerprint of the training data
	Options Options  `json:"options"`

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
	if r.state.RNG, err = r.generators(); err != nil || !r.first() {
		return err
	}
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
	r.state.Options = r.o
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

// changeable are the flags that a resumed run may be given anew: they say where it runs and what is watched and kept, not what it
// learns. What opens the model is not asked again.
var changeable = strings.Fields(`resume logs name device threads workers dist-url dist-backend val-data imagenet-val
	zeroshot-frequency zeroshot-templates val-frequency save-frequency delete-previous-checkpoint log-every-n-steps
	pretrained pretrained-image-path pretrained-text-path`)

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
