package train_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/train"
)

// squaresOf is a Dataset of one's own: n images that are drawn when they are asked for.
type squaresOf int

func (n squaresOf) Len() int { return int(n) }

func (n squaresOf) Sample(_ context.Context, i int) (train.Sample, error) {
	img := image.NewRGBA(image.Rect(0, 0, 34, 38))
	for p := range 34 * 38 {
		img.SetRGBA(p%34, p/34, color.RGBA{R: uint8(53 * i), G: uint8(91*i + p), B: uint8(i * p), A: 255})
	}
	return train.Sample{Image: preprocess.FromImage(img), Texts: []string{fmt.Sprintf("square number %d", i)}, ID: fmt.Sprint(i)}, nil
}

// fresh is a small random model with patch dropout, the same each time.
func fresh(t *testing.T) *clip.Model {
	t.Helper()
	m, err := clip.Open(t.Context(), tinyModel(t), &clip.OpenOptions{Copy: true})
	require.NoError(t, err)
	return m
}

// weightsOf are the bytes of a model's weights.
func weightsOf(t *testing.T, m *clip.Model) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, m.Save(dir))
	return tensors(t, dir, clip.WeightsFile)
}

func small(dir string) *train.Config {
	return &train.Config{BatchSize: 4, Epochs: 2, LR: 1e-3, Warmup: 2, Workers: 2, Augment: jittered, Dir: dir, SaveEpochs: train.None, LogEvery: 1}
}

// TestOwnDataset fine-tunes on data in memory, evaluates, saves, and continues, bit for bit, after a
// loop that was left in the middle of an epoch: in the same Trainer, and in one that Resume makes
// from nothing but the directory.
func TestOwnDataset(t *testing.T) {
	const samples, steps = 22, 10 // 5 batches an epoch
	set := squaresOf(samples)
	whole, err := train.New(fresh(t), set, small(filepath.Join(t.TempDir(), "run")))
	require.NoError(t, err)
	var want []float64
	for s, err := range whole.Steps(t.Context()) {
		require.NoError(t, err)
		want = append(want, s.Loss)
	}
	require.Len(t, want, steps)
	want2 := weightsOf(t, whole.Model())
	metrics, err := whole.Evaluate(t.Context(), set)
	require.NoError(t, err)
	assert.Equal(t, float64(samples), metrics["num_samples"])
	assert.Positive(t, metrics["text_to_image_R@10"])
	require.NoError(t, whole.Close())
	assert.ErrorContains(t, whole.Save(t.Context()), "the Trainer is closed")

	dir := filepath.Join(t.TempDir(), "run")
	parts, err := train.New(fresh(t), set, small(dir))
	require.NoError(t, err)
	var got []float64
	leave := func(tr *train.Trainer, at int) {
		for s, err := range tr.Steps(t.Context()) {
			require.NoError(t, err)
			got = append(got, s.Loss)
			if s.Step == at {
				break
			}
		}
	}
	leave(parts, 2)
	again, err := parts.Evaluate(t.Context(), set) // between steps, and noise that is not the run's
	require.NoError(t, err)
	assert.NotEqual(t, metrics["clip_val_loss"], again["clip_val_loss"])
	torch.ManualSeed(99)
	leave(parts, 3)
	require.NoError(t, parts.Save(t.Context()))
	require.NoError(t, parts.Close())
	parts, err = train.Resume(t.Context(), dir, set, nil)
	require.NoError(t, err)
	assert.Equal(t, 3, parts.Summary().Steps)
	leave(parts, 5) // the end of an epoch
	require.NoError(t, parts.Save(t.Context()))
	require.NoError(t, parts.Close())
	parts, err = train.Resume(t.Context(), filepath.Join(dir, "checkpoints", "latest"), set, &train.Config{Workers: 1})
	require.NoError(t, err)
	leave(parts, 0)
	assert.Equal(t, want, got)
	assert.Equal(t, want2, weightsOf(t, parts.Model()))
	require.NoError(t, parts.Close())

	_, err = train.Resume(t.Context(), dir, squaresOf(samples+1), nil)
	assert.ErrorContains(t, err, "are not those that the run began with")
	_, err = train.Resume(t.Context(), dir, set, &train.Config{BatchSize: 8})
	assert.ErrorContains(t, err, "the run was started with BatchSize 4, not 8")
	_, err = train.Resume(t.Context(), t.TempDir(), set, nil)
	assert.ErrorIs(t, err, train.ErrNoCheckpoint)
	_, err = train.New(fresh(t), set, &train.Config{BatchSize: -1, Epochs: -2})
	assert.ErrorIs(t, err, train.ErrConfig)
	assert.ErrorContains(t, err, "train: BatchSize -1: must be at least 2: the loss compares the images of a batch; Epochs -2: must be at least 1")
}

