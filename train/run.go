package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/torch/optim"
	"github.com/goclip/goclip/train/data"
)

// Summary is what a run came to.
type Summary struct {
	Dir      string             // LOGS/NAME
	Steps    int                // optimiser steps, of earlier sittings too
	Total    int                // of the whole run
	Loss     float64            // of the last step
	Metrics  map[string]float64 // of the last evaluation
	Bad      []data.Bad         // samples that could not be read
	Duration time.Duration
	MFU      float64 // of this sitting's steps, with their waits for data
	Plan     *Plan   // of --dry-run, nil else
}

// Reporter hears how a run goes. Its methods are called from Run's goroutine; any may be nil.
type Reporter struct {
	Step func(s Step, total int) // after each optimiser step
	Log  io.Writer               // lines for people; they go to out.log too

	Notes []string // the log's first lines: how the options came to be

	Fetch pretrained.Options // tells of a published tag's download
}

// ErrOptions marks errors in the options themselves; nothing was written.
var ErrOptions = errors.New("options")

// ErrInterrupted is what Run returns when its context ends: the checkpoint was written.
var ErrInterrupted = errors.New("interrupted")

type run struct {
	o         Options
	dir       string
	group     *distributed.Group // of this process alone, or of all that train together
	reducer   *distributed.Reducer
	device    torch.Device
	precision precision
	model     *clip.Model
	teacher   *clip.Model // nil without --distill-model
	optimiser *optim.AdamW
	ema       *ema        // nil without --ema-decay
	trained   *clip.Model // the run's own, while another stands in its place to be evaluated
	schedule  Schedule
	loader    *data.Loader
	val       *data.Loader
	zeroshot  *zeroshot
	total     int // optimiser steps of the run
	warmup    int // of them
	state     state
	records   *records
	report    Reporter
	log       io.Writer
	notes     []string // of opening the model, before there was a log
	resumed   string   // the checkpoint that the run goes on from; "" at the beginning
	metrics   map[string]float64
	waiting   waiting
	matchIDs  bool // the loss knows equal pictures and captions
	bad       badSamples
	disk      disk.FS
	sitting   *flock.Flock // LOGS/NAME, locked
	saved     time.Time    // latest
	watch     watch
	graphs    map[shape]*capturedStep
}

// Run trains. When ctx ends it finishes the step, writes checkpoints/latest and returns [ErrInterrupted].
func Run(ctx context.Context, o Options, report Reporter) (Summary, error) {
	r := &run{o: o, report: report, log: io.Discard, disk: disk.Machine{}}
	return r.run(ctx)
}

func (r *run) run(ctx context.Context) (sum Summary, err error) {
	began := time.Now()
	if r.o.Overfit > 0 {
		r.o = r.o.overfitting()
	}
	if err := r.o.Check(); err != nil {
		return sum, err
	}
	if r.group, err = r.o.join(ctx); err != nil {
		return sum, err
	}
	defer func() {
		if err != nil && !errors.Is(err, ErrInterrupted) {
			err = r.group.Fail(err)
		} else if closeErr := r.group.Close(); err == nil {
			err = closeErr
		}
	}()
	defer r.unlockDirectory()
	if err := r.open(ctx); err != nil {
		if ctx.Err() != nil {
			err = ErrInterrupted
		}
		return sum, err
	}
	defer r.reducer.Close()
	if (r.o.DryRun || r.o.Overfit > 0) && r.group.Size() > 1 {
		return sum, optionsError{errors.New("train: --dry-run and --overfit are for one process; drop --nproc-per-node")}
	}
	if r.o.DryRun {
		sum.Plan, err = r.plan()
		return sum, err
	}
	if r.o.Overfit > 0 {
		sum, err = r.overfit(ctx)
		sum.Duration = time.Since(began)
		return sum, err
	}
	defer func() {
		if closeErr := errors.Join(r.closeWatch(), r.records.close()); err == nil {
			err = closeErr
		}
	}()
	if err := r.begin(); err != nil {
		return sum, err
	}
	err = r.loop(ctx)
	sum = Summary{Dir: r.dir, Steps: r.state.Step, Total: r.total, Loss: r.records.last.Loss, Metrics: r.metrics, Bad: r.loader.Bad(), Duration: time.Since(began),
		MFU: r.summariseWatch()}
	if r.val != nil {
		sum.Bad = append(sum.Bad, r.val.Bad()...)
	}
	if r.zeroshot != nil {
		sum.Bad = append(sum.Bad, r.zeroshot.loader.Bad()...)
	}
	for _, b := range sum.Bad {
		r.logf("could not be read: %s: %s", b.Key, reason(b.Err))
	}
	if badErr := r.noteBad(); err == nil {
		err = badErr
	}
	return sum, err
}

