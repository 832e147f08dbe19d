package train

import (
	"fmt"
	"math"
)

// Schedule is a learning rate for each optimiser step, the first being step 0.
type Schedule func(step int) float64

// schedule is that of the options for a run of total steps, of which an epoch has perEpoch.
func (o *Options) schedule(total, perEpoch int) (Schedule, error) {
	if o.SkipScheduler {
		return func(int) float64 { return o.LR }, nil
	}
	warmup := o.Warmup.steps(total)
	if o.LRScheduler != "const-cooldown" {
		return NewSchedule(o.LRScheduler, o.LR, warmup, total)
	}
	cooldown := perEpoch * o.EpochsCooldown
	if cooldown > total-warmup {
		return nil, fmt.Errorf("--epochs-cooldown %d: its %d steps do not fit behind the warm-up into a run of %d steps", o.EpochsCooldown, cooldown, total)
	}
	constant, err := NewSchedule("const", o.LR, warmup, total)
	if err != nil {
		return nil, err
	}
	return func(step int) float64 {
		if step < total-cooldown {
			return constant(step)
		}
		left := 1 - float64(step-(total-cooldown))/float64(cooldown)
		return math.Pow(left, o.LRCooldownPow)*(o.LR-o.LRCooldownEnd) + o.LRCooldownEnd
	}, nil
}

// NewSchedule is open_clip's --lr-scheduler (open_clip_train/scheduler.py): "cosine" or "const", both after a linear
// warm-up.
func NewSchedule(name string, base float64, warmup, total int) (Schedule, error) {
	if warmup >= total && warmup > 0 {
		return nil, fmt.Errorf("--warmup %d is not shorter than the run of %d steps", warmup, total)
	}
	warm := func(step int) float64 { return base * float64(step+1) / float64(warmup) }
	switch name {
	case "cosine":
		return func(step int) float64 {
			if step < warmup {
				return warm(step)
			}
			done := float64(step-warmup) / float64(total-warmup)
			return 0.5 * (1 + math.Cos(math.Pi*done)) * base
		}, nil
	case "const":
		return func(step int) float64 {
			if step < warmup {
				return warm(step)
			}
			return base
		}, nil
	default:
		return nil, fmt.Errorf("--lr-scheduler %q is none of cosine, const", name)
	}
}