// TestNothingOnDisk trains without a directory, in an empty one, and leaves it empty.
func TestNothingOnDisk(t *testing.T) {
	t.Chdir(t.TempDir())
	c := small("")
	c.Val, c.EMADecay, c.DeletePrevious, c.SaveEpochs = squaresOf(8), 0.9, true, 1
	tr, err := train.New(fresh(t), squaresOf(12), c)
	require.NoError(t, err)
	require.NoError(t, tr.Run(t.Context()))
	assert.ErrorContains(t, tr.Save(t.Context()), "Dir is empty")
	assert.Equal(t, 6, tr.Summary().Steps)
	assert.Positive(t, tr.Summary().Metrics["ema_clip_val_loss"])
	require.NoError(t, tr.Close())
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, e := range entries {
		assert.NotContains(t, e.Name(), "checkpoints")
		t.Errorf("%s was written", e.Name())
	}
}

// TestSetLR changes the learning rate between steps; a resumed run keeps it.
func TestSetLR(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	c := small(dir)
	c.Schedule, c.Warmup = "const", train.None
	tr, err := train.New(fresh(t), squaresOf(12), c)
	require.NoError(t, err)
	var rates []float64
	for s, err := range tr.Steps(t.Context()) {
		require.NoError(t, err)
		rates = append(rates, s.LR)
		if s.Step == 2 {
			require.NoError(t, tr.SetLR(1e-4))
			assert.ErrorIs(t, tr.SetLR(-1), train.ErrConfig)
		}
		if s.Step == 4 {
			break
		}
	}
	require.NoError(t, tr.Save(t.Context()))
	require.NoError(t, tr.Close())
	tr, err = train.Resume(t.Context(), dir, squaresOf(12), nil)
	require.NoError(t, err)
	for s, err := range tr.Steps(t.Context()) {
		require.NoError(t, err)
		rates = append(rates, s.LR)
	}
	require.NoError(t, tr.Close())
	assert.InDeltaSlice(t, []float64{1e-3, 1e-3, 1e-4, 1e-4, 1e-4, 1e-4}, rates, 1e-12)
}

// TestStepsEnd ends the context in a step: at most one more is done, the checkpoint is written, and
// Resume continues from it.
func TestStepsEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	tr, err := train.New(fresh(t), squaresOf(22), small(dir))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last := 0
	for s, stepErr := range tr.Steps(ctx) {
		if err = stepErr; err == nil {
			last = s.Step
		}
		if last == 2 {
			cancel()
		}
	}
	assert.ErrorIs(t, err, train.ErrInterrupted)
	assert.LessOrEqual(t, last, 3)
	require.NoError(t, tr.Close())
	tr, err = train.Resume(t.Context(), dir, squaresOf(22), nil)
	require.NoError(t, err)
	assert.Equal(t, last, tr.Summary().Steps)
	require.NoError(t, tr.Close())
}

// contrastive is [loss.Contrastive] as one would write it.
func contrastive(m *clip.Model, images, texts *torch.Tensor) *torch.Tensor {
	return loss.Contrastive(images, texts, images.Borrow(m.LogitScale).Exp())
}

// lossRun trains in micro-batches on a group, and gives the losses and a sum over the weights.
func lossRun(t *testing.T, of train.Loss, batch, accum int, group *distributed.Group) (losses []float64, sums map[string]float64) {
	t.Helper()
	c := small("")
	c.BatchSize, c.AccumFreq, c.Loss, c.Group, c.PatchDropout, c.GradClipNorm, c.LR = batch, accum, of, group, train.None, 1, 1e-4
	m := fresh(t)
	before := settled.Count(torch.LiveTensors)
	tr, err := train.New(m, squaresOf(26), c)
	require.NoError(t, err)
	for s, err := range tr.Steps(t.Context()) {
		require.NoError(t, err)
		losses = append(losses, s.Loss)
	}
	require.NoError(t, tr.Close())
	assert.Equal(t, before, settled.Count(torch.LiveTensors), "a Trainer leaves nothing")
	sums = map[string]float64{}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.Parameters() {
			sums[key] = s.Alias(p).To(torch.CPU, torch.Float64).Sum().Item()
		}
	}))
	return losses, sums
}

// TestOwnLoss holds steps with a Loss of one's own that is loss.Contrastive against ours, whole and
// in micro-batches.
func TestOwnLoss(t *testing.T) {
	for _, c := range [][2]int{{8, 1}, {4, 2}} {
		want, wantSums := lossRun(t, nil, c[0], c[1], nil)
		got, sums := lossRun(t, contrastive, c[0], c[1], nil)
		require.NotEmpty(t, want)
		assert.InEpsilonSlice(t, want, got, 1e-6)
		for key, sum := range wantSums {
			assert.InDelta(t, sum, sums[key], 1e-3, key)
		}
	}
	_, err := train.New(fresh(t), squaresOf(8), &train.Config{BatchSize: 4, Loss: contrastive, IDTargets: "on"})
	assert.ErrorIs(t, err, train.ErrConfig)
}

