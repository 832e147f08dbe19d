package train_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
)

// stuck is a data set whose sample 7 waits for the end of its context.
type stuck struct{ train.Dataset }

func (s stuck) Sample(ctx context.Context, i int) (train.Sample, error) {
	if i == 7 {
		<-ctx.Done()
		return train.Sample{}, ctx.Err()
	}
	return s.Dataset.Sample(ctx, i)
}

// long has more samples than a [data.Fingerprint] asks for, so that the loop is what meets sample 7.
type long struct{ train.Dataset }

func (long) Len() int { return 1000 }

func (l long) Sample(ctx context.Context, i int) (train.Sample, error) {
	if i != 7 {
		i %= 7
	}
	return l.Dataset.Sample(ctx, i)
}

// TestNothingToTrain refuses what is nil or senseless before anything is made.
func TestNothingToTrain(t *testing.T) {
	set := squaresOf(8)
	_, err := train.New(nil, set, nil)
	assert.EqualError(t, err, "train: there is no model: clip.Open and clip.NewModel make one")
	_, err = train.New(new(clip.Model), set, nil)
	assert.EqualError(t, err, "train: there is no model: clip.Open and clip.NewModel make one")
	_, err = train.New(fresh(t), nil, nil)
	assert.EqualError(t, err, "train: the Dataset is nil")
	_, err = train.Resume(t.Context(), t.TempDir(), nil, nil)
	assert.EqualError(t, err, "train: the Dataset is nil")
	_, err = train.Resume(t.Context(), "", set, nil)
	assert.ErrorContains(t, err, "the directory to resume is empty")
	c := small("")
	c.Epochs = math.MaxInt
	_, err = train.New(fresh(t), set, c)
	assert.ErrorIs(t, err, train.ErrConfig)
	assert.ErrorContains(t, err, "Epochs 9223372036854775807: of 2 steps each")
	rounded, err := clip.Open(t.Context(), tinyModel(t), &clip.OpenOptions{Precision: clip.Int8})
	require.NoError(t, err)
	_, err = train.New(rounded, set, small(""))
	assert.ErrorIs(t, err, train.ErrConfig)
	assert.ErrorContains(t, err, "opened with Precision int8, which keeps a rounded copy of the weights that training would not change; open it with FP32")
	tr, err := train.New(fresh(t), set, small(""))
	require.NoError(t, err)
	var none context.Context
	const noContext = "train: the context is nil: context.Background() is one that never ends"
	assert.EqualError(t, tr.Run(none), noContext)
	_, err = tr.Evaluate(none, set)
	assert.EqualError(t, err, noContext)
	_, err = train.Resume(none, t.TempDir(), set, nil)
	assert.EqualError(t, err, noContext)
	_, err = tr.Evaluate(t.Context(), nil)
	assert.EqualError(t, err, "train: evaluation: data: the Dataset is nil")
	require.NoError(t, tr.Close())
}

// TestLoopInLoop: a loop within a loop, and one whose Trainer is closed in it, end with a sentence and leave the other whole.
func TestLoopInLoop(t *testing.T) {
	tr, err := train.New(fresh(t), squaresOf(22), small(""))
	require.NoError(t, err)
	steps := 0
	for _, err := range tr.Steps(t.Context()) {
		require.NoError(t, err)
		if steps++; steps < 3 {
			assert.ErrorContains(t, tr.Run(t.Context()), "one Trainer has one loop at a time")
		}
	}
	assert.Equal(t, 10, steps)
	require.NoError(t, tr.Close())

	tr, err = train.New(fresh(t), squaresOf(22), small(""))
	require.NoError(t, err)
	var errs []error
	for _, err := range tr.Steps(t.Context()) {
		errs = append(errs, err)
		require.NoError(t, tr.Close())
	}
	require.Len(t, errs, 2)
	assert.EqualError(t, errs[1], "train: the Trainer is closed")
}

// TestStuckSample: the end of the context reaches a sample that waits for it, and the run can continue from there.
func TestStuckSample(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tr, err := train.New(fresh(t), stuck{long{squaresOf(8)}}, small(t.TempDir()))
	require.NoError(t, err)
	defer tr.Close()
	time.AfterFunc(100*time.Millisecond, cancel)
	assert.ErrorIs(t, tr.Run(ctx), train.ErrInterrupted)
}

func TestWrongLosses(t *testing.T) {
	for want, l := range map[string]train.Loss{
		"torch: Config.Loss(): it returned nil; it must return a scalar":            func(*clip.Model, *torch.Tensor, *torch.Tensor) *torch.Tensor { return nil },
		"torch: Config.Loss(): it returned a tensor of the shape [4 4]; it must":    func(_ *clip.Model, a, b *torch.Tensor) *torch.Tensor { return a.MatMul(b.T()) },
		"torch: Config.Loss(): no gradient leads from what it returned back to the": func(_ *clip.Model, a, _ *torch.Tensor) *torch.Tensor { return a.Detach().Mean() },
	} {
		c := small("")
		c.Loss = l
		tr, err := train.New(fresh(t), squaresOf(8), c)
		require.NoError(t, err)
		before := settled.Count(torch.LiveTensors)
		assert.ErrorContains(t, tr.Run(t.Context()), "train: step 1: "+want)
		assert.Equal(t, before, torch.LiveTensors())
		require.NoError(t, tr.Close())
	}
}
