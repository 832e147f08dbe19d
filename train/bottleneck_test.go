package train

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestVerdict names the data only where it takes more than a fifth of the time, the first step's
// wait apart.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		data, step    float64
		workers, cpus int
		want          string
	}{
		{0.1, 1, 2, 4, ""},
		{0.2, 1, 2, 4, ""},
		{0.5, 1, 2, 4, "the data is the bottleneck: 50% of a step, 500ms of 1s, waits for images\ngive more Workers"},
		{0.003, 0.004, 4, 4, "the data is the bottleneck: 75% of a step, 3ms of 4ms, waits for images\nWorkers 4 has all 4 CPUs at work; smaller images or a faster disk help"},
	} {
		var w waiting
		w.add(Step{DataTime: 9, StepTime: 9})
		assert.Empty(t, w.verdict(&Config{Workers: c.workers}, c.cpus), "nothing is known yet")
		for range 5 {
			w.add(Step{DataTime: c.data, StepTime: c.step})
		}
		assert.Equal(t, c.want, w.verdict(&Config{Workers: c.workers}, c.cpus))
		assert.Empty(t, w.verdict(&Config{Workers: c.workers}, c.cpus), "each line tells of its own steps")
	}
}
