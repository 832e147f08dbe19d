package train_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
	"github.com/goclip/goclip/train/data"
)

// setup is what a test trains: a Config, and from where its model and its data are opened.
type setup struct {
	train.Config
	Model, TrainData, ValData, ImageNetVal, DistillModel string
	Opening                                              clip.OpenOptions
	Preprocess                                           func(c *preprocess.Config)
	Reading                                              data.Options
	Logs, Resume                                         string // Resume: "", latest or a checkpoint
	Threads                                              int
}

func (o setup) dir() string { return filepath.Join(o.Logs, "run") }

// reporter hears of a run. Either field may be nil.
type reporter struct {
	Step func(s train.Step, total int)
	Log  io.Writer
}

// made is the Trainer of a setup.
func made(ctx context.Context, o setup) (*train.Trainer, error) {
	c := o.Config
	c.Dir = o.dir()
	torch.SetNumThreads(o.Threads)
	reading := o.Reading
	set, err := data.Open(ctx, o.TrainData, &reading)
	if err != nil {
		return nil, err
	}
	reading.CaptionEach = false
	if o.ValData != "" {
		if c.Val, err = data.Open(ctx, o.ValData, &reading); err != nil {
			return nil, err
		}
	}
	if o.ImageNetVal != "" {
		folders, err := data.OpenFolders(ctx, o.ImageNetVal)
		if err != nil {
			return nil, err
		}
		c.ZeroShot = folders
	}
	if o.DistillModel != "" {
		if c.Teacher, err = clip.Open(ctx, o.DistillModel, nil); err != nil {
			return nil, err
		}
	}
	opening := o.Opening
	opening.Copy = true
	if name := os.Getenv("GOCLIP_TEST_DEVICE"); name != "" { // such as cuda, to try runs on a GPU
		device, err := torch.ParseDevice(name)
		if err != nil {
			return nil, err
		}
		opening.Device = device
	}
	c.Device = opening.Device // where a resumed run opens its model
	if o.Resume != "" {
		from := o.Resume
		if from == "latest" {
			from = c.Dir
		}
		t, err := train.Resume(ctx, from, set, &c)
		if !errors.Is(err, train.ErrNoCheckpoint) {
			return t, err
		}
	}
	opening.Log = func(line string) { c.Notes = append(c.Notes, line) }
	m, err := clip.Open(ctx, o.Model, &opening)
	if err != nil {
		return nil, err
	}
	if o.Preprocess != nil {
		o.Preprocess(&m.Preprocess)
	}
	return train.New(m, set, &c)
}

// trained trains to the end, or to that of ctx.
func trained(ctx context.Context, o setup, r reporter) (sum train.Summary, err error) {
	o.Log = r.Log
	t, err := made(context.WithoutCancel(ctx), o)
	if err != nil {
		return sum, err
	}
	for s, stepErr := range t.Steps(ctx) {
		if err = stepErr; err == nil && r.Step != nil {
			r.Step(s, t.Summary().Total)
		}
	}
	sum = t.Summary()
	return sum, errors.Join(err, t.Close())
}

// jittered is an augmentation that uses all its parts.
var jittered = preprocess.AugConfig{Scale: [2]float64{0.5, 1}, ColorJitter: []float64{0.4, 0.4, 0.4, 0.1}, ColorJitterProb: 0.8, GrayScaleProb: 0.2}

// interrupted trains until a step is done, and is interrupted there.
func interrupted(t *testing.T, o setup, step int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := trained(ctx, o, reporter{Step: func(s train.Step, _ int) {
		if s.Step == step {
			cancel()
		}
	}})
	require.ErrorIs(t, err, train.ErrInterrupted)
}
