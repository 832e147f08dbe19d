package train_test

import (
	"os"
	"path/filepath"
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

	t.Chdir(filepath.Join(dir, "checkpoints"))
	tr, err = train.Resume(t.Context(), "latest", squaresOf(22), nil)
	require.NoError(t, err)
	require.NoError(t, tr.Run(t.Context()))
	require.NoError(t, tr.Close())
	require.Len(t, losses(t, dir), 10)
	assert.Equal(t, last, losses(t, dir)[9])
	left, err = os.ReadDir(".")
	require.NoError(t, err)
	assert.Len(t, left, 1, "latest alone")
}
