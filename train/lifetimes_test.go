package train_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/train"
)

// TestCloseGivesBack: a closed Trainer that is still in reach, and one that could not be made, hold no
// tensor; the moments alone are twice the model.
func TestCloseGivesBack(t *testing.T) {
	m := fresh(t)
	before := settled.Count(torch.LiveTensors)
	c := small(filepath.Join(t.TempDir(), "run"))
	c.EMADecay, c.Val, c.WiseFT = 0.9, squaresOf(8), 0.5
	collecting := debug.SetGCPercent(-1)
	tr, err := train.New(m, squaresOf(22), c)
	require.NoError(t, err)
	for _, err := range tr.Steps(t.Context()) {
		require.NoError(t, err)
	}
	require.NoError(t, tr.Close())
	assert.Equal(t, before, torch.LiveTensors(), "without the collector, WiseFT's two models too")
	debug.SetGCPercent(collecting)
	assert.Equal(t, 10, tr.Summary().Steps)
	require.NoError(t, tr.Close())

	few := small(c.Dir) // which holds a run
	few.LockImage = true
	_, err = train.New(m, squaresOf(22), few)
	require.Error(t, err)
	few.Dir, few.MaxSteps, few.CooldownEpochs, few.Schedule = "", 1, 2, "const-cooldown" // refused after the locks
	_, err = train.New(m, squaresOf(22), few)
	require.ErrorContains(t, err, "do not fit")
	assert.Equal(t, before, settled.Count(torch.LiveTensors))
	for key, p := range m.Parameters() {
		assert.True(t, p.RequiresGrad(), key)
	}
	runtime.KeepAlive(tr)
}

// TestSecondTrainer: what one Trainer locked learns in the next, as in a model that was opened again.
func TestSecondTrainer(t *testing.T) {
	open := func(dir string) *clip.Model {
		m, err := clip.Open(t.Context(), dir, &clip.OpenOptions{Copy: true})
		require.NoError(t, err)
		return m
	}
	trained := func(m *clip.Model, lock bool) {
		c := small("")
		c.LockImage, c.FreezeBNStats, c.LockText, c.UnlockedLayers = lock, lock, lock, 0
		if lock {
			c.UnlockedLayers = 1
		}
		tr, err := train.New(m, squaresOf(22), c)
		require.NoError(t, err)
		require.NoError(t, tr.Run(t.Context()))
		require.NoError(t, tr.Close())
	}
	one, between := open(lockModel(t, lockResNet, lockText)), t.TempDir()
	trained(one, true)
	require.NoError(t, one.Save(between))
	trained(one, false)
	two := open(between)
	trained(two, false)
	assert.Equal(t, weightsOf(t, two), weightsOf(t, one))
}

// TestLoRATwice refuses a model with products that a checkpoint of the run would not keep apart.
func TestLoRATwice(t *testing.T) {
	m := fresh(t)
	require.NoError(t, m.AddLoRA(clip.LoRAOptions{Rank: 2, Alpha: 2, Text: true}))
	for _, rank := range []int{0, 2} {
		c := small("")
		c.LoRARank = rank
		_, err := train.New(m, squaresOf(22), c)
		assert.ErrorIs(t, err, train.ErrConfig)
		assert.ErrorContains(t, err, "the model has low-rank products already: save it")
	}
}

// mapped is a tower that ends in a mapping which another may share.
type mapped struct {
	Tower clip.Tower `torch:"tower"`
	Map   *nn.Linear `torch:"map"`
}

func (m *mapped) Forward(x *torch.Tensor) *torch.Tensor { return m.Map.Forward(m.Tower.Forward(x)) }

