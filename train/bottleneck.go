package train

import (
	"fmt"
	"time"
)

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
