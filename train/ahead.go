package train

import (
	"context"
	"iter"
	"time"
)

// micros are the epoch's batches from the one that the state stands at on. For a GPU the next one is on its way there while a step
// is done.
func (r *run) micros(ctx context.Context) iter.Seq2[*micro, error] {
	batches := r.loader.Epoch(ctx, r.state.Epoch, r.state.Batch)
	made := func(yield func(*micro, error) bool) {
		for b, err := range batches {
			var m *micro
			if err == nil {
				m, err = r.micro(b)
			}
			if !yield(m, err) {
				return
			}
		}
	}
	if r.device.Type == "cuda" {
		return ahead(made)
	}
	return made
}

// ahead has each micro-batch made while the one before it is in use. Its wait is the time until it was there.
func ahead(made iter.Seq2[*micro, error]) iter.Seq2[*micro, error] {
	return func(yield func(*micro, error) bool) {
		type next struct {
			m   *micro
			err error
		}
		ready, enough := make(chan next), make(chan struct{})
		go func() {
			defer close(ready)
			for m, err := range made {
				select {
				case ready <- next{m, err}:
				case <-enough:
					if m != nil {
						m.free()
					}
					return
				}
			}
		}()
		defer func() {
			close(enough)
			for range ready { // until the loader has stopped
			}
		}()
		for {
			asked := time.Now()
			n, more := <-ready
			if !more {
				return
			}
			if n.m != nil {
				n.m.wait = time.Since(asked)
			}
			if !yield(n.m, n.err) {
				return
			}
		}
	}
}
