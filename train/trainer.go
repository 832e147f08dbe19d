package train

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/train/data"
	"github.com/goclip/goclip/train/evaluate"
)

// Trainer trains a model on a Dataset. Its methods belong to one goroutine. [Trainer.Close] ends
// it.
type Trainer struct {
	*stepper // the model, its gradients, what they do to it
	*checkpoints
	watch *watcher

	c        Config // with its defaults
	state    state
	total    int // steps of the run
	warmup   int // of them
	schedule schedule
	rng      []byte // the device's generator between two loops over Steps; nil within one
	data     Dataset
	loader   *data.Loader
	val      *evaluate.Pairs
	zeroshot *zeroshot
	ema      *ema        // nil without EMADecay
	resumed  string      // the checkpoint that the run resumes from; "" at the beginning
	notes    []string    // of opening, before there was a log
	asked    atomic.Bool // SaveSoon
	again    postponed   // a checkpoint that the disk had no room for
	outgrown bool        // the checkpoint was a shorter run's end
	unlock   []func()    // has what the Config locked learn again
	begun    bool        // files are there
	ended    bool        // nothing is left to do
	closed   bool
	looping  bool    // within a loop over Steps
	metrics  Metrics // of the last evaluation
}

// New prepares to train m, opened with clip.OpenOptions.Copy, on d, on the device of m; a nil c is
// the zero Config. Defaults are open_clip's for a model with random weights, and what fine-tunes
// without forgetting for one with trained weights. m is the Trainer's until it is closed: fields of
// Config lock it, give it low-rank products, change the type of its weights; Close unlocks it. Nothing
// is written before the first step.
func New(m *clip.Model, d Dataset, c *Config) (*Trainer, error) {
	switch {
	case m == nil || m.Visual == nil || m.Text == nil:
		return nil, errors.New("train: there is no model: clip.Open and clip.NewModel make one")
	case d == nil:
		return nil, errors.New("train: the Dataset is nil")
	}
	t, err := prepare(c, disk.Machine{})
	if err != nil {
		return nil, err
	}
	if p := m.Options.Precision; !p.Float32() && m.Device() == torch.CPU {
		return t.opened(t.c.refuse("the model was opened with Precision %v, which keeps a rounded copy of the weights that training would not change; open it with FP32", p))
	}
	return t.opened(t.openNew(context.Background(), m, d))
}

// Resume returns the Trainer that wrote the checkpoint dir, or that trained in the directory dir, at its
// latest checkpoint, exactly where it was: it does the steps that it would have done, bit for bit.
// Fields of c that are zero are as they were; others must be, but for those that say where the run
// computes and what is watched and kept. No checkpoint holds a Loss or a Teacher: c names them again. d
// must have the same samples, and there must be as many processes. Where the run has no checkpoint yet
// the error is an [ErrNoCheckpoint]. A checkpoint outside a run's directory, such as a copy, needs
// Config.Dir.
func Resume(ctx context.Context, dir string, d Dataset, c *Config) (*Trainer, error) {
	switch {
	case ctx == nil:
		return nil, errNoContext
	case dir == "":
		return nil, errors.New("train: the directory to resume is empty: it must be that of a run or of a checkpoint")
	case d == nil:
		return nil, errors.New("train: the Dataset is nil")
	}
	var own Config
	if c != nil {
		own = *c
	}
	if own.Dir == "" {
		own.Dir = dir
		if _, err := os.Stat(filepath.Join(dir, stateDir)); err == nil {
			if own.Dir = runOf(dir); filepath.Base(parentOf(dir)) != "checkpoints" {
				return nil, own.refuse("{resume}: %s is not in the checkpoints of a run; give {Dir}, where the run continues", dir)
			}
		}
	}
	t, err := prepare(&own, disk.Machine{})
	if err != nil {
		return nil, err
	}
	return t.opened(t.openResumed(ctx, dir, d))
}

var errNoContext = errors.New("train: the context is nil: context.Background() is one that never ends")