// TestTiedWeights: a weight that both towers have is updated once in a step.
func TestTiedWeights(t *testing.T) {
	torch.ManualSeed(3)
	tied := nn.NewLinear(8, 8)
	m, err := clip.NewModel(&mapped{&meanColour{nn.NewLinear(3, 8)}, tied}, &mapped{&bagOfWords{nn.NewEmbedding(49408, 8)}, tied},
		clip.ModelConfig{EmbedDim: 8, ImageSize: 16, ContextLength: 12})
	require.NoError(t, err)
	before := torch.ToSlice[float32](tied.Weight.Detach())
	c := &train.Config{BatchSize: 4, MaxSteps: 1, LR: 1e-3, Warmup: train.None, WeightDecay: train.None, EMADecay: 0.5, Dir: filepath.Join(t.TempDir(), "run")}
	tr, err := train.New(m, squaresOf(8), c)
	require.NoError(t, err)
	require.NoError(t, tr.Run(t.Context()))
	require.NoError(t, tr.Close())
	most := 0.0
	for i, x := range torch.ToSlice[float32](tied.Weight.Detach()) {
		most = max(most, math.Abs(float64(x-before[i])))
	}
	assert.InDelta(t, 1e-3, most, 1e-5, "the first step of Adam is the learning rate")
	saved := tensors(t, c.Dir, "checkpoints", "latest", clip.WeightsFile)
	assert.Equal(t, saved["text.map.weight"], saved["visual.map.weight"])
	require.NotEmpty(t, saved["visual.map.weight"])
}

// TestChangedFile: a file that is cut while the weights of the model, or of the teacher, are in it ends
// the run. The zeros that take their place would be learned from without a word.
func TestChangedFile(t *testing.T) {
	for name, set := range map[string]func(m *clip.Model, c *train.Config) *clip.Model{
		"model":   func(m *clip.Model, _ *train.Config) *clip.Model { return m },
		"teacher": func(m *clip.Model, c *train.Config) *clip.Model { c.Teacher = m; return fresh(t) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := tinyModel(t)
			m, err := clip.Open(t.Context(), dir, nil) // and no Copy
			require.NoError(t, err)
			c := small("")
			tr, err := train.New(set(m, c), squaresOf(22), c)
			require.NoError(t, err)
			steps := 0
			for _, err = range tr.Steps(t.Context()) {
				if steps++; err == nil {
					require.NoError(t, os.Truncate(filepath.Join(dir, clip.WeightsFile), 4096))
				}
			}
			assert.Equal(t, 2, steps)
			assert.ErrorIs(t, err, checkpoint.ErrChanged)
			require.NoError(t, tr.Close())
		})
	}
}

// TestNoEffect: the log tells of what was asked for and changes nothing.
func TestNoEffect(t *testing.T) {
	for want, set := range map[string]func(c *train.Config){
		"CooldownEndLR 1e-06 has no effect: Schedule is cosine":                      func(c *train.Config) { c.CooldownEndLR = 1e-6 },
		"CooldownPower 2 has no effect: Schedule is const":                           func(c *train.Config) { c.CooldownPower, c.Schedule = 2, "const" },
		"Warmup 2 has no effect: SkipSchedule keeps the rate from the first step on": func(c *train.Config) { c.SkipSchedule = true },
		"Schedule const-cooldown has no effect: SkipSchedule keeps the rate":         func(c *train.Config) { c.SkipSchedule, c.Schedule, c.CooldownEpochs = true, "const-cooldown", 1 },
		"TokenLR 0.001 has no effect: no token embedding learns":                     func(c *train.Config) { c.TokenLR, c.LockText, c.UnlockedLayers = 1e-3, true, 1 },
		"TextLayerDecay 0.5 has no effect: a *train_test.bagOfWords has no groups":   func(c *train.Config) { c.TextLayerDecay = 0.5 },
		"": func(c *train.Config) { c.TokenLR, c.TextLayerDecay = 1e-3, 0.5 },
	} {
		m := fresh(t)
		if strings.HasPrefix(want, "TextLayerDecay") {
			var err error
			m, err = clip.NewModel(&meanColour{nn.NewLinear(3, 8)}, &bagOfWords{nn.NewEmbedding(49408, 8)}, clip.ModelConfig{EmbedDim: 8, ImageSize: 16, ContextLength: 12})
			require.NoError(t, err)
		}
		var log strings.Builder
		c := small("")
		c.Log, c.MaxSteps = &log, 1
		set(c)
		tr, err := train.New(m, squaresOf(22), c)
		require.NoError(t, err)
		require.NoError(t, tr.Run(t.Context()))
		require.NoError(t, tr.Close())
		if want == "" {
			assert.NotContains(t, log.String(), "has no effect")
		} else {
			assert.Contains(t, log.String(), "WARNING: "+want)
		}
	}
}

