package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"time"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
)

// Step is a line of metrics.jsonl.
type Step struct {
	Step             int     `json:"step"` // counts from 1
	Epoch            int     `json:"epoch"`
	Samples          int     `json:"samples"`
	Loss             float64 `json:"loss"`
	LogitScale       float64 `json:"logit_scale"` // exp of the parameter
	LR               float64 `json:"lr"`
	GradNorm         float64 `json:"grad_norm"`
	DataTime         float64 `json:"data_time"` // seconds waited for the batch
	StepTime         float64 `json:"step_time"` // seconds, the wait included
	SamplesPerSecond float64 `json:"samples_per_second"`
	Skipped          int     `json:"skipped,omitempty"` // steps so far whose gradient was not finite

	MFU               float64 `json:"mfu"`                // fraction of the device's measured speed, see utilisation
	DuplicateCaptions float64 `json:"duplicate_captions"` // fraction of the batch's captions that occur earlier in it
	Accuracy          float64 `json:"accuracy"`           // fraction of 256 images of the step, or all, whose text is nearest among the step's
}

// MarshalJSON writes null for a number that JSON has none for: the loss of a step that was skipped.
func (s Step) MarshalJSON() ([]byte, error) {
	type plain Step
	out := struct {
		plain
		Loss     *float64 `json:"loss"`
		GradNorm *float64 `json:"grad_norm"`
	}{plain: plain(s)}
	if finite(s.Loss) {
		out.Loss = &s.Loss
	}
	if finite(s.GradNorm) {
		out.GradNorm = &s.GradNorm
	}
	return json.Marshal(out)
}

// errLeft is the end of a loop over Steps by its caller.
var errLeft = errors.New("left")

// Steps trains, and yields each optimiser step when it is done, with the model as the step left it.
// Between two steps it evaluates and writes checkpoints when these are due. It ends with the run,
// with an error, or when its caller leaves the loop; another loop over Steps continues then, as if it
// had not been left. Of several processes all leave after the same step.
//
// When ctx ends, one more step may be done; then checkpoints/latest is written and the last error
// is [ErrInterrupted].
func (t *Trainer) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if err := t.fail(t.loop(ctx, yield)); err != nil && !errors.Is(err, errLeft) {
			yield(Step{}, err)
		}
	}
}

