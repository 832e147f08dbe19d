package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
	"github.com/goclip/goclip/torch/optim"
)

// state is where a run stands: train_state/state.json of a checkpoint, beside the optimiser's
// tensors. It is written last and has the sums of all other files, so it reports whether the
// checkpoint is whole.
type state struct {
	Seal    string   `json:"seal,omitempty"`    // CRC-32C of this text; the first field, see seal
	Step    int      `json:"step"`              // optimiser steps done
	Epoch   int      `json:"epoch"`             // epochs done
	Batch   int      `json:"batch"`             // batches done of the epoch that follows them
	Closing bool     `json:"closing,omitempty"` // the last of Epoch's epochs has yet to be evaluated and kept
	Rest    int      `json:"rest,omitempty"`    // batches done of the last of Epoch's epochs, where MaxSteps cut it short
	Samples int      `json:"samples"`
	RNG     [][]byte `json:"rng"`               // of every process's device, for patch dropout
	Threads int      `json:"threads,omitempty"` // of libtorch's kernels
	Scaler  *scaler  `json:"scaler,omitempty"`
	Data    string   `json:"data,omitempty"` // fingerprint of the training data
	LR      float64  `json:"lr,omitempty"`   // that SetLR gave
	Held    *held    `json:"held,omitempty"` // once the length was changed
	Learned *learned `json:"learned,omitempty"`

	Options json.RawMessage `json:"options,omitempty"` // Config.Settings, cmd/train's flags
	Config  *Config         `json:"config,omitempty"`  // none: written by an earlier goclip

	Skipped       int `json:"skipped,omitempty"`
	SkippedInARow int `json:"skipped_in_a_row,omitempty"`

	Files map[string]disk.Sum `json:"files,omitempty"` // none: written by an earlier goclip
}

// learned is what the run learns by that no file can hold. A state of an earlier goclip has none.
type learned struct {
	OwnLoss bool `json:"own_loss"`
	Teacher bool `json:"teacher"`
}

func (c *Config) learned() *learned {
	return &learned{OwnLoss: c.Loss != nil, Teacher: c.Teacher != nil}
}

const (
	stateDir      = "train_state"
	stateFile     = "state.json"
	optimiserFile = "optimizer.safetensors"

	// What LoRARank and EMADecay add, and the model directory of the averaged weights beside it. A
	// checkpoint's own weights have LoRA's products in them, from which the frozen ones cannot be
	// had back exactly: they are kept too.
	loraFile = "lora.safetensors"
	emaFile  = "ema.safetensors"
	emaDir   = "ema"
)

// Save writes checkpoints/latest, from which [Resume] continues exactly here. All processes call it,
// between two steps.
func (t *Trainer) Save(ctx context.Context) error {
	if t.dir == "" {
		return t.c.errorf("there is no place to save: {Dir} is empty")
	}
	if err := t.begin(ctx); err != nil {
		return t.fail(err)
	}
	return t.fail(t.saveShared(latest))
}

// saveShared writes a checkpoint of all processes: process 0 has the weights, which are the same
// everywhere, and each has a generator of its own. A run without a directory keeps nothing.
func (t *Trainer) saveShared(name string) (err error) {
	if t.dir == "" {
		return nil
	}
	rng := t.rng
	if rng == nil {
		rng = torch.RNGState(t.device)
	}
	if t.state.RNG, err = t.group.Exchange(rng); err != nil || !t.first() {
		return err
	}
	return t.save(name)
}

// save writes checkpoints/NAME.
func (t *Trainer) save(name string) error {
	if err := t.restoreWeights(); err != nil {
		return err
	}
	if err := t.watch.records.sync(); err != nil { // a checkpoint has the lines of its steps
		return fmt.Errorf("train: the checkpoint %s was not written: %w", filepath.Join(t.dir, "checkpoints", name), disk.Plain(err))
	}
	err := t.put(name, t.write)
	if err == nil {
		t.safe = t.state.Step
	}
	return err
}