// prepare is a Trainer without a model. Its directory is locked.
func prepare(c *Config, fsys disk.FS) (t *Trainer, err error) {
	t = &Trainer{stepper: &stepper{}, checkpoints: &checkpoints{disk: fsys}}
	if c != nil {
		t.c = *c
	}
	if err := t.c.Check(); err != nil {
		return nil, err
	}
	if t.group = t.c.Group; t.group == nil {
		if w, err := distributed.PlaceFromEnvironment(); err == nil && w.Size > 1 {
			return nil, t.c.refuse("the environment (RANK, SLURM_PROCID) says that this is process %d of %d: give {Group} what distributed.Init has joined", w.Rank, w.Size)
		}
		if t.group, err = distributed.Init(context.Background(), distributed.World{Size: 1, LocalSize: 1}, distributed.Options{}); err != nil {
			return nil, t.c.errorf("%w", err)
		}
	}
	if t.c.Dir != "" {
		t.dir = filepath.Clean(t.c.Dir)
	}
	t.watch = newWatcher(&t.c, t.group.Rank() == 0)
	if t.first() {
		if err := t.lockDirectory(); err != nil {
			return nil, t.fail(err)
		}
	}
	return t, nil
}

// opened closes what opening has left half-way.
func (t *Trainer) opened(err error) (*Trainer, error) {
	if err != nil {
		return nil, errors.Join(t.fail(err), t.Close())
	}
	return t, nil
}

// fail tells the other processes of an error, and gives the one that the job ends with.
func (t *Trainer) fail(err error) error {
	if err == nil || errors.Is(err, ErrInterrupted) || errors.Is(err, ErrNoCheckpoint) {
		return err
	}
	return t.group.Fail(err)
}

func (t *Trainer) openNew(ctx context.Context, m *clip.Model, d Dataset) error {
	if _, err := os.Stat(filepath.Join(t.dir, "checkpoints")); err == nil && t.dir != "" {
		if from, _, err := t.find(t.dir); from != "" || err != nil { // else a run was killed before it had any
			return t.c.errorf("%s holds a run already; {Resume} continues it, or give another {Dir}", t.dir)
		}
	}
	for key := range m.Parameters() {
		if clip.IsLoRA(key) { // checkpoints would have them in the weights, and nothing to resume them from
			return t.c.refuse("the model has low-rank products already: save it, which adds them to its weights, open what was saved, and give {LoRARank} for new ones")
		}
	}
	if t.c.WiseFT > 0 && !m.Trained() {
		return t.c.refuse("{WiseFT} needs trained weights to begin with: {Trained}")
	}
	if t.c.WiseFT > 0 && t.dir == "" {
		return t.c.refuse("{WiseFT} requires {Dir}, where the first weights are kept")
	}
	return t.open(ctx, m, d, "")
}

func (t *Trainer) openResumed(ctx context.Context, dir string, d Dataset) error {
	from, note, err := t.find(dir)
	if err != nil {
		return t.c.errorf("{resume} %s: %w", dir, err)
	}
	if from == "" { // t.dir
		return &noCheckpoint{t.c.errorf("{resume}: %s holds no checkpoint yet", filepath.Join(t.dir, "checkpoints"))}
	}
	if note != "" {
		t.notes = append(t.notes, note)
	}
	if err := t.checkRoom(from); err != nil {
		return err
	}
	if err := t.readState(from); err != nil {
		return err
	}
	if err := t.c.Check(); err != nil {
		return err
	}
	m := t.c.Model
	if m == nil {
		if m, err = clip.Open(ctx, from, &clip.OpenOptions{Device: t.c.Device, Copy: true}); err != nil {
			return err
		}
	} else if err := m.Load(from); err != nil {
		return t.c.errorf("{Model}: %w", err)
	}
	if err := t.open(ctx, m, d, from); err != nil {
		return err
	}
	return t.identify(ctx)
}

// noCheckpoint is an [ErrNoCheckpoint].
type noCheckpoint struct{ error }