// ownTokenizer gives so many ids whatever the context length; below 0 it panics.
type ownTokenizer struct {
	tokenizer.Encoder
	ids int
}

func (o ownTokenizer) Tokenize(string, int) ([]int64, bool) {
	if o.ids < 0 {
		panic("not today")
	}
	return make([]int64, o.ids), false
}

// TestWrongTokenizer: a tokenizer of one's own that panics, or gives too few ids, ends the run and not the program.
func TestWrongTokenizer(t *testing.T) {
	for ids, want := range map[int]string{
		-1: `data: the tokenizer panicked at lifetimes_test.go`,
		5:  "train: the tokenizer gave 20 ids for 4 texts; each must have 12, the context length",
	} {
		m, err := clip.NewModel(&meanColour{nn.NewLinear(3, 8)}, &bagOfWords{nn.NewEmbedding(49408, 8)},
			clip.ModelConfig{EmbedDim: 8, ImageSize: 16, ContextLength: 12, Tokenizer: ownTokenizer{tokenizer.New(), ids}})
		require.NoError(t, err)
		tr, err := train.New(m, squaresOf(22), small(""))
		require.NoError(t, err)
		assert.ErrorContains(t, tr.Run(t.Context()), want)
		require.NoError(t, tr.Close())
	}
}

// TestSkippedStatistics: a step that is left out leaves a ResNet's running statistics as they were, too.
func TestSkippedStatistics(t *testing.T) {
	m, err := clip.Open(t.Context(), lockModel(t, lockResNet, lockText), &clip.OpenOptions{Copy: true})
	require.NoError(t, err)
	c, step := small(""), 0
	c.SkipNonFinite = true
	c.Loss = func(m *clip.Model, images, texts *torch.Tensor) *torch.Tensor {
		l := loss.Contrastive(images, texts, images.Borrow(m.LogitScale).Exp())
		if step++; step == 2 {
			return l.MulScalar(math.NaN())
		}
		return l
	}
	tr, err := train.New(m, squaresOf(22), c)
	require.NoError(t, err)
	statistics := func() (all []float64, count float64) {
		for _, bn := range nn.Modules[*nn.BatchNorm2d](m.Visual) {
			all, count = append(all, bn.RunningMean.Sum().Item(), bn.RunningVar.Sum().Item()), bn.NumBatchesTracked.Item()
		}
		return all, count
	}
	var before []float64
	for s, err := range tr.Steps(t.Context()) {
		require.NoError(t, err)
		now, count := statistics()
		if s.Step == 2 {
			assert.Equal(t, before, now)
		}
		assert.EqualValues(t, s.Step-s.Skipped, count)
		before = now
	}
	require.NoError(t, tr.Close())
}

