package train

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
	"github.com/goclip/goclip/torch/optim"
)

// The files of train_state/ that --lora-rank and --ema-decay add, and the model directory of the averaged weights beside
// it. A checkpoint's own weights have LoRA's products in them, from which the frozen ones cannot be had back exactly: they
// are kept too.
const (
	loraFile = "lora.safetensors"
	emaFile  = "ema.safetensors"
	emaDir   = "ema"
)

// lowRank yields LoRA's products and the weights that they are added to.
func (r *run) lowRank() iter.Seq2[string, *torch.Tensor] {
	return func(yield func(string, *torch.Tensor) bool) {
		for key, t := range r.model.State() {
			if (clip.IsLoRA(key) || r.model.Adapted(t)) && !yield(key, t) {
				return
			}
		}
	}
}

func (e *ema) state() iter.Seq2[string, *torch.Tensor] {
	return func(yield func(string, *torch.Tensor) bool) {
		for i, p := range e.params {
			if !yield(p.Name, e.averages[i]) {
				return
			}
		}
	}
}

// saveTuned writes what a checkpoint has because of --lora-rank and --ema-decay into its directory.
func (r *run) saveTuned(fsys disk.FS, dir string) (err error) {
	if r.o.LoRARank == 0 && r.ema == nil {
		return nil
	}
	if err := disk.MkdirAll(fsys, filepath.Join(dir, stateDir)); err != nil {
		return err
	}
	if r.o.LoRARank > 0 {
		if err := writeTensors(fsys, filepath.Join(dir, stateDir, loraFile), r.lowRank()); err != nil {
			return err
		}
	}
	if r.ema == nil {
		return nil
	}
	if err := writeTensors(fsys, filepath.Join(dir, stateDir, emaFile), r.ema.state()); err != nil {
		return err
	}
	if err := r.ema.swap(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.ema.swap()) }()
	if err := disk.MkdirAll(fsys, filepath.Join(dir, emaDir)); err != nil {
		return err
	}
	return r.model.SaveAs(filepath.Join(dir, emaDir), &clip.SaveOptions{FS: fsys})
}

// openTuned makes the average of the weights, and brings it and LoRA's products to where the checkpoint left them; dir is
// "" at the beginning.
func (r *run) openTuned(dir string) error {
	if r.o.LoRARank > 0 && dir != "" {
		if err := readTensors(filepath.Join(dir, stateDir, loraFile), r.lowRank()); err != nil {
			return err
		}
	}
	if r.o.EMADecay == 0 {
		return nil
	}
	var learning []optim.Param
	for key, p := range r.model.Parameters() {
		if p.RequiresGrad() {
			learning = append(learning, optim.Param{Name: key, T: p})
		}
	}
	var err error
	if r.ema, err = newEMA(r.o.EMADecay, learning); err != nil || dir == "" {
		return err
	}
	return readTensors(filepath.Join(dir, stateDir, emaFile), r.ema.state())
}

func writeTensors(fsys disk.FS, path string, tensors iter.Seq2[string, *torch.Tensor]) error {
	var entries []checkpoint.Entry
	for key, t := range tensors {
		entries = append(entries, checkpoint.Of(key, t, torch.Float32))
	}
	return checkpoint.WriteFS(fsys, path, entries, nil)
}

// readTensors fills tensors from a file that has each of them, in its shape, and nothing else.
func readTensors(path string, tensors iter.Seq2[string, *torch.Tensor]) error {
	f, err := checkpoint.Open(path)
	if err != nil {
		return fmt.Errorf("train: --resume: %w", err)
	}
	defer f.Close()
	want, name := 0, filepath.Base(path)
	for key, t := range tensors {
		want++
		e, ok := f.Entry(key)
		if !ok {
			return fmt.Errorf("train: --resume: %s lacks %s", name, key)
		}
		if !slices.Equal(e.Shape, t.Shape()) {
			return fmt.Errorf("train: --resume: %s: %s has the shape %v, not %v", name, key, e.Shape, t.Shape())
		}
		if err := f.CopyTo(e, t); err != nil {
			return fmt.Errorf("train: --resume: %w", err)
		}
	}
	if extra := len(f.Names()) - want; extra > 0 {
		return fmt.Errorf("train: --resume: %s holds %d tensors too many", name, extra)
	}
	return nil
}
