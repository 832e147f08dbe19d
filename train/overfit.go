package train

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train/data"
)

// overfitSteps is how many steps Overfit has without Config.MaxSteps.
const overfitSteps = 300

// firstSamples is the beginning of a data set.
type firstSamples struct {
	Dataset
	n int
}

func (f firstSamples) Len() int { return f.n }

// Overfit is a self-test: it trains m on the first pairs of d alone, over and over without
// augmentation, until they are known by heart, which is when the mean loss of a pass is a tenth of
// the way from what equal captions and images allow at best to chance level. It fails if MaxSteps (300)
// do not suffice. Nothing is written.
func Overfit(ctx context.Context, m *clip.Model, d Dataset, pairs int, c *Config) (sum Summary, err error) {
	var own Config
	if c != nil {
		own = *c
	}
	switch {
	case ctx == nil:
		return sum, errNoContext
	case d == nil:
		return sum, errors.New("train: the Dataset is nil")
	}
	if pairs < 2 {
		return sum, own.refuse("{Overfit} %d: must be at least 2 pairs", pairs)
	}
	if d.Len() < pairs {
		return sum, own.errorf("{Overfit} %d: the data has %d pairs", pairs, d.Len())
	}
	fill(&own.MaxSteps, overfitSteps)
	fill(&own.BatchSize, 64)
	own.Epochs, own.BatchSize, own.AccumFreq, own.NoShuffle = max(own.MaxSteps, 1), min(own.BatchSize, pairs), 1, true
	own.Schedule, own.CooldownEpochs, own.Warmup = "const", 0, float64(min(10, own.MaxSteps-1))
	if own.Warmup == 0 {
		own.Warmup = None
	}
	own.PatchDropout, own.EpochSamples, own.Resample, own.UpsamplingFactors = None, 0, false, nil
	own.Val, own.ZeroShot, own.WiseFT, own.Dir, own.TensorBoard, own.MetricsAddr = nil, nil, 0, "", false, ""
	t, err := New(m, firstSamples{d, pairs}, &own)
	if err != nil {
		return sum, err
	}
	if t.group.Size() > 1 {
		return sum, errors.Join(own.refuse("{Overfit} is for one process"), t.Close())
	}
	sum, err = t.overfit(ctx, pairs)
	if err != nil && ctx.Err() != nil {
		err = ErrInterrupted
	}
	return sum, errors.Join(err, t.Close())
}

func (t *Trainer) overfit(ctx context.Context, pairs int) (sum Summary, err error) {
	for _, note := range slices.Concat(t.c.Notes, t.notes) {
		t.watch.logf("%s", note)
	}
	plain, err := t.loading(ctx)
	if err != nil {
		return sum, err
	}
	if plain.Transform, err = t.plain(); err != nil {
		return sum, err
	}
	plain.DropLast = true
	loader, err := data.NewLoader(t.data, &plain)
	if err != nil {
		return sum, err
	}
	chance, first := t.chance(t.c.BatchSize), 0.0
	sum.Total = t.total
	for t.state.Step < t.total {
		loss, least, batches := 0.0, 0.0, 0
		for b, err := range loader.Epoch(ctx, 0, 0) {
			if ctx.Err() != nil {
				return sum, ErrInterrupted
			}
			if err != nil {
				return sum, err
			}
			m, err := t.micro(b)
			if err != nil {
				return sum, err
			}
			least += minLoss(b)
			s, _, err := t.trainStep([]*micro{m}, time.Now(), m.wait, false)
			m.free()
			if err != nil {
				return sum, err
			}
			t.state.Step++
			loss, batches = loss+s.Loss, batches+1
			if sum.Steps, sum.Loss = t.state.Step, s.Loss; s.Step == 1 {
				first = s.Loss
			}
			if s.Step%t.c.LogEvery == 0 || s.Step == 1 || s.Step == t.total || s.Step%10 == 0 {
				t.watch.logf("step %d/%d loss %.4f (chance level %.4f) scale %.2f norm %.2f", s.Step, t.total, s.Loss, chance, s.LogitScale, s.GradNorm)
			}
			if t.state.Step >= t.total {
				break
			}
		}
		if ctx.Err() != nil {
			return sum, ErrInterrupted
		}
		loss, least = loss/float64(batches), least/float64(batches)
		bound := least + 0.1*math.Max(chance-least, 0)
		switch {
		case chance-least < 0.01*chance:
			return sum, t.c.errorf("{Overfit} %d: all captions or all images of these pairs are equal, so there is nothing to learn", pairs)
		case loss < bound:
			t.watch.logf(t.c.words("{Overfit} %d: the loss fell from %.3f to %.3f in %d steps, where chance level is %.3f: model, data and {LR} can learn. Nothing was written"),
				pairs, first, loss, t.state.Step, chance)
			return sum, nil
		case t.state.Step >= t.total:
			return sum, t.c.errorf("{Overfit} %d: after %d steps the loss is %.3f and not below %.3f, where chance level is %.3f: something keeps these pairs from being learned; "+
				"try another {LR} (it was %g) or more {MaxSteps}, see that nothing is locked, and look at the images and captions", pairs, t.total, loss, bound, chance, t.c.LR)
		}
	}
	return sum, nil
}

// minLoss is what the loss of a batch cannot fall below: a caption, or an image, that stands in
// it k times is known with ln k at best.
func minLoss(b *data.Batch) float64 {
	captions, pictures := make([]string, b.N), make([]uint64, b.N)
	seed := maphash.MakeSeed()
	for i := range b.N {
		captions[i] = captionKey(rowOf(b.Tokens, i, b.N))
		var h maphash.Hash
		h.SetSeed(seed)
		for _, value := range rowOf(b.Pixels, i, b.N) {
			maphash.WriteComparable(&h, value)
		}
		pictures[i] = h.Sum64()
	}
	captionCount, imageCount := counts(captions), counts(pictures)
	sum := 0.0
	for i := range b.N {
		sum += math.Log(float64(max(captionCount[captions[i]], imageCount[pictures[i]])))
	}
	return sum / float64(b.N)
}

// rowOf is the i-th of n equal parts.
func rowOf[T any](all []T, i, n int) []T { return all[i*len(all)/n : (i+1)*len(all)/n] }

func counts[T comparable](list []T) map[T]int {
	count := map[T]int{}
	for _, x := range list {
		count[x]++
	}
	return count
}
