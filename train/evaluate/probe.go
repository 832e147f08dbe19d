package evaluate

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/torch/optim"
)

// Labelled is features (N, E) in row-major order with a class each.
type Labelled struct {
	Features []float32
	Classes  []int
}

// ProbeOptions are the constants of a linear probe. The zero value takes CLIP_benchmark's
// (clip_benchmark/metrics/linear_probe.py).
type ProbeOptions struct {
	LR          float64 // at the beginning; 0 stands for 0.1
	Epochs      int     // 0 stands for 10
	BatchSize   int     // 0 stands for 64
	WeightDecay float64 // negative: the one of 10^-6 to 10^2 that does best on Validation
	Shots       int     // train on so many rows of each class; 0: on all
	// Validation are the rows to choose the weight decay by, which are then trained on too, unless
	// there are Shots; nil: a fifth of the training rows.
	Validation *Labelled
	Seed       uint64 // of the first weights, and of the order of the rows
	Device     torch.Device
}

// ProbeResult is what a linear probe reaches on the test rows.
type ProbeResult struct {
	Top1         float64 `json:"top1"`
	Top5         float64 `json:"top5"`                  // with fewer than five classes all of them
	Classes      int     `json:"classes"`               // of the training rows
	MeanPerClass float64 `json:"mean_per_class_recall"` // mean of the classes' fractions of right first predictions
	WeightDecay  float64 `json:"weight_decay"`
}

// LinearProbe trains logistic regression on frozen features and tests it: how much a model's images
// tell of the classes to one who has labels (paper, section 3.2). It is CLIP_benchmark's: a linear
// layer with bias, cross-entropy, AdamW with PyTorch's betas, a cosine over the steps. First
// weights and orders are those that CLIP_benchmark draws after torch.manual_seed(Seed). The
// generators of package torch are as they were afterwards; nothing else may draw from them
// meanwhile.
func LinearProbe(training, test Labelled, o ProbeOptions) (r ProbeResult, err error) {
	o = o.filled()
	width := len(training.Features) / max(1, len(training.Classes))
	if err := errors.Join(training.check("training", width), test.check("test", width)); err != nil {
		return r, err
	}
	classes := 1 + slices.Max(training.Classes)
	if most := slices.Max(test.Classes); most >= classes {
		return r, fmt.Errorf("evaluate: linear probe: class %d of the test rows is not one of the %d trained classes", most, classes)
	}
	restore, err := keepGenerators(o.Device)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	torch.ManualSeed(o.Seed)
	order, err := permutation(len(training.Classes))
	if err != nil {
		return r, err
	}
	if o.WeightDecay < 0 && o.Validation == nil {
		held := len(order) / 5
		if held == 0 {
			return r, fmt.Errorf("evaluate: linear probe: of %d rows none can be held out to choose the weight decay: give one", len(order))
		}
		rows := training.rows(order[:held])
		o.Validation, order = &rows, order[held:]
	}
	if training, err = training.shots(order, o.Shots); err != nil {
		return r, err
	}
	if o.WeightDecay < 0 {
		if err := o.Validation.check("validation", width); err != nil {
			return r, err
		}
		if o.WeightDecay, err = bestDecay(training, *o.Validation, classes, o); err != nil {
			return r, err
		}
		if o.Shots == 0 {
			training.Features = slices.Concat(training.Features, o.Validation.Features)
			training.Classes = slices.Concat(training.Classes, o.Validation.Classes)
		}
	}
	weight, bias, err := fitProbe(training, classes, o)
	if err != nil {
		return r, err
	}
	defer weight.Free()
	defer bias.Free()
	r, err = testProbe(test, classes, weight, bias)
	r.WeightDecay, r.Classes = o.WeightDecay, classes
	return r, err
}

// filled has the defaults in fields that are zero.
func (o ProbeOptions) filled() ProbeOptions {
	if o.LR == 0 {
		o.LR = 0.1
	}
	if o.Epochs == 0 {
		o.Epochs = 10
	}
	if o.BatchSize == 0 {
		o.BatchSize = 64
	}
	if o.Device == (torch.Device{}) {
		o.Device = torch.CPU
	}
	return o
}

// check reports whether there are rows of the width.
func (l *Labelled) check(name string, width int) error {
	if n := len(l.Classes); n == 0 || width == 0 || len(l.Features) != n*width {
		return fmt.Errorf("evaluate: linear probe: %d numbers are no features of %d %s rows", len(l.Features), n, name)
	}
	return nil
}

// keepGenerators gives what puts the generators of the CPU and of d back.
func keepGenerators(d torch.Device) (restore func() error, err error) {
	err = torch.Do(func(*torch.Scope) {
		cpu, device := torch.RNGState(torch.CPU), torch.RNGState(d)
		restore = func() error {
			return errors.Join(torch.SetRNGState(torch.CPU, cpu), torch.SetRNGState(d, device))
		}
	})
	return restore, err
}

