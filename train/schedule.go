package train

import "math"

// schedule is a learning rate for each optimiser step, the first being step 0.
type schedule func(step int) float64

// validWarmup reports whether a Config.Warmup is one.
func validWarmup(w float64) bool {
	return w == None || w >= 0 && !math.IsInf(w, 0) && (w < 1 || w == math.Trunc(w))
}

// warmupSteps are those of a run of total steps. The default is a tenth of it, at most 10,000
// steps, which is open_clip's default.
func (c *Config) warmupSteps(total int) int {
	switch w := c.Warmup; {
	case w < 0:
		return 0
	case w == 0:
		return min(total/10, 10000)
	case w < 1:
		return int(w * float64(total))
	default:
		return int(w)
	}
}

// scheduled is the schedule for a run of total steps, of which an epoch has perEpoch.
func (c *Config) scheduled(total, perEpoch int) (schedule, error) {
	if c.SkipSchedule {
		return func(int) float64 { return c.LR }, nil
	}
	warmup := c.warmupSteps(total)
	switch c.Schedule {
	case "cosine":
		return cosine(c.LR, warmup, total), nil
	case "const":
		return constant(c.LR, warmup), nil
	}
	cooldown := perEpoch * c.CooldownEpochs
	if cooldown > total-warmup {
		return nil, c.refuse("{CooldownEpochs} %d: its %d steps do not fit behind the warm-up into a run of %d steps", c.CooldownEpochs, cooldown, total)
	}
	before := constant(c.LR, warmup)
	return func(step int) float64 {
		if step < total-cooldown {
			return before(step)
		}
		left := 1 - float64(step-(total-cooldown))/float64(cooldown)
		return math.Pow(left, c.CooldownPower)*(c.LR-c.CooldownEndLR) + c.CooldownEndLR
	}, nil
}

// cosine and constant are open_clip's schedules (open_clip_train/scheduler.py), after a linear
// warm-up.
func cosine(base float64, warmup, total int) schedule {
	warm := constant(base, warmup)
	return func(step int) float64 {
		if step < warmup {
			return warm(step)
		}
		done := float64(step-warmup) / float64(total-warmup)
		return 0.5 * (1 + math.Cos(math.Pi*done)) * base
	}
}

func constant(base float64, warmup int) schedule {
	return func(step int) float64 {
		if step < warmup {
			return base * float64(step+1) / float64(warmup)
		}
		return base
	}
}
