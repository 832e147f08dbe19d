package train

import (
	"fmt"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

// utilisation returns which fraction of the machine's floating-point speed a step makes use of (model
// FLOPs utilisation, PaLM, Chowdhery et al., arXiv 2204.02311, appendix B): what
// [estimate.StepCost] counts of it, by the time that it took with all its waits, by the speed of a
// large matrix product on the same device in the same precision.
type utilisation struct {
	cost func(tokens []int64) float64 // of a micro-batch with such texts; nil: unknown
	peak float64                      // operations in a second; 0 until measured

	done, seconds float64 // of this sitting's steps
}

// share is of a step of so many operations.
func (u *utilisation) share(flops, seconds float64) float64 {
	u.done, u.seconds = u.done+flops, u.seconds+seconds
	if u.peak == 0 || seconds <= 0 {
		return 0
	}
	return flops / seconds / u.peak
}

// total is of all steps that were shared out.
func (u *utilisation) total() float64 {
	if u.peak == 0 || u.seconds == 0 {
		return 0
	}
	return u.done / u.seconds / u.peak
}

// estimable reports whether a config describes the model's towers, which towers of one's own have
// none of.
func estimable(m *clip.Model) bool {
	v := m.Config.Vision
	return v.IsResNet() || v.PatchSize > 0
}

// The sides of the square matrices that measurePeak multiplies.
var cpuSide, cudaSide = 1024, 8192

// measurePeak is the speed of a large matrix product: the fastest of those that fit into a third of
// a second, and of at least three. One of split numbers counts as the float32 product that it stands
// for.
func measurePeak(d torch.Device, dtype torch.DType, splits bool) (flops float64, err error) {
	side := cpuSide
	if d.Type == "cuda" {
		side = cudaSide
	}
	err = torch.NoGrad(func(s *torch.Scope) {
		a := torch.Ones(s, d, dtype, side, side) // random numbers would move the generator on, which a run's noise depends on
		for began, n := time.Now(), 0; n < 4 || time.Since(began) < time.Second/3 && n < 64; n++ {
			s.NoGrad(func(s *torch.Scope) {
				product := time.Now()
				x := s.Alias(a)
				if splits {
					s.BFloat16x3()
					x = x.Linear(a, nil)
				} else {
					x = x.MatMul(a)
				}
				x.Select(0, 0).Select(0, 0).Item() // which waits for a GPU
				if n > 0 {                         // the first one warms up
					flops = max(flops, 2*float64(side)*float64(side)*float64(side)/time.Since(product).Seconds())
				}
			})
		}
	})
	return flops, err
}

// slow is the fraction of the time spent waiting for images from which on the data is the
// bottleneck. Below it, a wait is the unevenness of batches.
const slow = 0.2

// waiting adds up how long steps waited for their batches since the last line of the log.
type waiting struct {
	data, step float64 // seconds
	steps      int
	begun      bool // the first step, which waits for the workers to start, is over
}

func (w *waiting) add(s Step) {
	if w.begun {
		w.data, w.step, w.steps = w.data+s.DataTime, w.step+s.StepTime, w.steps+1
	}
	w.begun = true
}

// verdict names the data as the bottleneck, when it is, and what helps; then it begins again.
func (w *waiting) verdict(c *Config, cpus int) string {
	was := *w
	*w = waiting{begun: true}
	if was.steps == 0 || was.data <= slow*was.step {
		return ""
	}
	each := func(seconds float64) time.Duration {
		return time.Duration(seconds / float64(was.steps) * float64(time.Second)).Round(100 * time.Microsecond)
	}
	advice := "give more {Workers}"
	if c.Workers >= cpus {
		advice = fmt.Sprintf("{Workers} %d has all %d CPUs at work; smaller images or a faster disk help", c.Workers, cpus)
	}
	return fmt.Sprintf("the data is the bottleneck: %.0f%% of a step, %s of %s, waits for images\n%s", 100*was.data/was.step, each(was.data), each(was.step), c.words(advice))
}
