package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/torch/optim"
	"github.com/goclip/goclip/train/data"
)

// Trainer trains a model on a Dataset. Its methods belong to one goroutine. [Trainer.Close] ends it.
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
	val      *data.Loader
	zeroshot *zeroshot
	ema      *ema     // nil without EMADecay
	resumed  string   // the checkpoint that the run goes on from; "" at the beginning
	notes    []string // of opening, before there was a log
	begun    bool     // files are there
	ended    bool     // nothing is left to do
	closed   bool
	metrics  Metrics // of the last evaluation
}

// New prepares to train m, opened with clip.OpenOptions.Copy, on d, on the device of m; a nil c is the zero Config.
// Defaults are open_clip's for a model with random weights, and what fine-tunes without forgetting for one with trained
// weights. m is the Trainer's from then on: fields of Config lock it, give it low-rank products, change the type of its
// weights. Nothing is written before the first step.
func New(m *clip.Model, d Dataset, c *Config) (*Trainer, error) {
	t, err := prepare(c, disk.Machine{})
	if err != nil {
		return nil, err
	}
	return t.opened(t.openNew(context.Background(), m, d))
}

// Resume is the Trainer that wrote the checkpoint dir, or that trained in the directory dir, at its latest checkpoint,
// exactly where it was: it does the steps that it would have done, bit for bit. Fields of c that are zero are as they were;
// others must be, but for those that say where the run computes and what is watched and kept. d must have the same samples.
// Where the run has no checkpoint yet the error is an [ErrNoCheckpoint].
func Resume(ctx context.Context, dir string, d Dataset, c *Config) (*Trainer, error) {
	var own Config
	if c != nil {
		own = *c
	}
	if own.Dir == "" {
		own.Dir = dir
		if _, err := os.Stat(filepath.Join(dir, stateDir)); err == nil {
			own.Dir = filepath.Dir(filepath.Dir(filepath.Clean(dir)))
		}
	}
	t, err := prepare(&own, disk.Machine{})
	if err != nil {
		return nil, err
	}
	return t.opened(t.openResumed(ctx, dir, d))
}

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
		return t.c.errorf("%s holds a run already; {Resume} continues it, or give another {Dir}", t.dir)
	}
	if t.c.WiseFT > 0 && m.Weights == "" {
		return t.c.refuse("{WiseFT} wants trained weights to begin with: {Trained}")
	}
	if t.c.WiseFT > 0 && t.dir == "" {
		return t.c.refuse("{WiseFT} wants {Dir}, where the first weights are kept")
	}
	return t.open(ctx, m, d, "")
}

