package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
)

// Labelled is features (N, E) in row-major order with a class each.
type Labelled struct {
	Features []float32
	Classes  []int
}

// ProbeOptions are the constants of a linear probe. The zero value takes CLIP_benchmark's
// (benchmark/metrics/linear_probe.py).
type ProbeOptions struct {
	LR          float64 // at the beginning; 0 stands for 0.1
	Epochs      int     // 0 stands for 10
	BatchSize   int     // 0 stands for 64
	WeightDecay float64 // negative: the one that does best on a fifth of the training rows, held out, of 10^-6 to 10^2
	Seed        uint64  // of the order and of what is held out
	Device      torch.Device
}

// ProbeResult is what a linear probe reaches on the test rows.
type ProbeResult struct {
	Top1         float64 `json:"top1"`
	Top5         float64 `json:"top5"`                  // with fewer than five classes all of them
	MeanPerClass float64 `json:"mean_per_class_recall"` // mean of the classes' shares of right first guesses
	WeightDecay  float64 `json:"weight_decay"`
}

// LinearProbe trains logistic regression on frozen features and tests it: how much a model's
// pictures tell of the classes to one who has labels (paper, section 3.2). It is CLIP_benchmark's:
// one linear layer with bias, cross-entropy, AdamW with PyTorch's betas, a cosine over the steps;
// but it begins with zeros and not with random numbers.
func LinearProbe(training, test Labelled, classes int, o ProbeOptions) (r ProbeResult, err error) {
	if o.LR == 0 {
		o.LR = 0.1
	}
	if o.Epochs == 0 {
		o.Epochs = 10
	}
	if o.BatchSize == 0 {
		o.BatchSize = 64
	}
	for name, set := range map[string]Labelled{"training": training, "test": test} {
		if n := len(set.Classes); n == 0 || len(set.Features)%n != 0 || len(set.Features)/n != len(training.Features)/max(1, len(training.Classes)) {
			return r, fmt.Errorf("train: linear probe: %d numbers are no features of %d %s rows", len(set.Features), n, name)
		}
	}
	if o.WeightDecay < 0 {
		if o.WeightDecay, err = bestDecay(training, classes, o); err != nil {
			return r, err
		}
	}
	weight, bias, err := fitProbe(training, classes, o)
	if err != nil {
		return r, err
	}
	defer weight.Free()
	defer bias.Free()
	r, err = testProbe(test, classes, weight, bias)
	r.WeightDecay = o.WeightDecay
	return r, err
}

// bestDecay searches 97 powers of ten from 10^-6 to 10^2 as CLIP_benchmark does: every 16th, then
// on both sides of the best at half the distance, down to neighbours.
func bestDecay(all Labelled, classes int, o ProbeOptions) (float64, error) {
	order := rand.New(rand.NewPCG(o.Seed, 1)).Perm(len(all.Classes))
	held := len(order) / 5
	if held == 0 || held == len(order) {
		return 0, fmt.Errorf("train: linear probe: of %d rows none can be held out to choose the weight decay: give one", len(order))
	}
	train, test := all.rows(order[held:]), all.rows(order[:held])
	const most = 96
	reached := map[int]float64{}
	try := func(i int) error {
		if _, done := reached[i]; done || i < 0 || i > most {
			return nil
		}
		o.WeightDecay = decayAt(i)
		weight, bias, err := fitProbe(train, classes, o)
		if err != nil {
			return err
		}
		defer weight.Free()
		defer bias.Free()
		r, err := testProbe(test, classes, weight, bias)
		reached[i] = r.Top1
		return err
	}
	best := 0
	note := func() {
		for i := 0; i <= most; i++ {
			if x, ok := reached[i]; ok && x > reached[best] {
				best = i
			}
		}
	}
	for i := 0; i <= most; i += 16 {
		if err := try(i); err != nil {
			return 0, err
		}
	}
	note()
	for step := 8; step > 0; step /= 2 {
		for _, i := range []int{best - step, best + step} {
			if err := try(i); err != nil {
				return 0, err
			}
		}
		note()
	}
	return decayAt(best), nil
}

func decayAt(i int) float64 { return math.Pow(10, -6+float64(i)/12) }

// rows are some of the rows.
func (l Labelled) rows(places []int) (out Labelled) {
	width := len(l.Features) / len(l.Classes)
	for _, i := range places {
		out.Features = append(out.Features, l.Features[i*width:(i+1)*width]...)
		out.Classes = append(out.Classes, l.Classes[i])
	}
	return out
}

// fitProbe trains weight (classes, E) and bias (classes).
func fitProbe(set Labelled, classes int, o ProbeOptions) (weight, bias *torch.Tensor, err error) {
	n := len(set.Classes)
	device := o.Device
	if device == (torch.Device{}) {
		device = torch.CPU
	}
	weight = torch.Zeros(nil, device, torch.Float32, classes, len(set.Features)/n).SetRequiresGrad(true)
	bias = torch.Zeros(nil, device, torch.Float32, classes).SetRequiresGrad(true)
	optimiser := optim.NewAdamW([]optim.Group{{Params: []optim.Param{{Name: "weight", T: weight}, {Name: "bias", T: bias}}, WeightDecay: o.WeightDecay}},
		optim.AdamWOptions{LR: o.LR, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8})
	batches := (n + o.BatchSize - 1) / o.BatchSize
	random := rand.New(rand.NewPCG(o.Seed, 0))
	for epoch := range o.Epochs {
		order := random.Perm(n)
		for i := range batches {
			b := set.rows(order[i*o.BatchSize : min((i+1)*o.BatchSize, n)])
			step := float64(epoch*batches + i)
			optimiser.SetLR(0.5 * (1 + math.Cos(math.Pi*step/float64(o.Epochs*batches))) * o.LR)
			err = torch.Do(func(s *torch.Scope) {
				x := torch.FromSlice(s, b.Features, len(b.Classes), len(b.Features)/len(b.Classes)).To(device, torch.Float32)
				ids := make([]int64, len(b.Classes))
				for j, class := range b.Classes {
					ids[j] = int64(class)
				}
				x.Linear(weight, bias).CrossEntropy(torch.FromSlice(s, ids, len(ids)).To(device, torch.Int64)).Backward()
			})
			if err == nil {
				err = optimiser.Step()
			}
			if err != nil {
				return nil, nil, fmt.Errorf("train: linear probe: %w", err)
			}
			optimiser.ZeroGrad()
		}
	}
	return weight, bias, nil
}

// testProbe counts right guesses.
func testProbe(set Labelled, classes int, weight, bias *torch.Tensor) (r ProbeResult, err error) {
	n, k := len(set.Classes), min(5, classes)
	var top []int64
	err = torch.NoGrad(func(s *torch.Scope) {
		x := torch.FromSlice(s, set.Features, n, len(set.Features)/n).To(weight.Device(), torch.Float32)
		_, indices := x.Linear(weight, bias).TopK(k, 1, true)
		top = torch.ToSlice[int64](indices)
	})
	if err != nil {
		return r, fmt.Errorf("train: linear probe: %w", err)
	}
	seen, right := make([]int, classes), make([]int, classes)
	for i, class := range set.Classes {
		seen[class]++
		switch slices.Index(top[i*k:(i+1)*k], int64(class)) {
		case -1:
			continue
		case 0:
			right[class]++
			r.Top1 += 1 / float64(n)
		}
		r.Top5 += 1 / float64(n)
	}
	present := 0
	for class, count := range seen {
		if count > 0 {
			present++
			r.MeanPerClass += float64(right[class]) / float64(count)
		}
	}
	r.MeanPerClass /= float64(present)
	return r, nil
}
