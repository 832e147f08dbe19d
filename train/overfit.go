package train

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"time"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// overfitSteps is how many steps --overfit has without --max-steps.
const overfitSteps = 300

// overfitting is what --overfit makes of a run's options: a few pairs over and over, each time the same, and nothing
// beside.
func (o Options) overfitting() Options {
	if o.MaxSteps <= 0 {
		o.MaxSteps = overfitSteps
	}
	o.Epochs, o.BatchSize, o.AccumFreq = o.MaxSteps, min(o.BatchSize, o.Overfit), 1
	o.LRScheduler, o.Warmup = "const", Warmup(min(10, o.MaxSteps-1))
	o.PatchDropout, o.ValData, o.ImageNetVal = 0, "", ""
	return o
}

// firstSamples is the beginning of a data set.
type firstSamples struct {
	data.Dataset
	n int
}

func (f firstSamples) Len() int { return f.n }

// overfitLoader makes batches of the pairs that --overfit takes, without augmentation and in their order.
func (r *run) overfitLoader(set data.Dataset, o data.LoaderOptions) (*data.Loader, error) {
	if set.Len() < r.o.Overfit {
		return nil, fmt.Errorf("train: --overfit %d: the data has %d pairs", r.o.Overfit, set.Len())
	}
	plain, err := r.model.Transform()
	if err != nil {
		return nil, err
	}
	o.Shuffle = false
	o.Transform = func(dst []float32, img *preprocess.Image, _ *rand.Rand) error { return plain.Apply(dst, img) }
	return data.NewLoader(firstSamples{set, r.o.Overfit}, &o)
}

// overfit trains until the mean loss of a pass over the pairs is known to be learned by heart: a tenth of the way from
// what equal captions and pictures allow at best to guessing. It fails if the steps do not suffice.
func (r *run) overfit(ctx context.Context) (sum Summary, err error) {
	if r.report.Log != nil {
		r.log = r.report.Log
	}
	for _, note := range r.notes {
		r.logf("%s", note)
	}
	r.model.SetTraining(true)
	defer r.model.SetTraining(false)
	sum = Summary{Total: r.total}
	chance, first := r.chance(r.o.BatchSize), 0.0
	for r.state.Step < r.total {
		loss, least, batches := 0.0, 0.0, 0
		for b, err := range r.loader.Epoch(ctx, 0, 0) {
			if ctx.Err() != nil {
				return sum, ErrInterrupted
			}
			if err != nil {
				return sum, err
			}
			m, err := r.micro(b)
			if err != nil {
				return sum, err
			}
			least += leastLoss(b)
			s, _, err := r.trainStep([]*micro{m}, time.Now(), m.wait, false)
			m.free()
			if err != nil {
				return sum, err
			}
			r.state.Step++
			loss, batches = loss+s.Loss, batches+1
			if sum.Steps, sum.Loss = r.state.Step, s.Loss; s.Step == 1 {
				first = s.Loss
			}
			if r.report.Step != nil {
				r.report.Step(*s, r.total)
			}
			if r.logs(*s) || s.Step%10 == 0 {
				r.logf("step %d/%d loss %.4f (guessing %.4f) scale %.2f norm %.2f", s.Step, r.total, s.Loss, chance, s.LogitScale, s.GradNorm)
			}
			if r.state.Step >= r.total {
				break
			}
		}
		loss, least = loss/float64(batches), least/float64(batches)
		bound := least + 0.1*math.Max(chance-least, 0)
		switch {
		case chance-least < 0.01*chance:
			return sum, fmt.Errorf("train: --overfit %d: the captions or the pictures of these pairs are all the same, so there is nothing to learn", r.o.Overfit)
		case loss < bound:
			r.logf("--overfit %d: the loss fell from %.3f to %.3f in %d steps, where guessing is %.3f: model, data and --lr can learn. Nothing was written",
				r.o.Overfit, first, loss, r.state.Step, chance)
			return sum, nil
		case r.state.Step >= r.total:
			return sum, fmt.Errorf("train: --overfit %d: after %d steps the loss is %.3f and not below %.3f, where guessing is %.3f: something keeps these pairs from being learned; "+
				"try another --lr (it was %g) or more --max-steps, see that nothing is locked, and look at the pictures and captions", r.o.Overfit, r.total, loss, bound, chance, r.o.LR)
		}
	}
	return sum, nil
}

// leastLoss is what the loss of a batch cannot fall below: a caption, or a picture, that stands in it k times is known
// with ln k at best.
func leastLoss(b *data.Batch) float64 {
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
	captionCount, pictureCount := counts(captions), counts(pictures)
	sum := 0.0
	for i := range b.N {
		sum += math.Log(float64(max(captionCount[captions[i]], pictureCount[pictures[i]])))
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
