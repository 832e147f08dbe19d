package data

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/goclip/goclip/clip/preprocess"
)

// LoaderOptions say what batches a [Loader] makes.
type LoaderOptions struct {
	BatchSize   int // images of a batch of this process
	Rank, World int // this process among those that share the data; World 0 is 1
	Workers     int // decoding goroutines; 0 is 1
	Seed        uint64
	Shuffle     bool // a new permutation each epoch
	DropLast    bool // leave out the last batch when it is short
	SkipBad     bool // leave out an unreadable sample instead of taking the next one in its place
	DrawCaption bool // of an image's captions draw one by the seed, instead of taking the first

	NumSamples        int       // of an epoch, of all processes; 0: as many as there are
	Resampled         bool      // draw with replacement
	Parts             []int     // samples of each source; nil: Sources.Parts, or one source
	UpsamplingFactors []float64 // of each source, when Resampled; nil: 1

	Pixels    int // floats of an image, 3*R*R
	Limits    preprocess.Limits
	Transform func(dst []float32, img *preprocess.Image, rng *rand.Rand) error
	Tokenize  func(text string) []int64 // nil without captions
	CacheSize int64                     // bytes of decoded images to keep for later epochs
}

// Batch is BatchSize samples, the last of an epoch perhaps fewer, and with LoaderOptions.SkipBad
// any of them, down to none.
type Batch struct {
	Index    int // in the epoch
	N        int
	Samples  []int      // (N), places in the Dataset
	Texts    [][]string // (N), all captions of each sample
	Captions []int      // (N), which of each sample's captions Tokens has
	Pixels   []float32  // (N, 3, R, R)
	Tokens   []int64    // (N, L)
	ImageIDs []int64    // (N), equal for samples of one ID, or of one Class
	TextIDs  []int64    // (N), equal for the same caption, or for samples of one Class
	Wait     time.Duration
}

// Bad is a sample that could not be read.
type Bad struct {
	Key string
	Err error
}

// Loader makes batches of a Dataset. An unreadable sample is replaced by the one after it, or left
// out, and listed in Bad.
//
// Batch b of an epoch is places b*BatchSize*World on of the epoch's order, of which process Rank
// has its BatchSize. All that is random about a sample depends on the seed, the epoch and the
// place, so World processes see together exactly what one with a batch World times as large sees.
type Loader struct {
	set     Dataset
	o       LoaderOptions
	order   order
	mu      sync.Mutex
	cache   map[int]cached
	held    int64 // bytes of the cache's images
	bad     []Bad
	badSeen map[string]bool
	room    *room
}

// NewLoader checks that the data makes at least one batch.
func NewLoader(set Dataset, options *LoaderOptions) (*Loader, error) {
	var o LoaderOptions
	if options != nil {
		o = *options
	}
	o.Workers, o.World = max(o.Workers, 1), max(o.World, 1)
	switch {
	case o.Rank < 0 || o.Rank >= o.World:
		return nil, fmt.Errorf("data: rank %d: must be below %d", o.Rank, o.World)
	case o.BatchSize < 1:
		return nil, fmt.Errorf("data: BatchSize %d: must be at least 1", o.BatchSize)
	case o.Transform == nil:
		return nil, errors.New("data: Transform is nil: it must make an image's pixels")
	case set == nil:
		return nil, errors.New("data: the Dataset is nil")
	case set.Len() < 0 || set.Len() > math.MaxUint32: // an order's numbers are uint32
		return nil, fmt.Errorf("data: the Dataset's Len is %d: must be between 0 and %d", set.Len(), math.MaxUint32)
	case set.Len() == 0:
		return nil, errors.New("data: there are no samples")
	}
	if joined, ok := set.(interface{ Parts() []int }); ok && o.Parts == nil {
		o.Parts = joined.Parts()
	}
	l := &Loader{set: set, o: o, cache: map[int]cached{}, badSeen: map[string]bool{}, room: newRoom(usualImage, largeImages)}
	var err error
	if l.order, err = newOrder(set.Len(), o); err != nil {
		return nil, err
	}
	if l.Batches() == 0 {
		err := fmt.Errorf("data: %d samples make no batch of %d", l.order.places, o.BatchSize*o.World)
		return nil, &OptionError{"BatchSize", err, "give a smaller %s"}
	}
	return l, nil
}