// TestOwnLossWorker is no test: TestOwnLossOfProcesses starts it.
func TestOwnLossWorker(t *testing.T) {
	out := os.Getenv("GOCLIP_LOSS_OUT")
	if out == "" {
		t.Skip("TestOwnLossOfProcesses starts this")
	}
	torch.SetNumThreads(1)
	w, err := distributed.FromEnvironment()
	require.NoError(t, err)
	group, err := distributed.Init(t.Context(), w, distributed.Options{})
	require.NoError(t, err)
	var all [2][]float64
	for i, of := range []train.Loss{nil, contrastive} {
		all[i], _ = lossRun(t, of, 2, 2, group)
	}
	if group.Rank() == 0 {
		text, err := json.Marshal(all)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(out, text, 0o644))
	}
	require.NoError(t, group.Close())
}

// TestOwnLossOfProcesses has two processes train in micro-batches, by our loss and by one's own: as
// one process does.
func TestOwnLossOfProcesses(t *testing.T) {
	store, err := distributed.Serve(0)
	require.NoError(t, err)
	defer store.Close()
	out := filepath.Join(t.TempDir(), "losses")
	var started []*exec.Cmd
	for rank := range 2 {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestOwnLossWorker$")
		c.Env = append(os.Environ(), "GOCLIP_LOSS_OUT="+out, fmt.Sprintf("RANK=%d", rank), fmt.Sprintf("LOCAL_RANK=%d", rank), "WORLD_SIZE=2",
			"LOCAL_WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1", fmt.Sprintf("MASTER_PORT=%d", store.Port), "TORCHELASTIC_USE_AGENT_STORE=True")
		var said bytes.Buffer
		c.Stdout, c.Stderr = &said, &said
		require.NoError(t, c.Start())
		defer func() {
			if t.Failed() {
				t.Log(said.String())
			}
		}()
		started = append(started, c)
	}
	for rank, c := range started {
		require.NoError(t, c.Wait(), "rank %d", rank)
	}
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	var all [2][]float64
	require.NoError(t, json.Unmarshal(text, &all))
	want, _ := lossRun(t, nil, 8, 1, nil)
	require.Len(t, all[0], len(want))
	assert.InEpsilonSlice(t, all[0], all[1], 1e-6)
	assert.InDeltaSlice(t, want, all[1], 1e-4)
}

// meanColour and bagOfWords are towers of a program: they have Forward and nothing else.
type meanColour struct {
	Proj *nn.Linear `torch:"proj"`
}

func (c *meanColour) Forward(x *torch.Tensor) *torch.Tensor { // (B, 3, H, W) -> (B, E)
	return c.Proj.Forward(x.Flatten(2, 3).MeanDim(2))
}

type bagOfWords struct {
	Words *nn.Embedding `torch:"words"`
}

func (b *bagOfWords) Forward(tokens *torch.Tensor) *torch.Tensor { // (B, T) -> (B, E)
	return b.Words.Forward(tokens).MeanDim(1)
}

// TestOwnTowers trains towers of a program's own, and resumes into a model of the same towers.
func TestOwnTowers(t *testing.T) {
	model := func() *clip.Model {
		torch.ManualSeed(3)
		m, err := clip.NewModel(&meanColour{nn.NewLinear(3, 8)}, &bagOfWords{nn.NewEmbedding(49408, 8)}, clip.ModelConfig{Name: "colours", EmbedDim: 8, ImageSize: 16, ContextLength: 12})
		require.NoError(t, err)
		return m
	}
	dir := filepath.Join(t.TempDir(), "run")
	var want, got []float64
	for _, at := range []int{0, 3} {
		c := small(filepath.Join(t.TempDir(), "run"))
		if at > 0 {
			c.Dir = dir
		}
		c.Val = squaresOf(8)
		tr, err := train.New(model(), squaresOf(22), c)
		require.NoError(t, err)
		p, err := tr.Plan()
		require.NoError(t, err)
		assert.Contains(t, p.String(), "a tower of one's own")
		for s, err := range tr.Steps(t.Context()) {
			require.NoError(t, err)
			if at == 0 {
				want = append(want, s.Loss)
			} else if got = append(got, s.Loss); s.Step == at {
				break
			}
		}
		if at > 0 {
			require.NoError(t, tr.Save(t.Context()))
		}
		require.NoError(t, tr.Close())
	}
	require.Len(t, want, 10)
	_, err := train.Resume(t.Context(), dir, squaresOf(22), nil)
	assert.ErrorIs(t, err, clip.ErrUnsupported)
	m := model()
	tr, err := train.Resume(t.Context(), dir, squaresOf(22), &train.Config{Model: m})
	require.NoError(t, err)
	for s, err := range tr.Steps(t.Context()) {
		require.NoError(t, err)
		got = append(got, s.Loss)
	}
	require.NoError(t, tr.Close())
	assert.Equal(t, want, got)
}
