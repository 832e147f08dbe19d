package train

import (
	"fmt"
	"math"
)

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
		if warmup >= total { // at the end of a run that was warm-up alone
			return 0
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

// held is what a run's length has once fixed and a change of the length leaves: the steps of the
// warm-up, which may be over, and the token embeddings' peak rate (TokenLRAuto).
type held struct {
	Warmup  int     `json:"warmup"`
	TokenLR float64 `json:"token_lr"`
}

// steps are those of a run whose epochs have perEpoch.
func (c *Config) steps(perEpoch int) int {
	if total := perEpoch * c.Epochs; c.MaxSteps == 0 || total < c.MaxSteps {
		return total
	}
	return c.MaxSteps
}

// changeLength makes a resumed run as long as its Config says, where the checkpoint's Config said
// otherwise. A schedule that goes by the length is stretched over the new one.
func (t *Trainer) changeLength(perEpoch int) error {
	was := t.state.Config
	if was == nil {
		return nil
	}
	former := was.steps(perEpoch)
	if former == t.total {
		return nil
	}
	if t.total < t.state.Step {
		return t.c.refuse("{resume}: the run has done %d steps, and {Epochs} %d and {MaxSteps} %d make %d; give more, or none to keep its %d", t.state.Step, t.c.Epochs, t.c.MaxSteps, t.total, former)
	}
	before, err := t.rateAt(former)
	if err != nil {
		return err
	}
	if t.state.Held == nil {
		t.state.Held = &held{was.warmupSteps(former), was.tokenLR(former)}
	}
	after, err := t.rateAt(t.total)
	if err != nil {
		return err
	}
	ended := t.state.Step >= former
	switch {
	case ended && t.state.Rest > 0: // MaxSteps had cut its last epoch short
		t.state.Epoch, t.state.Batch, t.state.Rest, t.state.Closing = t.state.Epoch-1, t.state.Rest, 0, false
	case t.total == t.state.Step && t.state.Batch > 0: // which now ends here
		t.state.Epoch, t.state.Rest, t.state.Batch, t.state.Closing = t.state.Epoch+1, t.state.Batch, 0, true
	}
	t.outgrown = ended
	change := "extended"
	if t.total < former {
		change = "shortened"
	}
	note := fmt.Sprintf("the run is %s from %d to %d steps; ", change, former, t.total)
	switch {
	case t.c.SkipSchedule || t.c.Schedule == "const":
		note += fmt.Sprintf("the learning rate is held at %.3g", after)
	case t.c.Schedule == "const-cooldown":
		note += fmt.Sprintf("the cooldown moves to the new end, and the learning rate continues at %.3g (%.3g by the former length)", after, before)
	default:
		note += fmt.Sprintf("the cosine is stretched over them, and the learning rate continues at %.3g (%.3g by the former length)", after, before)
	}
	t.notes = append(t.notes, note)
	return nil
}

// rateAt is the learning rate of the next step in a run of so many steps.
func (t *Trainer) rateAt(total int) (float64, error) {
	s, _, err := t.scheduleOf(total)
	if err != nil {
		return 0, err
	}
	return s(min(t.state.Step, total)), nil
}

// scheduleOf is the schedule of a run of so many steps, and the steps of its warm-up.
func (t *Trainer) scheduleOf(total int) (schedule, int, error) {
	c := t.c
	if t.state.LR != 0 {
		c.LR = t.state.LR
	}
	if h := t.state.Held; h != nil {
		if c.Warmup = float64(h.Warmup); h.Warmup == 0 {
			c.Warmup = None
		}
	}
	s, err := c.scheduled(total, t.loader.Batches()/c.AccumFreq)
	return s, c.warmupSteps(total), err
}

// tokenLR is the token embeddings' peak rate.
func (t *Trainer) tokenLR() float64 {
	if t.c.TokenLR == TokenLRAuto && t.state.Held != nil {
		return t.state.Held.TokenLR
	}
	return t.c.tokenLR(t.total)
}
