package train_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
)

// half is a run in dir that was left and kept after three steps of ten.
func half(t *testing.T, dir string, change func(c *train.Config)) {
	t.Helper()
	c := small(dir)
	change(c)
	tr, err := train.New(fresh(t), squaresOf(22), c)
	require.NoError(t, err)
	for s, err := range tr.Steps(t.Context()) {
		require.NoError(t, err)
		if s.Step == 3 {
			break
		}
	}
	require.NoError(t, tr.Save(t.Context()))
	require.NoError(t, tr.Close())
}

// TestResumeLearnsTheSame refuses to continue a run with another loss, which would train on without a word.
func TestResumeLearnsTheSame(t *testing.T) {
	doubled := func(m *clip.Model, images, texts *torch.Tensor) *torch.Tensor {
		return loss.Contrastive(images, texts, images.Borrow(m.LogitScale).Exp()).MulScalar(2)
	}
	for _, with := range []struct {
		field string
		set   func(c *train.Config)
	}{
		{"Loss", func(c *train.Config) { c.Loss = doubled }},
		{"Teacher", func(c *train.Config) { c.Teacher = fresh(t) }},
	} {
		t.Run(with.field, func(t *testing.T) {
			dir, plain := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "run")
			half(t, dir, with.set)
			half(t, plain, func(*train.Config) {})
			_, err := train.Resume(t.Context(), dir, squaresOf(22), nil)
			assert.ErrorIs(t, err, train.ErrConfig)
			assert.EqualError(t, err, "train: Resume: the run was started with a "+with.field+", which no checkpoint holds; give it again")
			c := &train.Config{}
			with.set(c)
			_, err = train.Resume(t.Context(), plain, squaresOf(22), c)
			assert.EqualError(t, err, "train: Resume: the run was started without a "+with.field+"; drop it")
			tr, err := train.Resume(t.Context(), dir, squaresOf(22), c)
			require.NoError(t, err)
			require.NoError(t, tr.Run(t.Context()))
			assert.Equal(t, 10, tr.Summary().Steps)
			require.NoError(t, tr.Close())
		})
	}
}

// TestResumeByCheckpoint continues in the directory of the run that a checkpoint belongs to, also by a
// relative name, and in no other: a copy of a checkpoint has none.
func TestResumeByCheckpoint(t *testing.T) {
	top := t.TempDir()
	dir, copied := filepath.Join(top, "run"), filepath.Join(top, "home", "kept", "step3")
	half(t, dir, func(*train.Config) {})
	require.NoError(t, os.MkdirAll(filepath.Dir(copied), 0o755))
	require.NoError(t, os.CopyFS(copied, os.DirFS(filepath.Join(dir, "checkpoints", "latest"))))
	_, err := train.Resume(t.Context(), copied, squaresOf(22), nil)
	assert.ErrorIs(t, err, train.ErrConfig)
	assert.EqualError(t, err, "train: Resume: "+copied+" is not in the checkpoints of a run; give Dir, where the run continues")
	elsewhere := filepath.Join(top, "elsewhere")
	tr, err := train.Resume(t.Context(), copied, squaresOf(22), &train.Config{Dir: elsewhere})
	require.NoError(t, err)
	require.NoError(t, tr.Run(t.Context()))
	last := tr.Summary().Loss
	require.NoError(t, tr.Close())
	left, err := os.ReadDir(filepath.Join(top, "home"))
	require.NoError(t, err)
	assert.Len(t, left, 1)

	for _, name := range []string{".mine.tmp", ".mine.dir.tmp/x", ".metrics.jsonl.123.tmp"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	t.Chdir(filepath.Join(dir, "checkpoints"))
	tr, err = train.Resume(t.Context(), "latest", squaresOf(22), nil)
	require.NoError(t, err)
	require.NoError(t, tr.Run(t.Context()))
	require.NoError(t, tr.Close())
	assert.FileExists(t, filepath.Join(dir, ".mine.tmp"), "the run wrote none of that name")
	assert.FileExists(t, filepath.Join(dir, ".mine.dir.tmp/x"))
	assert.NoFileExists(t, filepath.Join(dir, ".metrics.jsonl.123.tmp"))
	require.Len(t, losses(t, dir), 10)
	assert.Equal(t, last, losses(t, dir)[9])
	left, err = os.ReadDir(".")
	require.NoError(t, err)
	assert.Len(t, left, 1, "latest alone")
}

// failing is data whose samples from the call after calls on cannot be read.
type failing struct {
	squaresOf
	calls *atomic.Int64
}

func (f failing) Sample(ctx context.Context, i int) (train.Sample, error) {
	if f.calls.Add(-1) < 0 {
		return train.Sample{}, errors.New("the disk is gone")
	}
	return f.squaresOf.Sample(ctx, i)
}

// TestNothingIsLostToData: a run whose data fails, to train or to evaluate on, keeps the steps before it.
func TestNothingIsLostToData(t *testing.T) {
	const samples = 44 // 11 steps an epoch
	whole := small(filepath.Join(t.TempDir(), "whole"))
	whole.Val = squaresOf(samples)
	tr, err := train.New(fresh(t), squaresOf(samples), whole)
	require.NoError(t, err)
	require.NoError(t, tr.Run(t.Context()))
	require.NoError(t, tr.Close())
	want, weights := losses(t, whole.Dir), weightsOf(t, tr.Model())

	broken := func(calls int64) train.Dataset {
		left := new(atomic.Int64)
		left.Store(calls)
		return failing{squaresOf(samples), left}
	}
	for name, c := range map[string]struct {
		training, val train.Dataset
		steps         int
	}{
		"evaluation": {squaresOf(samples), broken(0), 11},
		"training":   {broken(samples), squaresOf(samples), 0}, // a Fingerprint asks for each once
		"later":      {broken(samples + 20), squaresOf(samples), 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			own := small(dir)
			own.Val = c.val
			tr, err := train.New(fresh(t), c.training, own)
			require.NoError(t, err)
			err = tr.Run(t.Context())
			require.ErrorContains(t, err, "the disk is gone")
			require.NoError(t, tr.Close())
			done := tr.Summary().Steps
			assert.GreaterOrEqual(t, done, c.steps)
			tr, err = train.Resume(t.Context(), dir, squaresOf(samples), &train.Config{Val: squaresOf(samples)})
			if done == 0 {
				require.ErrorIs(t, err, train.ErrNoCheckpoint)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, done, tr.Summary().Steps)
			require.NoError(t, tr.Run(t.Context()))
			require.NoError(t, tr.Close())
			assert.Equal(t, want, losses(t, dir))
			assert.Equal(t, weights, weightsOf(t, tr.Model()))
			text, err := os.ReadFile(filepath.Join(dir, "results.jsonl"))
			require.NoError(t, err)
			assert.Equal(t, 2, bytes.Count(text, []byte("\n")), "an evaluation of each epoch")
		})
	}
}