// saveEpoch writes the checkpoint that keeps its epoch's name. The one before it goes when this one
// is safe. A full disk costs this one alone, while steps are left.
func (t *Trainer) saveEpoch() error {
	name := epochName(t.state.Epoch)
	if err := t.saveShared(name); err != nil && t.mayWait(err) {
		t.watch.logf("WARNING: %v", err)
		t.watch.logf("WARNING: training continues without it: the checkpoint of step %d is safe", t.safe)
		return nil
	} else if err != nil {
		return err
	}
	if t.c.DeletePrevious && t.first() && t.dir != "" {
		for epoch := (t.state.Epoch - 1) / t.c.SaveEpochs * t.c.SaveEpochs; epoch < t.state.Epoch; epoch++ { // the last one of a run may come early
			if err := t.discard(epochName(epoch)); err != nil {
				return err
			}
		}
	}
	return nil
}

// SaveSoon has [Trainer.Steps] write checkpoints/latest after the current step, and continue.
// Any goroutine may call it, in any of several processes.
func (t *Trainer) SaveSoon() { t.asked.Store(true) }

// betweenDue reports whether checkpoints/latest is to be written in the middle of an epoch after the
// step that begins, so that a kill costs minutes and not the epoch.
func (t *Trainer) betweenDue() bool {
	if t.dir == "" {
		return false
	}
	if t.asked.Swap(false) { // of any process
		return true
	}
	steps, every := t.c.SaveSteps, t.c.SaveEvery
	return t.first() && (steps > 0 && (t.state.Step+1)%steps == 0 || every > 0 && time.Since(t.saved) >= every || t.again.due())
}