func (e *noCheckpoint) Is(target error) bool { return target == ErrNoCheckpoint }

// reschedule makes the schedule of a run whose length is known.
func (t *Trainer) reschedule() (err error) {
	t.schedule, t.warmup, err = t.scheduleOf(t.total)
	return err
}

// SetLR makes lr the peak of the learning rate's schedule from the next step on. Checkpoints keep
// it.
func (t *Trainer) SetLR(lr float64) error {
	if !(lr > 0) || math.IsInf(lr, 0) {
		return t.c.refuse("{LR} %g: must be a positive number", lr)
	}
	t.state.LR = lr
	return t.reschedule()
}

// begin makes the files that the run writes and opens what it is watched by, once all processes
// have opened what they need. A port in use is reported before any file is written.
func (t *Trainer) begin(ctx context.Context) error {
	switch {
	case ctx == nil:
		return errNoContext
	case t.closed:
		return t.c.errorf("the Trainer is closed")
	case t.begun:
		return nil
	}
	if t.resumed == "" {
		if err := t.identify(ctx); err != nil {
			return err
		}
	}
	if err := t.watch.listen(); err != nil {
		return err
	}
	if err := t.group.Barrier(); err != nil {
		return err
	}
	if t.first() && t.dir != "" {
		if err := t.openDirectory(t.resumed); err != nil {
			return err
		}
		if t.outgrown {
			if err := t.discard(wiseFTDir); err != nil {
				return err
			}
		}
	}
	if err := t.watch.open(t); err != nil {
		return errors.Join(err, t.watch.close())
	}
	t.begun = true
	return nil
}

// Model returns the model that learns, in whose weights the last step is. It is not in training mode
// between steps.
func (t *Trainer) Model() *clip.Model { return t.model }

// Config returns the run's, with its defaults.
func (t *Trainer) Config() Config { return t.c }

// first tells of the process that writes and reports.
func (t *Trainer) first() bool { return t.group.Rank() == 0 }

// batch is how many pairs the loss compares.
func (t *Trainer) batch() int { return t.c.BatchSize * t.c.AccumFreq * t.group.Size() }

// Summary is what a run has come to.
type Summary struct {
	Dir     string
	Steps   int        // optimiser steps, of earlier sittings too
	Total   int        // of the whole run
	Loss    float64    // of the last step
	Metrics Metrics    // of the last evaluation
	Bad     []data.Bad // samples that could not be read
	MFU     float64    // of this Trainer's steps, with their waits for data
}

// Summary tells how far the run is.
func (t *Trainer) Summary() Summary {
	s := Summary{Dir: t.dir, Steps: t.state.Step, Total: t.total, Loss: t.watch.records.last.Loss, Metrics: t.metrics, MFU: t.watch.utilisation.total()}
	for _, source := range t.sources() {
		s.Bad = append(s.Bad, source.loader.Bad()...)
	}
	return s
}

// Close ends the log, gives back files, the directory's lock, the address of metrics, and the memory of
// the optimiser, the averages and the decoded images. What the Config locked learns again. Close writes
// no checkpoint. The model and Config.Group stay open.
func (t *Trainer) Close() error {
	var err error
	if t.closed {
		return nil
	}
	t.closed = true
	if t.begun {
		t.watch.summarise()
		for _, b := range t.Summary().Bad {
			t.watch.logf("could not be read: %s: %s", b.Key, t.c.reason(b.Err))
		}
		err = t.noteBad()
	}
	if t.reducer != nil {
		t.reducer.Close()
	}
	if t.ema != nil {
		err = errors.Join(err, t.restoreWeights())
		t.ema.free()
	}
	if t.optimiser != nil {
		t.optimiser.Free()
	}
	t.graphs.Reset()
	for _, source := range t.sources() {
		source.loader.Forget()
	}
	for _, unlock := range t.unlock {
		unlock()
	}
	err = errors.Join(err, t.watch.close())
	t.unlockDirectory()
	return err
}