var (
	opRandperm = torch.NewOp("aten::randperm")
	opRandom   = torch.NewOp("aten::random_")
)

// permutation is torch.randperm(n).
func permutation(n int) (order []int, err error) {
	err = torch.NoGrad(func(s *torch.Scope) {
		for _, i := range torch.ToSlice[int64](opRandperm.In(s, n, torch.Int64, nil, torch.CPU)) {
			order = append(order, int(i))
		}
	})
	return order, err
}

// shuffled is the order that a DataLoader with shuffle=True takes n rows in: by a generator with a
// seed from the default one, which its workers' seed is drawn from before.
func shuffled(n int) (order []int, err error) {
	seed := int64(0)
	err = torch.NoGrad(func(s *torch.Scope) {
		draw := torch.Empty(s, torch.CPU, torch.Int64)
		opRandom.Run(s, draw)
		opRandom.Run(s, draw)
		seed = torch.ToSlice[int64](draw)[0]
	})
	if err != nil {
		return nil, err
	}
	restore, err := keepGenerators(torch.CPU)
	if err != nil {
		return nil, err
	}
	torch.ManualSeed(uint64(seed))
	order, err = permutation(n)
	return order, errors.Join(err, restore())
}

// shots are the rows in the order, of each class at most k unless k is 0.
func (l *Labelled) shots(order []int, k int) (Labelled, error) {
	if k == 0 {
		return l.rows(order), nil
	}
	count := map[int]int{}
	var places []int
	for _, i := range order {
		if class := l.Classes[i]; count[class] < k {
			count[class]++
			places = append(places, i)
		}
	}
	for class, n := range count {
		if n < k {
			return Labelled{}, fmt.Errorf("evaluate: linear probe: class %d has %d training images and %d shots are asked for", class, n, k)
		}
	}
	return l.rows(places), nil
}

// bestDecay searches 97 powers of ten from 10^-6 to 10^2 as CLIP_benchmark does: every 16th, then
// on both sides of the best at half the distance, down to neighbours.
func bestDecay(train, test Labelled, classes int, o ProbeOptions) (float64, error) {
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
	width, device := len(set.Features)/n, o.Device
	torch.ManualSeed(o.Seed)
	err = torch.NoGrad(func(s *torch.Scope) {
		first := nn.NewLinear(width, classes)
		defer first.Weight.Free()
		defer first.Bias.Free()
		weight = torch.Zeros(nil, device, torch.Float32, classes, width)
		bias = torch.Zeros(nil, device, torch.Float32, classes)
		s.Alias(weight).CopyFrom(s.Alias(first.Weight).To(device, torch.Float32))
		s.Alias(bias).CopyFrom(s.Alias(first.Bias).To(device, torch.Float32))
	})
	if err != nil {
		return nil, nil, fmt.Errorf("evaluate: linear probe: %w", err)
	}
	weight.SetRequiresGrad(true)
	bias.SetRequiresGrad(true)
	optimiser := optim.NewAdamW([]optim.Group{{Params: []optim.Param{{Name: "weight", T: weight}, {Name: "bias", T: bias}}, WeightDecay: o.WeightDecay}},
		optim.AdamWOptions{LR: o.LR, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8})
	defer func() {
		optimiser.Free()
		if err != nil {
			weight.Free()
			bias.Free()
		}
	}()
	batches := (n + o.BatchSize - 1) / o.BatchSize
	for epoch := range o.Epochs {
		order, err := shuffled(n)
		if err != nil {
			return weight, bias, err
		}
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
				return weight, bias, fmt.Errorf("evaluate: linear probe: %w", err)
			}
			optimiser.ZeroGrad()
		}
	}
	return weight, bias, nil
}

// testProbe counts right predictions.
func testProbe(set Labelled, classes int, weight, bias *torch.Tensor) (r ProbeResult, err error) {
	n, k := len(set.Classes), min(5, classes)
	var top []int64
	err = torch.NoGrad(func(s *torch.Scope) {
		x := torch.FromSlice(s, set.Features, n, len(set.Features)/n).To(weight.Device(), torch.Float32)
		_, indices := x.Linear(weight, bias).TopK(k, 1, true)
		top = torch.ToSlice[int64](indices)
	})
	if err != nil {
		return r, fmt.Errorf("evaluate: linear probe: %w", err)
	}
	seen := clip.NewConfusion(classes)
	for i, class := range set.Classes {
		predictions := make([]clip.Prediction, k)
		for j := range predictions {
			predictions[j].Class = int(top[i*k+j])
		}
		seen.Add(class, predictions)
	}
	return ProbeResult{Top1: seen.Top1(), Top5: seen.Top5(), MeanPerClass: seen.MeanPerClass()}, nil
}