// write fills the directory of a checkpoint, state.json last, which is why it has the others' sums.
func (t *Trainer) write(fsys *summing, dir string) error {
	if err := t.model.SaveAs(dir, &clip.SaveOptions{FS: fsys}); err != nil {
		return err
	}
	in := filepath.Join(dir, stateDir)
	if err := disk.MkdirAll(fsys, in); err != nil {
		return err
	}
	if t.c.LoRARank > 0 {
		if err := writeTensors(fsys, filepath.Join(in, loraFile), t.lowRank()); err != nil {
			return err
		}
	}
	if t.ema != nil {
		if err := writeTensors(fsys, filepath.Join(in, emaFile), t.ema.state()); err != nil {
			return err
		}
		if err := t.saveAverage(fsys, filepath.Join(dir, emaDir)); err != nil {
			return err
		}
	}
	if err := writeTensors(fsys, filepath.Join(in, optimiserFile), t.optimiser.State()); err != nil {
		return err
	}
	if err := t.c.writeFiles(fsys, in); err != nil {
		return err
	}
	t.state.Config, t.state.Learned, t.state.Threads, t.state.Files = &t.c, t.c.learned(), torch.NumThreads(), fsys.files
	if t.c.Settings != nil {
		settings, err := json.Marshal(t.c.Settings)
		if err != nil {
			return err
		}
		t.state.Options = settings
	}
	text, err := seal(t.state)
	if err != nil {
		return err
	}
	return disk.WriteFile(t.disk, filepath.Join(in, stateFile), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// saveAverage writes the model directory of the averaged weights.
func (t *Trainer) saveAverage(fsys disk.FS, dir string) (err error) {
	defer func() { err = errors.Join(err, t.restoreWeights()) }()
	if err := t.ema.show(); err != nil {
		return err
	}
	if err := disk.MkdirAll(fsys, dir); err != nil {
		return err
	}
	return t.model.SaveAs(dir, &clip.SaveOptions{FS: fsys})
}

// openDirectory makes the run's directory what it resumes from: the checkpoint resumed is the
// latest, and the records end with it. Nothing has been written before.
func (t *Trainer) openDirectory(resumed string) (err error) {
	if err := disk.MkdirAll(t.disk, filepath.Join(t.dir, "checkpoints")); err != nil {
		return fmt.Errorf("train: %w", disk.Plain(err))
	}
	if err := t.lockDirectory(); err != nil { // which was not there
		return err
	}
	if t.moved(resumed) {
		if err := t.moveIn(resumed); err != nil {
			return err
		}
	}
	if err := t.settle(resumed, func() error { return t.save(latest) }); err != nil { // before the records: they may be longer than the latest checkpoint, not shorter
		return err
	}
	t.saved = time.Now()
	if resumed != "" {
		t.safe = t.state.Step
	}
	t.watch.records, err = openRecords(t.disk, t.dir, &t.c, t.state.Step)
	return err
}

// readState loads train_state/state.json and makes the Config that of the run, or refuses what
// would not continue it.
func (t *Trainer) readState(dir string) error {
	path := filepath.Join(dir, stateDir, stateFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return t.c.errorf("{resume} %s: %w", dir, err)
	}
	if err := json.Unmarshal(text, &t.state); err != nil {
		return t.c.errorf("{resume}: %s is not a run's state: %w", path, err)
	}
	switch {
	case t.c.Resuming != nil:
		err = t.c.Resuming(t.state.Options, &t.c)
	case t.state.Config != nil:
		err = t.c.inherit(*t.state.Config)
	default:
		err = t.c.errorf("{resume}: %s was written by an earlier goclip, whose command continues it", path)
	}
	if err != nil {
		return err
	}
	return t.checkLearned()
}

// checkLearned refuses what would continue a run as another one without a word: another loss, or
// another number of processes, by which a step's batch and the steps of an epoch would change.
func (t *Trainer) checkLearned() error {
	now := t.c.learned()
	if was := t.state.Learned; was != nil {
		for _, f := range []struct {
			field    string
			was, now bool
		}{{"Loss", was.OwnLoss, now.OwnLoss}, {"Teacher", was.Teacher, now.Teacher}} {
			switch {
			case f.was && !f.now:
				return t.c.refuse("{resume}: the run was started with a {" + f.field + "}, which no checkpoint holds; give it again")
			case f.now && !f.was:
				return t.c.refuse("{resume}: the run was started without a {" + f.field + "}; drop it")
			}
		}
	}
	if was, now := len(t.state.RNG), t.group.Size(); was > 0 && was != now {
		return t.c.refuse("{resume}: the run was started in %d processes and now has %d, which make another batch and another epoch; resume it in %d", was, now, was)
	}
	return nil
}

// restore brings the optimiser and the generator to where the checkpoint left them.
func (t *Trainer) restore(dir string) error {
	if was, now := t.state.Threads, torch.NumThreads(); was != 0 && was != now {
		t.notes = append(t.notes, fmt.Sprintf("WARNING: the run had %d threads and now has %d, which add in another order: it continues, but not bit for bit; with %d threads it does", was, now, was))
	}
	if err := readTensors(filepath.Join(dir, stateDir, optimiserFile), t.optimiser.State()); err != nil {
		return err
	}
	return t.restoreGenerator()
}

// lowRank yields LoRA's products and the weights that they are added to.
func (t *Trainer) lowRank() iter.Seq2[string, *torch.Tensor] {
	return func(yield func(string, *torch.Tensor) bool) {
		for key, p := range t.model.State() {
			if (clip.IsLoRA(key) || t.model.Adapted(p)) && !yield(key, p) {
				return
			}
		}
	}
}

// openTuned makes the average of the weights, and brings it and LoRA's products to where the
// checkpoint left them; dir is "" at the beginning.
func (t *Trainer) openTuned(dir string) error {
	if t.c.LoRARank > 0 && dir != "" {
		if err := readTensors(filepath.Join(dir, stateDir, loraFile), t.lowRank()); err != nil {
			return err
		}
	}
	if t.c.EMADecay == 0 {
		return nil
	}
	var learning []optim.Param
	for key, p := range t.model.Parameters() {
		if p.RequiresGrad() {
			learning = append(learning, optim.Param{Name: key, T: p})
		}
	}
	var err error
	if t.ema, err = newEMA(t.c.EMADecay, learning); err != nil || dir == "" {
		return err
	}
	return readTensors(filepath.Join(dir, stateDir, emaFile), t.ema.state())
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
		return fmt.Errorf("train: resume: %w", err)
	}
	defer f.Close()
	want, name := 0, filepath.Base(path)
	for key, t := range tensors {
		want++
		e, ok := f.Entry(key)
		if !ok {
			return fmt.Errorf("train: resume: %s lacks %s", name, key)
		}
		if !slices.Equal(e.Shape, t.Shape()) {
			return fmt.Errorf("train: resume: %s: %s has the shape %v, not %v", name, key, e.Shape, t.Shape())
		}
		if err := f.CopyTo(e, t); err != nil {
			return fmt.Errorf("train: resume: %w", err)
		}
	}
	if extra := len(f.Names()) - want; extra > 0 {
		return fmt.Errorf("train: resume: %s holds %d tensors too many", name, extra)
	}
	return nil
}