// Run trains to the end.
func (t *Trainer) Run(ctx context.Context) error {
	for _, err := range t.Steps(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Trainer) loop(ctx context.Context, yield func(Step, error) bool) (err error) {
	if t.ended {
		return nil
	}
	if t.looping {
		return t.c.errorf("a loop over Steps is running already; one Trainer has one loop at a time")
	}
	t.looping = true
	defer func() { t.looping = false }()
	fresh := !t.begun
	if err := t.begin(ctx); err != nil {
		return err
	}
	if err := torch.SetRNGState(t.device, t.rng); err != nil {
		return t.c.errorf("%w", err)
	}
	t.rng = nil
	defer func() { t.rng = torch.RNGState(t.device) }()
	if fresh {
		t.sayBegin()
	}
	if t.state.Step == 0 {
		if err := t.keepStart(); err != nil {
			return err
		}
		if err := t.finish(ctx, t.evaluate); err != nil {
			return err
		}
	}
	for t.state.Step < t.total || t.state.Closing {
		if !t.state.Closing {
			if err := t.epoch(ctx, yield); err != nil {
				return err
			}
		}
		if err := t.closeEpoch(ctx); err != nil {
			return err
		}
	}
	if err := t.finish(ctx, t.wiseFT); err != nil {
		return err
	}
	t.ended = true
	return nil
}

func (t *Trainer) sayBegin() {
	say := t.watch.logf
	say("computing on %s in %s, where a matrix product reaches %.1f GFLOP/s", t.device, t.precision, t.watch.utilisation.peak/1e9)
	if t.state.Step > 0 {
		say("continuing after step %d of %d", t.state.Step, t.total)
		return
	}
	say("model: %s, %d parameters", t.model.Name, t.model.NumParameters())
	if t.c.LockImage || t.c.LockText || t.c.LoRARank > 0 {
		say("%d of the towers' parameters learn", towerParameters(t.model))
	}
	say("data: %d images, %d steps an epoch", t.loader.Len(), t.loader.Batches()/t.c.AccumFreq)
	chance := ""
	if t.watch.chance > 0 {
		chance = fmt.Sprintf("; chance level is a loss of %.3f", t.watch.chance)
	}
	say("beginning %d steps of %d pairs, %d of warm-up%s", t.total, t.batch(), t.warmup, chance)
}

// closeEpoch evaluates, and writes the checkpoints and the plot. latest comes after epoch_N: a
// crash between them does the epoch again and loses neither.
//
// An evaluation that fails, of data that is gone for example, ends the run, but not before latest has
// the epoch; a resumed run begins with the evaluation.
func (t *Trainer) closeEpoch(ctx context.Context) (err error) {
	if t.state.RNG, err = t.group.Exchange(torch.RNGState(t.device)); err != nil {
		return err
	}
	err = t.finish(ctx, func(ctx context.Context) error {
		err := t.evaluate(ctx)
		if err == nil {
			if err = t.watch.plot(); t.mayWait(err) { // a run that has its last checkpoint has all
				err = nil
			}
		}
		if err == nil || errors.Is(err, ErrInterrupted) {
			return err
		}
		return t.keepBefore(err)
	})
	if err != nil {
		return err
	}
	t.state.Closing = false
	var fault error
	if t.due(t.c.SaveEpochs) {
		if fault = t.saveEpoch(); fault != nil && !full(fault) {
			return fault
		}
		t.state.Closing = fault != nil // a resumed run writes it when there is room
	}
	return errors.Join(fault, t.keep(latest))
}

// finish has process 0 do what one process does for all. Interrupted, all keep where they stand.
func (t *Trainer) finish(ctx context.Context, f func(context.Context) error) error {
	err := t.alone(func() error { return f(ctx) })
	if errors.Is(err, ErrInterrupted) {
		return t.interrupted()
	}
	return err
}

// epoch trains from where the state stands to the end of the epoch, or of the run.
func (t *Trainer) epoch(ctx context.Context, yield func(Step, error) bool) error {
	var micros []*micro
	defer func() {
		for _, m := range micros {
			m.free()
		}
	}()
	began, wait := time.Now(), time.Duration(0)
	// A signal stops all processes after the same step, so data is read on until they have heard of
	// it. One process alone need not wait for data that may never come.
	reading := context.WithoutCancel(ctx)
	if t.group.Size() == 1 {
		reading = ctx
	}
	reading, cancel := context.WithCancel(reading)
	defer cancel()
	for m, err := range t.micros(reading) {
		if err != nil && ctx.Err() != nil && reading.Err() != nil {
			return t.interrupted()
		}
		if err != nil && t.group.Size() == 1 { // others would wait for this one in a step
			t.state.RNG = [][]byte{torch.RNGState(t.device)}
			err = t.keepBefore(err)
		}
		if err != nil {
			return err
		}
		micros, wait = append(micros, m), wait+m.wait
		if len(micros) < t.c.AccumFreq {
			continue
		}
		s, all, err := t.trainStep(micros, began, wait, ctx.Err() != nil)
		if err != nil {
			return err
		}
		t.watch.measure(s, micros)
		for _, m := range micros {
			m.free()
		}
		micros, wait = micros[:0], 0
		t.state.Step++
		t.state.Batch += t.c.AccumFreq
		if err := t.averageWeights(); err != nil {
			return err
		}
		if err := t.watch.step(*s, t.loader); err != nil {
			return err
		}
		if err := t.watchData(*s); err != nil {
			return err
		}
		if t.state.Step >= t.total || t.state.Batch+t.c.AccumFreq > t.loader.Batches() {
			t.state.Rest = 0
			if t.state.Batch+t.c.AccumFreq <= t.loader.Batches() {
				t.state.Rest = t.state.Batch
			}
			t.state.Epoch, t.state.Batch, t.state.Closing = t.state.Epoch+1, 0, true
		}
		if !yield(*s, nil) {
			return errLeft
		}
		switch {
		case t.closed:
			return t.c.errorf("the Trainer is closed")
		case t.state.Closing:
			return nil
		case all.stop:
			return t.interrupted()
		case all.save:
			if err := t.keep(latest); err != nil {
				return err
			}
		}
		began = time.Now()
	}
	return nil
}

// micros are the epoch's batches from the one that the state stands at on. For a GPU the next one
// is on its way there while a step is done.
func (t *Trainer) micros(ctx context.Context) iter.Seq2[*micro, error] {
	batches := t.loader.Epoch(ctx, t.state.Epoch, t.state.Batch)
	made := func(yield func(*micro, error) bool) {
		for b, err := range batches {
			var m *micro
			if err == nil {
				m, err = t.micro(b)
			}
			if !yield(m, err) {
				return
			}
		}
	}
	if t.device.Type == "cuda" {
		return ahead(made)
	}
	return made
}

// trainStep is one optimiser step on micro-batches that began when the first was asked for; wait of
// it went by without data. It returns what all processes know of the step, of which this one was
// told to stop or not.
func (t *Trainer) trainStep(micros []*micro, began time.Time, wait time.Duration, told bool) (s *Step, all common, err error) {
	s = &Step{Step: t.state.Step + 1, Epoch: t.state.Epoch, LR: t.schedule(t.state.Step)}
	t.optimiser.SetLR(s.LR)
	rng, done := torch.RNGState(t.device), false
	defer func() { // a step that fails, or whose Loss panics, is done again with the same noise
		if !done {
			err = errors.Join(err, torch.SetRNGState(t.device, rng))
		}
	}()
	defer t.optimiser.ZeroGrad()
	t.model.SetTraining(true)
	defer t.model.SetTraining(false)
	own := common{stop: told, save: t.betweenDue()}
	for _, m := range micros {
		own.n += m.n
	}
	var before buffers
	defer func() { before.free() }()
	if t.c.SkipNonFinite {
		if before, err = t.keepBuffers(); err != nil {
			return nil, all, err
		}
	}
	out, err := t.step(micros, own)
	if err == nil {
		err = t.checkFiles()
	}
	if err != nil {
		var other *distributed.RankError
		if !errors.As(err, &other) {
			err = fmt.Errorf("train: step %d: %w", s.Step, err)
		}
		return nil, all, err
	}
	all = out.common
	s.Loss, s.GradNorm, s.LogitScale, s.Accuracy = out.loss, out.norm, out.logitScale, out.accuracy
	if out.good() {
		t.state.SkippedInARow = 0
	} else if err := t.skip(s, micros); err != nil {
		return nil, all, err
	} else if !finite(s.Loss) { // else the statistics are of numbers, and torch.amp keeps them too
		if err := before.restore(); err != nil {
			return nil, all, err
		}
	}
	t.state.Samples += all.n
	s.Samples, s.Skipped = t.state.Samples, t.state.Skipped
	s.DataTime = wait.Seconds()
	s.StepTime = time.Since(began).Seconds()
	s.SamplesPerSecond = float64(all.n) / s.StepTime
	done = true
	return s, all, nil
}

// skip leaves out a step whose loss or gradient is not finite, as Config.SkipNonFinite and
// float16's scaler want it, or says why the run ends.
func (t *Trainer) skip(s *Step, micros []*micro) error {
	t.state.Skipped++
	t.state.SkippedInARow++
	overflow := t.scaler != nil && finite(s.Loss)
	if overflow && t.scaler.Factor >= 1 {
		return nil // as it is meant to find its factor
	}
	what := fmt.Sprintf("the loss is %g", s.Loss)
	if finite(s.Loss) {
		what = fmt.Sprintf("the gradient's norm is %g", s.GradNorm)
	}
	why := t.notFinite(micros)
	if t.c.SkipNonFinite && t.state.SkippedInARow < maxSkipped {
		t.watch.logf("step %d is skipped: %s: %s", s.Step, what, why)
		return nil
	}
	return t.c.errorf("step %d: %s: %s; lower {LR}, or set {GradClipNorm} 1", s.Step, what, why)
}

// keepBefore writes checkpoints/latest before the run ends with a fault that is not of its steps.
func (t *Trainer) keepBefore(fault error) error {
	if t.dir == "" || t.state.Step == 0 || t.safe == t.state.Step && !t.state.Closing {
		return fault
	}
	err := t.save(latest)
	if err == nil {
		t.watch.logf("%s has step %d; "+t.c.words("{Resume} continues"), filepath.Join(t.dir, "checkpoints", latest), t.state.Step)
	}
	return errors.Join(fault, err)
}

// interrupted keeps where all stand.
func (t *Trainer) interrupted() error {
	if err := t.saveShared(latest); err != nil {
		return err
	}
	if t.dir != "" {
		t.watch.logf("interrupted after step %d of %d; "+t.c.words("{Resume} continues"), t.state.Step, t.total)
	}
	return ErrInterrupted
}