// Len returns the number of samples of the data.
func (l *Loader) Len() int { return l.set.Len() }

// Batches returns the number of batches of an epoch, the same for each process.
func (l *Loader) Batches() int {
	all := l.o.BatchSize * l.o.World
	n := l.order.places / all
	if !l.o.DropLast && l.order.places%all != 0 {
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

// Forget drops the decoded images that were kept, and keeps no more.
func (l *Loader) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.cache)
	l.held, l.o.CacheSize = 0, 0
}

// prefetch is how many batches are made ahead of the one in use. Workers share the samples of one
// batch, so two suffice: one is finished while the other is begun.
const prefetch = 2

// Epoch yields the batches of an epoch from the batch from on, in order. Workers run ahead by a few
// batches and stop when the loop over Epoch ends, for whatever reason. A batch's memory is used
// again after the loop's body.
func (l *Loader) Epoch(ctx context.Context, epoch, from int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		at := l.order.epoch(epoch)
		ctx, cancel := context.WithCancel(ctx)
		free := make(chan *filling, prefetch+1)
		for range prefetch + 1 {
			free <- &filling{}
		}
		queue := make(chan *filling, prefetch+1) // in order
		var planning, workers errgroup.Group
		workers.SetLimit(l.o.Workers)
		planning.Go(func() error {
			defer close(queue)
			l.plan(ctx, from, free, queue, func(f *filling, slot int) {
				workers.Go(func() error { // waits for a free worker
					l.fill(ctx, f, slot, at, epoch)
					return nil // f keeps what went wrong, because the lowest slot's error counts and not the first
				})
			})
			return nil
		})
		defer func() {
			cancel()
			_ = planning.Wait()
			_ = workers.Wait()
		}()
		for {
			began := time.Now()
			f, more := <-queue
			if !more {
				break
			}
			select {
			case <-f.done:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				break
			}
			if f.err != nil {
				yield(nil, f.err)
				return
			}
			f.Wait = time.Since(began)
			if !yield(&f.Batch, nil) {
				return
			}
			free <- f
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// plan hands out the samples of the batches, in order, to whichever worker is free.
func (l *Loader) plan(ctx context.Context, from int, free <-chan *filling, queue chan<- *filling, fill func(f *filling, slot int)) {
	for b := from; b < l.Batches(); b++ {
		var f *filling
		select {
		case f = <-free:
		case <-ctx.Done():
			return
		}
		first := b*l.o.BatchSize*l.o.World + l.o.Rank*l.o.BatchSize
		f.begin(b, first, max(min(l.o.BatchSize, l.order.places-first), 0), l.o.Pixels)
		queue <- f // never blocks: there are as many places as batches
		for slot := range len(f.slots) {
			if ctx.Err() != nil {
				return
			}
			fill(f, slot)
		}
	}
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

// cached is a sample whose image has been decoded.
type cached struct {
	Sample
	img *preprocess.Image
}

// decoded is sample i, from the cache when it is there. done is called when its image has been used.
func (l *Loader) decoded(ctx context.Context, i int) (s cached, done func(), err error) {
	done = func() {}
	l.mu.Lock()
	s = l.cache[i]
	l.mu.Unlock()
	if s.img != nil {
		return s, done, nil
	}
	if s.Sample, err = ask(ctx, l.set, i); err != nil {
		return s, done, err
	}
	if len(s.Texts) == 0 && l.o.Tokenize != nil {
		return s, done, errors.New("data: it has no caption")
	}
	again := func() (preprocess.Source, error) { // a source may be read once
		s, err := ask(ctx, l.set, i)
		return s.Image, err
	}
	if s.img, done, err = l.room.decode(ctx, s.Image, again, l.o.Limits); err != nil {
		return s, done, err
	}
	s.Image = preprocess.Source{} // a file's bytes need not be kept
	l.mu.Lock()
	defer l.mu.Unlock()
	if size := int64(len(s.img.Pix)); l.cache[i].img == nil && l.held+size <= l.o.CacheSize {
		l.cache[i] = s
		l.held += size
	}
	return s, done, nil
}

// key names sample i in messages.
func (l *Loader) key(i int, s Sample) string {
	if named, ok := l.set.(interface{ Key(i int) string }); ok {
		return named.Key(i)
	}
	if s.ID != "" {
		return s.ID
	}
	return fmt.Sprintf("sample %d", i)
}