func (r *run) loop(ctx context.Context) error {
	if r.state.Step == 0 {
		r.logf("%s: %d parameters, %d pictures, %d steps of %d on %s, %s; guessing gives a loss of %.3f; a matrix product reaches %.1f GFLOP/s", r.o.Model,
			r.model.NumParameters(), r.loader.Len(), r.total, r.batch(), r.device, r.o.Precision, r.chance(r.batch()), r.watch.utilisation.peak/1e9)
		if r.o.LockImage || r.o.LockText || r.o.LoRARank > 0 {
			r.logf("%d of the towers' parameters learn", towerParameters(r.model))
		}
	} else {
		r.logf("continuing after step %d of %d", r.state.Step, r.total)
	}
	if r.state.Step == 0 {
		if err := r.keepStart(); err != nil {
			return err
		}
		if err := r.finish(ctx, r.evaluate); err != nil {
			return err
		}
	}
	for r.state.Step < r.total || r.state.Closing {
		if !r.state.Closing {
			if err := r.epoch(ctx); err != nil {
				return err
			}
		}
		if err := r.closeEpoch(ctx); err != nil {
			return err
		}
	}
	return r.finish(ctx, r.wiseFT)
}

// closeEpoch evaluates, and writes the checkpoints and the plot. latest comes after epoch_N: a crash between them does
// the epoch again and loses neither.
func (r *run) closeEpoch(ctx context.Context) error {
	if err := r.finish(ctx, r.evaluate); err != nil {
		return err
	}
	if err := r.records.plot(r.chance(r.batch())); err != nil { // a run that has its last checkpoint has all
		return err
	}
	r.state.Closing = false
	if r.due(r.o.SaveFrequency) {
		if err := r.saveEpoch(); err != nil {
			return err
		}
	}
	return r.saveShared(latest)
}

// finish has rank 0 do what one process does for all. Interrupted, all keep where they stand.
func (r *run) finish(ctx context.Context, f func(context.Context) error) error {
	err := r.alone(func() error { return f(ctx) })
	if errors.Is(err, ErrInterrupted) {
		return r.interrupted()
	}
	return err
}

// epoch trains from where the state stands to the end of the epoch, or of the run.
func (r *run) epoch(ctx context.Context) error {
	r.model.SetTraining(true)
	defer r.model.SetTraining(false)
	var micros []*micro
	defer func() {
		for _, m := range micros {
			m.free()
		}
	}()
	began, wait := time.Now(), time.Duration(0)
	// A signal stops all processes after the same step, so data is read on until they have heard of it.
	reading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for m, err := range r.micros(reading) {
		if err != nil {
			return err
		}
		micros, wait = append(micros, m), wait+m.wait
		if len(micros) < r.o.AccumFreq {
			continue
		}
		s, all, err := r.trainStep(micros, began, wait, ctx.Err() != nil)
		if err != nil {
			return err
		}
		r.measureStep(s, micros)
		for _, m := range micros {
			m.free()
		}
		micros, began, wait = micros[:0], time.Now(), 0
		r.state.Step++
		r.state.Batch += r.o.AccumFreq
		if err := r.averageWeights(); err != nil {
			return err
		}
		if err := r.stepDone(s); err != nil {
			return err
		}
		if r.state.Step >= r.total || r.state.Batch+r.o.AccumFreq > r.loader.Batches() {
			break
		}
		if all.stop {
			return r.interrupted()
		}
		if all.save {
			if err := r.saveShared(latest); err != nil {
				return err
			}
		}
	}
	r.state.Epoch, r.state.Batch, r.state.Closing = r.state.Epoch+1, 0, true
	return nil
}

// batch is how many pictures the loss compares.
func (r *run) batch() int { return r.o.BatchSize * r.o.AccumFreq * r.group.Size() }

// stepDone tells everybody of a step.
func (r *run) stepDone(s *Step) error {
	if err := r.records.step(*s); err != nil {
		return err
	}
	if r.report.Step != nil && r.first() {
		r.report.Step(*s, r.total)
	}
	if err := r.watchStep(*s); err != nil {
		return err
	}
	return r.watchData(*s)
}

func (r *run) interrupted() error {
	if err := r.saveShared(latest); err != nil {
		return err
	}
	r.logf("interrupted after step %d of %d; --resume latest --name %s continues", r.state.Step, r.total, filepath.Base(r.dir))
	return ErrInterrupted
}

func (r *run) logf(format string, args ...any) {
	fmt.Fprintf(r.log, "%s %s\n", time.Now().Format("2006-01-02 15:04:05"), fmt.Sprintf(format, args...))
}
