package data

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/goclip/goclip/clip/preprocess"
)

// Options of a [Loader].
type Options struct {
	BatchSize int
	Workers   int // decoding goroutines, at least 1
	Seed      uint64
	Shuffle   bool // a new permutation each epoch
	DropLast  bool // leave out the last batch when it is short
	SkipBad   bool // leave out an unreadable sample instead of taking the next one in its place
	Pixels    int  // floats of a picture, 3*R*R
	Transform func(dst []float32, img *preprocess.Image, rng *rand.Rand) error
	Tokenize  func(text string) []int64 // nil where captions are not wanted
	CacheSize int64                     // bytes of decoded pictures to keep for later epochs
}

// Batch is BatchSize samples, the last of an epoch perhaps fewer, and with Options.SkipBad any of them, down to none.
type Batch struct {
	Index   int // in the epoch
	N       int
	Samples []int     // (N), places in the Dataset
	Pixels  []float32 // (N, 3, R, R)
	Tokens  []int64   // (N, L)
	Wait    time.Duration
}

// Bad is a sample that could not be read.
type Bad struct {
	Key string
	Err error
}

// Loader makes batches of a Dataset. An unreadable sample is replaced by the one after it, or left out, and listed in
// Bad.
type Loader struct {
	set     Dataset
	o       Options
	mu      sync.Mutex
	cache   map[int]*preprocess.Image
	cached  int64
	bad     []Bad
	badSeen map[string]bool
}

// NewLoader checks that the data makes at least one batch.
func NewLoader(set Dataset, o Options) (*Loader, error) {
	l := &Loader{set: set, o: o, cache: map[int]*preprocess.Image{}, badSeen: map[string]bool{}}
	if l.o.Workers < 1 {
		l.o.Workers = 1
	}
	if l.Batches() == 0 {
		return nil, fmt.Errorf("data: %d samples make no batch of %d; give a smaller --batch-size", set.Len(), o.BatchSize)
	}
	return l, nil
}

// Len is the number of samples.
func (l *Loader) Len() int { return l.set.Len() }

// Batches is the number of batches of an epoch.
func (l *Loader) Batches() int {
	n := l.set.Len() / l.o.BatchSize
	if !l.o.DropLast && l.set.Len()%l.o.BatchSize != 0 {
		n++
	}
	return n
}

// Bad lists the samples that could not be read so far.
func (l *Loader) Bad() []Bad {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Bad(nil), l.bad...)
}

func (l *Loader) order(epoch int) []int {
	if l.o.Shuffle {
		return rand.New(rand.NewPCG(l.o.Seed, uint64(epoch))).Perm(l.set.Len())
	}
	order := make([]int, l.set.Len())
	for i := range order {
		order[i] = i
	}
	return order
}

// Epoch yields the batches of an epoch from the batch from on, in order. Workers run a few batches ahead and stop when
// the loop over Epoch ends, for whatever reason. A batch's memory is reused after the loop's body.
func (l *Loader) Epoch(ctx context.Context, epoch, from int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		order := l.order(epoch)
		ctx, cancel := context.WithCancel(ctx)
		var workers sync.WaitGroup
		defer workers.Wait()
		defer cancel()

		type slot struct {
			batch *Batch
			err   error
		}
		ahead := l.o.Workers + 1
		free := make(chan *Batch, ahead)
		for range ahead {
			free <- &Batch{}
		}
		queue := make(chan chan slot, ahead) // in order; each batch arrives in its own channel
		workers.Go(func() {
			defer close(queue)
			for b := from; b < l.Batches(); b++ {
				var memory *Batch
				select {
				case memory = <-free:
				case <-ctx.Done():
					return
				}
				done := make(chan slot, 1)
				queue <- done // never blocks: there are as many places as batches in flight
				workers.Go(func() {
					batch, err := memory, l.fill(ctx, memory, order, epoch, b)
					done <- slot{batch, err}
				})
			}
		})
		for done := range queue {
			began := time.Now()
			s := <-done
			if s.err == nil {
				s.err = ctx.Err()
			}
			s.batch.Wait = time.Since(began)
			if !yield(s.batch, s.err) || s.err != nil {
				return
			}
			free <- s.batch
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// fill makes the b-th batch of an epoch.
func (l *Loader) fill(ctx context.Context, batch *Batch, order []int, epoch, b int) error {
	first := b * l.o.BatchSize
	last := min(first+l.o.BatchSize, len(order))
	if size := (last - first) * l.o.Pixels; cap(batch.Pixels) < size {
		batch.Pixels = make([]float32, size)
	}
	batch.Index, batch.N, batch.Samples, batch.Tokens = b, 0, batch.Samples[:0], batch.Tokens[:0]
	batch.Pixels = batch.Pixels[:(last-first)*l.o.Pixels]
	for place := first; place < last; place++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		rng := rand.New(rand.NewPCG(l.o.Seed, uint64(epoch)<<32|uint64(place)))
		sample, err := l.one(batch.Pixels[batch.N*l.o.Pixels:(batch.N+1)*l.o.Pixels], order, place, rng)
		if err != nil {
			return err
		}
		if sample < 0 {
			continue
		}
		batch.N++
		batch.Samples = append(batch.Samples, sample)
		if l.o.Tokenize != nil {
			batch.Tokens = append(batch.Tokens, l.o.Tokenize(l.set.Caption(sample))...)
		}
	}
	batch.Pixels = batch.Pixels[:batch.N*l.o.Pixels]
	return nil
}

// one makes the sample at a place of the order, or the next readable one after it, and returns which it was; -1 is one
// that was left out.
func (l *Loader) one(dst []float32, order []int, place int, rng *rand.Rand) (int, error) {
	for try := range len(order) {
		i := order[(place+try)%len(order)]
		img, err := l.decoded(i)
		if err == nil {
			if err = l.o.Transform(dst, img, rng); err == nil {
				return i, nil
			}
		}
		if err := l.note(l.set.Key(i), err); err != nil {
			return -1, err
		}
		if l.o.SkipBad {
			return -1, nil
		}
	}
	return -1, fmt.Errorf("data: none of the %d samples can be read", len(order))
}

// note lists a bad sample, and gives up when there are too many.
func (l *Loader) note(key string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.badSeen[key] {
		return nil
	}
	l.badSeen[key] = true
	l.bad = append(l.bad, Bad{key, err})
	if limit := max(10, l.set.Len()/10); len(l.bad) > limit {
		return fmt.Errorf("data: more than %d samples cannot be read, the last one: %s: %w", limit, key, err)
	}
	return nil
}

// decoded is a sample's picture, from the cache when it is there.
func (l *Loader) decoded(i int) (*preprocess.Image, error) {
	l.mu.Lock()
	img := l.cache[i]
	l.mu.Unlock()
	if img != nil {
		return img, nil
	}
	b, err := l.set.Image(i)
	if err != nil {
		return nil, err
	}
	if img, err = preprocess.Decode(b, preprocess.DefaultLimits); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if size := int64(len(img.Pix)); l.cached+size <= l.o.CacheSize {
		l.cache[i] = img
		l.cached += size
	}
	return img, nil
}