func (t *Trainer) openResumed(ctx context.Context, dir string, d Dataset) error {
	from, note, err := t.find(dir)
	if err != nil {
		return t.c.errorf("{resume} %s: %w", dir, err)
	}
	if from == "" {
		return &noCheckpoint{t.c.errorf("{resume}: %s holds no checkpoint yet", filepath.Join(t.dir, "checkpoints"))}
	}
	if note != "" {
		t.notes = append(t.notes, note)
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

// open makes all that a run needs; from is the checkpoint that it goes on from.
func (t *Trainer) open(ctx context.Context, m *clip.Model, d Dataset, from string) (err error) {
	var note string
	if t.c, note = t.c.filled(m.Weights != "" && from == ""); note != "" {
		t.notes = append(t.notes, note)
	}
	c := &t.c
	t.watch.c = c
	t.model, t.device, t.data, t.resumed = m, m.Device(), d, from
	if c.PatchDropout != 0 {
		if err := m.SetPatchDropout(meant(c.PatchDropout)); err != nil {
			return c.errorf("{PatchDropout}: %w", err)
		}
	}
	if err := t.lockTowers(); err != nil {
		return err
	}
	t.precision = choosePrecision(c.Precision, t.device)
	if err := t.precision.convert(m); err != nil {
		return err
	}
	if t.precision.scales && t.state.Scaler == nil {
		t.state.Scaler = newScaler()
	}
	t.scaler, t.clipNorm, t.lossOf, t.capturing = t.state.Scaler, c.GradClipNorm, c.Loss, c.CUDAGraphs
	if (c.AccumFreq > 1 || t.group.Size() > 1) && m.Config.Vision.IsResNet() && !(c.LockImage && c.FreezeBNStats) {
		return c.refuse("the statistics of a ResNet would be those of a process's or of a micro-batch's pictures, and its gradient not the whole batch's; train it in one process without {AccumFreq}, or lock it with {LockImage} {FreezeBNStats}, or take a ViT")
	}
	if err := t.useTeacher(); err != nil {
		return err
	}
	if err := t.adapt(); err != nil {
		return err
	}
	if err := t.openData(ctx); err != nil {
		return err
	}
	if t.capturing {
		if why := t.checkGraphs(c); why != "" {
			return c.refuse("{CUDAGraphs}: " + why)
		}
	}
	if t.total = t.loader.Batches() / c.AccumFreq * c.Epochs; t.total == 0 {
		return c.errorf("{AccumFreq} %d: the data makes %d batches of %d, too few for one step", c.AccumFreq, t.loader.Batches(), c.BatchSize)
	}
	if c.MaxSteps > 0 {
		t.total = min(t.total, c.MaxSteps)
	}
	if err := t.reschedule(); err != nil {
		return err
	}
	groups := decayByLayer(m, parameterGroups(m, meant(c.WeightDecay)), c.ImageLayerDecay, c.TextLayerDecay)
	t.optimiser = optim.NewAdamW(scaleTokens(groups, c.tokenLR(t.total)/c.LR),
		optim.AdamWOptions{LR: c.LR, Beta1: meant(c.Beta1), Beta2: meant(c.Beta2), Eps: c.Eps})
	torch.ManualSeed(c.Seed + uint64(t.group.Rank()))
	if from != "" {
		if err := t.restore(from); err != nil {
			return err
		}
	}
	if err := t.openTuned(from); err != nil {
		return err
	}
	if err := t.equalise(); err != nil {
		return err
	}
	t.rng = torch.RNGState(t.device)
	t.reducer, err = distributed.NewReducer(t.group, t.optimiser.Parameters(), distributed.BucketBytes)
	return err
}

// reschedule makes the schedule of a run whose length is known.
func (t *Trainer) reschedule() (err error) {
	c := t.c
	if t.state.LR != 0 {
		c.LR = t.state.LR
	}
	t.warmup = c.warmupSteps(t.total)
	t.schedule, err = c.scheduled(t.total, t.loader.Batches()/c.AccumFreq)
	return err
}

// SetLR makes lr the peak of the learning rate's schedule from the next step on. Checkpoints keep it.
func (t *Trainer) SetLR(lr float64) error {
	if !(lr > 0) || math.IsInf(lr, 0) {
		return t.c.refuse("{LR} %g: a positive number is wanted", lr)
	}
	t.state.LR = lr
	return t.reschedule()
}

// lockTowers keeps the towers as they are that the Config names, before the optimiser is made.
func (t *Trainer) lockTowers() error {
	if t.c.LockImage {
		if err := t.model.LockImage(t.c.UnlockedGroups, t.c.FreezeBNStats); err != nil {
			return err
		}
	}
	if t.c.LockText {
		if err := t.model.LockText(t.c.UnlockedLayers, t.c.FreezeLayerNorm); err != nil {
			return err
		}
	}
	if towerParameters(t.model) == 0 {
		return t.c.refuse("{LockImage} and {LockText} leave only the temperature to train; drop one of them, or give {UnlockedGroups} or {UnlockedLayers}")
	}
	return nil
}

// adapt changes how the model learns, after the locks and before the optimiser is made.
func (t *Trainer) adapt() error {
	if t.c.LoRARank > 0 {
		o := clip.LoRAOptions{Rank: t.c.LoRARank, Alpha: t.c.LoRAAlpha, Seed: t.c.Seed, Image: !t.c.LockImage, Text: !t.c.LockText}
		if o.Alpha == 0 {
			o.Alpha = float64(o.Rank)
		}
		if err := t.model.AddLoRA(o); err != nil {
			return t.c.errorf("{LoRARank}: %w", err)
		}
	}
	if t.c.GradCheckpointing {
		if err := t.model.SetGradCheckpointing(true); err != nil {
			return t.c.errorf("{GradCheckpointing}: %w", err)
		}
	}
	return nil
}

// useTeacher takes a teacher that sees the run's images and tokens as they are, so it must want them so.
func (t *Trainer) useTeacher() error {
	teacher := t.c.Teacher
	if teacher == nil {
		return nil
	}
	mine, theirs := t.model.Preprocess, teacher.Preprocess
	fault := ""
	switch {
	case t.model.LogitBias != nil:
		return t.c.refuse("{Teacher} is for the softmax loss, and the model has a bias of the logits, as SigLIP's has")
	case mine.Size != theirs.Size:
		fault = fmt.Sprintf("pictures of %v pixels, not %v", theirs.Size, mine.Size)
	case mine.Mean != theirs.Mean || mine.Std != theirs.Std:
		fault = "pictures of another mean and standard deviation"
	case t.model.ContextLength() != teacher.ContextLength():
		fault = fmt.Sprintf("texts of %d tokens, not %d", teacher.ContextLength(), t.model.ContextLength())
	case t.model.Config.Text.VocabSize != teacher.Config.Text.VocabSize:
		fault = fmt.Sprintf("a vocabulary of %d tokens, not %d", teacher.Config.Text.VocabSize, t.model.Config.Text.VocabSize)
	}
	if fault != "" {
		return t.c.refuse("{Teacher} %s wants %s, as the trained model has; take another, or open the model with the sizes, mean and deviation of the teacher", teacher.Name, fault)
	}
	t.teacher = teacher
	return t.precision.convert(teacher)
}

// cacheSize bounds the decoded images that are kept for later epochs, in bytes.
const cacheSize = 1 << 30

func (t *Trainer) openData(ctx context.Context) error {
	c := &t.c
	o, err := t.loading(ctx)
	if err != nil {
		return err
	}
	t.matchIDs = c.IDTargets == "on" || c.IDTargets == "auto" && c.Loss == nil && hasClasses(t.data)
	augment, err := preprocess.NewTrainTransform(t.model.Preprocess, c.Augment)
	if err != nil {
		return c.errorf("{Augment}: %w", err)
	}
	o.Shuffle, o.DropLast, o.Transform, o.DrawCaption = !c.NoShuffle, true, augment.Apply, true
	o.Rank, o.World = t.group.Rank(), t.group.Size()
	o.NumSamples, o.Resampled, o.UpsamplingFactors = c.EpochSamples, c.Resample, c.UpsamplingFactors
	sources := 1
	if s, ok := t.data.(interface{ Parts() []int }); ok {
		sources = len(s.Parts())
	}
	if n := len(o.UpsamplingFactors); n > 0 && n != sources {
		return c.errorf("{UpsamplingFactors} has %d numbers and {Data} %d sources", n, sources)
	}
	if t.loader, err = data.NewLoader(t.data, &o); err != nil {
		return c.errorf("{Data}: %w", c.named(err))
	}
	t.noteData()
	if c.Val != nil {
		if t.val, err = t.evaluating(ctx, c.Val); err != nil {
			return c.errorf("{Val}: %w", c.named(err))
		}
	}
	if c.ZeroShot != nil {
		t.zeroshot, err = t.openZeroshot(ctx)
	}
	return err
}

// loading is what all loaders have in common.
func (t *Trainer) loading(ctx context.Context) (data.LoaderOptions, error) {
	tokenizer, err := t.model.Tokenizer(ctx)
	if err != nil {
		return data.LoaderOptions{}, err
	}
	size, length := t.model.Preprocess.Size, t.model.ContextLength()
	return data.LoaderOptions{
		BatchSize: t.c.BatchSize, Workers: t.c.Workers, Seed: t.c.Seed, Pixels: 3 * size[0] * size[1], CacheSize: cacheSize,
		Limits: preprocess.Limits{MaxPixels: t.c.MaxImagePixels},
		Tokenize: func(text string) []int64 {
			ids, _ := tokenizer.Tokenize(text, length)
			return ids
		},
	}, nil
}

// evaluating makes batches of a data set to evaluate on, in its order.
func (t *Trainer) evaluating(ctx context.Context, set Dataset) (*data.Loader, error) {
	o, err := t.loading(ctx)
	if err != nil {
		return nil, err
	}
	o.SkipBad = true // an image in another's place would be judged twice
	if o.Transform, err = t.plain(); err != nil {
		return nil, err
	}
	return data.NewLoader(set, &o)
}

// plain is the model's transform without augmentation, for a loader.
func (t *Trainer) plain() (func([]float32, *preprocess.Image, *rand.Rand) error, error) {
	transform, err := t.model.Transform()
	if err != nil {
		return nil, err
	}
	return func(dst []float32, img *preprocess.Image, _ *rand.Rand) error { return transform.Apply(dst, img) }, nil
}

// hasClasses tells of samples that are known by their classes: images of one class have captions in common.
func hasClasses(set Dataset) bool {
	if s, ok := set.(interface{ Classes() bool }); ok {
		return s.Classes()
	}
	_, ok := set.(Classes)
	return ok
}

// named is an error of the data that names the field of Config which mends it.
func (c *Config) named(err error) error {
	var option *data.OptionError
	if errors.As(err, &option) && option.Option == "BatchSize" {
		return &data.OptionError{Option: c.name("BatchSize"), Err: option.Err, Remedy: option.Remedy}
	}
	return err
}

func (t *Trainer) noteData() {
	note := func(format string, args ...any) {
		t.notes = append(t.notes, fmt.Sprintf(t.c.words("{Data}: "+format), args...))
	}
	if set, ok := t.data.(data.Index); ok {
		captions := 0
		for i := range set.Len() {
			captions += len(set.Captions(i))
		}
		if captions > set.Len() {
			note("%d pictures have %d captions; each epoch draws one of a picture's", set.Len(), captions)
		}
	}
	if set, ok := t.data.(interface{ LeftOut() int }); ok && set.LeftOut() > 0 {
		note("%d samples are left out, which lack a picture or a caption", set.LeftOut())
	}
}

// identify notes what the data is and, in a resumed run, refuses other data than it began with.
func (t *Trainer) identify(ctx context.Context) error {
	fingerprint, err := data.Fingerprint(ctx, t.data)
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if err != nil {
		return t.c.errorf("{Data}: %w", err)
	}
	print := strconv.FormatUint(fingerprint, 16)
	if t.state.Data != "" && t.state.Data != print {
		return t.c.errorf("{resume}: the pictures or captions of {Data} are not those that the run began with; a resumed run continues it exactly")
	}
	t.state.Data = print
	return nil
}

// begin makes the files that the run writes and opens what it is watched by, once all processes have opened what they need. A
// port in use is told before a file is there.
func (t *Trainer) begin(ctx context.Context) error {
	if t.begun {
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
	}
	t.begun = true
	return t.watch.open(t)
}

// Model is the model that learns, in whose weights the last step is. It is not in training mode between steps.
func (t *Trainer) Model() *clip.Model { return t.model }

// Config is the run's, with its defaults.
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

// Close ends the log, gives back files, the directory's lock and the address of metrics. It writes no checkpoint. The
// model and Config.Group stay open.
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
	}
	err = errors.Join(err, t.watch.close())
	t.unlockDirectory()
	return err
}

var _ io.Closer = (*Trainer)(nil)