// TestDeletePrevious keeps the newest epoch alone where the run ends between two of its checkpoints, and when it is extended.
func TestDeletePrevious(t *testing.T) {
	c := small(filepath.Join(t.TempDir(), "run"))
	c.Epochs, c.SaveEpochs, c.DeletePrevious = 3, 2, true
	tr, err := train.New(fresh(t), squaresOf(8), c)
	require.NoError(t, err)
	kept := func(tr *train.Trainer) (names []string) {
		require.NoError(t, tr.Run(t.Context()))
		require.NoError(t, tr.Close())
		entries, err := os.ReadDir(filepath.Join(c.Dir, "checkpoints"))
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	assert.Equal(t, []string{"epoch_3", "latest"}, kept(tr))
	tr, err = train.Resume(t.Context(), c.Dir, squaresOf(8), &train.Config{Epochs: 4})
	require.NoError(t, err)
	assert.Equal(t, []string{"epoch_4", "latest"}, kept(tr))
}

// TestPanicInLoss: after a panic that the program recovers, in its Loss or in the loop's body, the run
// continues bit for bit, and no tensor is left.
func TestPanicInLoss(t *testing.T) {
	run := func(inLoss, inBody bool) (losses []float64) {
		c, calls := small(""), 0
		c.AccumFreq = 2
		c.Loss = func(m *clip.Model, images, texts *torch.Tensor) *torch.Tensor {
			if calls++; calls == 2 && inLoss {
				panic("in the loss")
			}
			return loss.Contrastive(images, texts, images.Borrow(m.LogitScale).Exp())
		}
		tr, err := train.New(fresh(t), squaresOf(22), c)
		require.NoError(t, err)
		before := settled.Count(torch.LiveTensors)
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		loop := func() {
			for s, err := range tr.Steps(t.Context()) {
				require.NoError(t, err)
				losses = append(losses, s.Loss)
				if s.Step == 2 && inBody {
					panic("in the body")
				}
			}
		}
		if inLoss || inBody {
			assert.Panics(t, loop)
			assert.Equal(t, before, torch.LiveTensors())
		}
		loop()
		assert.Equal(t, before, torch.LiveTensors())
		require.NoError(t, tr.Close())
		return losses
	}
	want := run(false, false)
	require.Len(t, want, 4)
	assert.Equal(t, want, run(true, false))
	assert.Equal(t, want, run(false, true))
}

// TestBeginAgain: a run whose files could not all be made says so each time, until they can.
func TestBeginAgain(t *testing.T) {
	for _, name := range []string{"results.jsonl", "tensorboard"} {
		t.Run(name, func(t *testing.T) {
			c := small(filepath.Join(t.TempDir(), "run"))
			c.TensorBoard = true
			inTheWay := filepath.Join(c.Dir, name)
			require.NoError(t, os.MkdirAll(c.Dir, 0o755))
			if name == "tensorboard" {
				require.NoError(t, os.WriteFile(inTheWay, nil, 0o644))
			} else {
				require.NoError(t, os.Mkdir(inTheWay, 0o755))
			}
			tr, err := train.New(fresh(t), squaresOf(22), c)
			require.NoError(t, err)
			for range 2 {
				assert.ErrorContains(t, tr.Run(t.Context()), name)
			}
			require.NoError(t, os.Remove(inTheWay))
			require.NoError(t, tr.Run(t.Context()))
			require.NoError(t, tr.Close())
			assert.Len(t, losses(t, c.Dir), 10)
			events, err := os.ReadDir(filepath.Join(c.Dir, "tensorboard"))
			require.NoError(t, err)
			assert.NotEmpty(t, events)
		})
	}
}

// gaps is data of which some captions are empty.
type gaps struct{ squaresOf }

func (g gaps) Key(i int) string { return fmt.Sprint(i) }

func (g gaps) Captions(i int) []string {
	if i%4 == 0 {
		return []string{"a square", " "}
	}
	return []string{"a square"}
}

// TestEmptyCaptions: the log counts captions that say nothing, such as those of a table's short rows.
func TestEmptyCaptions(t *testing.T) {
	var log strings.Builder
	c := small("")
	c.Log, c.MaxSteps = &log, 1
	tr, err := train.New(fresh(t), gaps{8}, c)
	require.NoError(t, err)
	require.NoError(t, tr.Run(t.Context()))
	require.NoError(t, tr.Close())
	assert.Contains(t, log.String(), "the training data: 2 of 10 captions are empty and are learned as such")
}
