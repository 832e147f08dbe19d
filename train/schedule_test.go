package train

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSchedules(t *testing.T) { // values of open_clip_train/scheduler.py, base 1e-3, warm-up 10, 100 steps
	for step, want := range map[int]float64{0: 1e-4, 9: 1e-3, 10: 1e-3, 55: 5e-4, 99: 3.0458649045213493e-07} {
		assert.InDelta(t, want, cosine(1e-3, 10, 100)(step), 1e-12, step)
	}
	assert.Equal(t, 1e-3, constant(1e-3, 10)(99))
	assert.InDelta(t, 5e-4, constant(1e-3, 10)(4), 1e-12)
}

func TestCooldown(t *testing.T) { // values of open_clip_train/scheduler.py const_lr_cooldown: base 1e-3, warm-up 10, power 2, to 1e-5
	o := Config{LR: 1e-3, Warmup: 10, Schedule: "const-cooldown", CooldownEpochs: 2, CooldownPower: 2, CooldownEndLR: 1e-5}
	s, err := o.scheduled(100, 10)
	require.NoError(t, err)
	for step, want := range map[int]float64{0: 1e-4, 9: 1e-3, 10: 1e-3, 79: 1e-3, 80: 1e-3, 90: 0.0002575, 99: 1.2475e-05} {
		assert.InDelta(t, want, s(step), 1e-12, step)
	}
	_, err = o.scheduled(25, 10)
	assert.ErrorContains(t, err, "CooldownEpochs 2: its 20 steps do not fit behind the warm-up into a run of 25 steps")
	o.SkipSchedule = true
	s, err = o.scheduled(5, 10)
	require.NoError(t, err)
	assert.Equal(t, []float64{1e-3, 1e-3}, []float64{s(0), s(4)})
}

// TestAllWarmup: a run that was warm-up alone has a rate at its end, from which a longer one continues.
func TestAllWarmup(t *testing.T) {
	rate := cosine(1, 10, 10)
	assert.Equal(t, 1.0, rate(9))
	assert.Equal(t, 0.0, rate(10))
	assert.Equal(t, 0.5, cosine(1, 10, 5)(4))
}
