package campaign

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestGained(t *testing.T) {
	level, leak := make([]int64, 100), make([]int64, 100)
	for i := range level {
		level[i] = 400 + int64(i%7*10) // what comes and goes
		if i < 20 {
			level[i] = int64(10 * i) // the warm-up
		}
		leak[i] = level[i] + int64(i)
	}
	early, late := Gained(level)
	assert.Equal(t, [2]int64{400, 400}, [2]int64{early, late})
	early, late = Gained(leak)
	assert.Equal(t, int64(49), late-early)
}
