package train

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train/data"
)

// micro is a micro-batch: one of the Config.AccumFreq that make a step.
type micro struct {
	n      int
	wait   time.Duration // until the loader had it
	pixels *torch.Upload // of the images
	tokens *torch.Tensor // (n, L) int64, on the host
	rng    []byte        // the device's generator before the towers ran for the first time

	texts   *tower.Texts  // the tokens as the text tower reads them; nil if it takes them unchanged
	numbers *torch.Upload // of texts

	imageIDs, textIDs []int64 // (n)
}

// micro takes a batch out of the loader's memory, which the next batch overwrites, and sends it to
// the device.
func (t *stepper) micro(b *data.Batch) (m *micro, err error) {
	if length := t.model.ContextLength(); len(b.Tokens) != b.N*length {
		return nil, fmt.Errorf("train: the tokenizer gave %d ids for %d texts; each must have %d, the context length", len(b.Tokens), b.N, length)
	}
	m = &micro{
		n: b.N, wait: b.Wait,
		tokens: torch.FromSlice(nil, b.Tokens, b.N, t.model.ContextLength()),

		imageIDs: slices.Clone(b.ImageIDs), textIDs: slices.Clone(b.TextIDs),
	}
	if m.pixels, err = t.model.UploadImages(b.Pixels, b.N); err != nil {
		return nil, fmt.Errorf("train: a batch of %d images: %w", b.N, err)
	}
	if m.texts = t.model.ArrangeTexts(b.Tokens, t.precision.computes(), t.room(b.N)); m.texts != nil {
		numbers := m.texts.Numbers()
		if m.numbers, err = torch.NewUpload(numbers, t.device, len(numbers)); err != nil {
			return nil, fmt.Errorf("train: a batch of %d texts: %w", b.N, err)
		}
	}
	return m, nil
}

func (m *micro) free() {
	m.pixels.Free()
	m.tokens.Free()
	if m.numbers != nil {
		m.numbers.Free()
	}
}

// ahead has each micro-batch made while the one before it is in use. Its wait is the time until it
// was there.
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
