package train

import (
	"errors"
	"time"

	"github.com/goclip/goclip/torch"
)

// What rank 0 says while the others wait for it.
const (
	busy = iota
	done
	stopped // by a signal
)

// alone has rank 0 do what one process does for all, while the others wait. It tells them each
// minute that it is still at it.
func (t *Trainer) alone(f func() error) error {
	if t.group.Size() == 1 {
		return f()
	}
	if !t.first() {
		for {
			said, err := t.group.Exchange(nil)
			switch {
			case err != nil:
				return err
			case said[0][0] == stopped:
				return ErrInterrupted
			case said[0][0] == done:
				return nil
			}
		}
	}
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-end:
				ended <- nil
				return
			case <-time.After(time.Minute):
				if _, err := t.group.Exchange([]byte{busy}); err != nil {
					ended <- err
					return
				}
			}
		}
	}()
	err := f()
	close(end)
	if failed := <-ended; failed != nil {
		return errors.Join(err, failed)
	}
	word := byte(done)
	if errors.Is(err, ErrInterrupted) {
		word = stopped
	} else if err != nil {
		return err
	}
	if _, failed := t.group.Exchange([]byte{word}); failed != nil {
		return failed
	}
	return err
}

// equalise has every process begin with rank 0's weights and statistics, bit for bit.
func (t *Trainer) equalise() error {
	if t.group.Size() == 1 {
		return nil
	}
	if err := torch.NoGrad(func(s *torch.Scope) {
		for _, p := range t.model.State() {
			t.group.Broadcast(s.Alias(p), 0)
		}
	}); err != nil {
		return err
	}
	return t.group.Check()
}

// restoreGenerator takes up this process's of them. A checkpoint of an earlier goclip may have none:
// then it starts over from the seed and the step.
func (t *Trainer) restoreGenerator() error {
	if len(t.state.RNG) == 0 {
		torch.ManualSeed(t.c.Seed + uint64(t.state.Step)<<16 + uint64(t.group.Rank()))
		return nil
	}
	return torch.SetRNGState(t.device, t.state.RNG[t.group.Rank()])
}
