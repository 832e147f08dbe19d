package data

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// filling is a batch that workers fill, each sample in its slot, so that no image is copied after
// it was made.
type filling struct {
	Batch
	first int // place in the epoch of the first slot
	slots []slot
	left  atomic.Int64 // slots that are not done
	done  chan struct{}

	mu  sync.Mutex
	err error // of the lowest slot that failed
	bad int   // that slot
}

// slot is what became of a place.
type slot struct {
	sample      int // -1: left out
	texts       []string
	caption     int
	tokens      []int64
	image, text int64 // IDs
}

// begin makes f an empty batch of n places.
func (f *filling) begin(index, first, n, pixels int) {
	f.Index, f.first, f.done, f.err = index, first, make(chan struct{}), nil
	f.slots = slices.Grow(f.slots[:0], n)[:n]
	if size := n * pixels; cap(f.Pixels) < size {
		f.Pixels = make([]float32, size)
	}
	f.Pixels = f.Pixels[:n*pixels]
	f.left.Store(int64(n))
	if n == 0 {
		f.finish(pixels)
	}
}

// fail keeps the error of the lowest slot: which worker was first does not matter.
func (f *filling) fail(slot int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || slot < f.bad {
		f.err, f.bad = err, slot
	}
}

// finish gathers what the slots have. Where one was left out, those after it move up.
func (f *filling) finish(pixels int) {
	f.N, f.Samples, f.Texts, f.Captions = 0, f.Samples[:0], f.Texts[:0], f.Captions[:0]
	f.Tokens, f.ImageIDs, f.TextIDs = f.Tokens[:0], f.ImageIDs[:0], f.TextIDs[:0]
	for i, s := range f.slots {
		if s.sample < 0 {
			continue
		}
		if i != f.N {
			copy(f.Pixels[f.N*pixels:(f.N+1)*pixels], f.Pixels[i*pixels:(i+1)*pixels])
		}
		f.Samples, f.Texts, f.Captions = append(f.Samples, s.sample), append(f.Texts, s.texts), append(f.Captions, s.caption)
		f.Tokens, f.ImageIDs, f.TextIDs = append(f.Tokens, s.tokens...), append(f.ImageIDs, s.image), append(f.TextIDs, s.text)
		f.N++
	}
	f.Pixels = f.Pixels[:f.N*pixels]
	close(f.done)
}

// fill makes the sample of a slot; the worker that does a batch's last one finishes the batch.
func (l *Loader) fill(ctx context.Context, f *filling, slot int, at func(place int) int, epoch int) {
	n := l.o.Pixels
	if ctx.Err() == nil {
		place := f.first + slot
		rng := rand.New(rand.NewPCG(l.o.Seed, uint64(epoch)<<32|uint64(place)))
		var err error
		if f.slots[slot], err = l.sample(ctx, f.Pixels[slot*n:(slot+1)*n], at, place, rng); err != nil {
			f.fail(slot, err)
		}
	}
	if f.left.Add(-1) == 0 && ctx.Err() == nil {
		if f.err != nil {
			close(f.done)
			return
		}
		f.finish(n)
	}
}

// sample makes the sample at a place of the order, or the next readable one after it.
func (l *Loader) sample(ctx context.Context, dst []float32, at func(place int) int, place int, rng *rand.Rand) (slot, error) {
	var last error
	for try := range l.order.places {
		i := at((place + try) % l.order.places)
		s, done, err := l.decoded(ctx, i)
		if err == nil {
			err = l.o.Transform(dst, s.img, rng)
			if done(); err == nil {
				return l.captioned(i, s.Sample, rng)
			}
		}
		if ctx.Err() != nil { // the sample is not to blame
			return slot{sample: -1}, ctx.Err()
		}
		if errors.As(err, new(*panicked)) { // a fault of the program, not of an image
			return slot{sample: -1}, err
		}
		key := l.key(i, s.Sample)
		if err := l.note(key, err); err != nil {
			return slot{sample: -1}, err
		}
		last = fmt.Errorf("%s: %w", key, err)
		if l.o.SkipBad {
			return slot{sample: -1}, nil
		}
	}
	return slot{sample: -1}, fmt.Errorf("data: none of the %d samples can be read, the last one: %w", l.order.places, last)
}

// captioned draws a sample's caption, after the augmentation, which is then the same with one
// caption and with five.
func (l *Loader) captioned(i int, s Sample, rng *rand.Rand) (out slot, err error) {
	out = slot{sample: i, texts: s.Texts}
	if l.o.DrawCaption && len(s.Texts) > 1 {
		out.caption = rng.IntN(len(s.Texts))
	}
	text := ""
	if len(s.Texts) > 0 {
		text = s.Texts[out.caption]
	}
	if l.o.Tokenize != nil {
		if out.tokens, err = tokenized(l.o.Tokenize, text); err != nil {
			return slot{sample: -1}, err
		}
	}
	out.image, out.text = id(s.ID), id(text)
	switch {
	case s.Class != "":
		out.image = id("class", s.Class)
		out.text = out.image
	case s.ID == "":
		out.image = id("sample", strconv.Itoa(i))
	}
	return out, nil
}

// tokenized runs a tokenizer, which may be the program's own: a panic in a Loader's goroutine would end
// the process.
func tokenized(tokenize func(text string) []int64, text string) (ids []int64, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("data: the tokenizer panicked%s on %q: %v", origin(), text, value)
		}
	}()
	return tokenize(text), nil
}
