// Package data reads images with captions and gives them as deterministic batches.
//
// A [Dataset] is what a program brings, or what [Open] makes of tables, shards and folders: an
// index of samples that is made up front. For a tar that is each member's offset, so that an epoch
// is one seeded permutation of all samples (better mixed than open_clip's shard and buffer
// shuffles, and indifferent to how many shards there are) and any batch of any epoch can be made
// again. What has no random access, a compressed shard or a Parquet file's images, is unpacked once
// (see Options.Cache). A [Loader] decodes ahead in goroutines; what it delivers depends on the seed
// alone, never on the number of workers or of processes. Nothing here touches libtorch.
package data

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/goclip/goclip/clip/preprocess"
)

// Sample is an image with its captions.
type Sample struct {
	Image preprocess.Source
	Texts []string // the captions, at least one to train on; a [Loader] does not change them
	// ID names the image, in messages and to a loss that knows equal images: samples of one ID have
	// the same image. "" says that no other sample has it.
	ID string
	// Class, where it is not "", says that every caption of the class fits each of its images: a
	// loss that knows equal images and captions takes those of a class as equal.
	Class string
}

// Dataset is a collection of samples. Its methods are called by many goroutines at once.
type Dataset interface {
	Len() int
	// Sample gives sample i of 0 to Len()-1, the same each time. It stops when ctx ends. Where Image is read only when it
	// is decoded (FromFile, FromFunc), a Loader that keeps decoded images reads it once.
	Sample(ctx context.Context, i int) (Sample, error)
}

// Index is a Dataset that knows the names and captions of its samples without making them, as those
// of [Open] do.
type Index interface {
	Dataset
	Key(i int) string        // names a sample in messages: a path as its table has it, or SHARD:KEY
	Captions(i int) []string // not to be changed
}

// compared is how many samples of a Dataset that is no Index tell it from another.
const compared = 64

// Fingerprint tells two data sets apart by their names and captions, in their order: a run that is
// resumed on other data than it began with would not continue itself. It does not look into the
// images. Of a Dataset that is not an [Index] it asks for a few samples spread over it.
func Fingerprint(ctx context.Context, set Dataset) (uint64, error) {
	h := fnv.New64a()
	add := func(key string, captions []string) {
		io.WriteString(h, key)
		for _, c := range captions {
			h.Write([]byte{0})
			io.WriteString(h, c)
		}
		h.Write([]byte{1})
	}
	n := set.Len()
	if index, ok := set.(Index); ok {
		for i := range n {
			if i%1024 == 0 && ctx.Err() != nil {
				return 0, ctx.Err()
			}
			add(index.Key(i), index.Captions(i))
		}
		return h.Sum64(), nil
	}
	add(strconv.Itoa(n), nil)
	for k := range min(n, compared) {
		s, err := ask(ctx, set, int(int64(k)*int64(n)/int64(min(n, compared))))
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if errors.As(err, new(*panicked)) {
			return 0, err
		}
		if err != nil { // a Loader takes another in its place
			continue
		}
		add(s.ID, s.Texts)
	}
	return h.Sum64(), nil
}

// panicked is what a Dataset's Sample did instead of returning.
type panicked struct {
	sample int
	value  any // nil: runtime.Goexit
	at     string
}

func (p *panicked) Error() string {
	if p.value == nil {
		return fmt.Sprintf("data: the Dataset's Sample(%d) ended its goroutine (runtime.Goexit) instead of returning", p.sample)
	}
	return fmt.Sprintf("data: the Dataset's Sample(%d) panicked%s: %v", p.sample, p.at, p.value)
}

// patience is how long a Sample may run when its context has ended.
const patience = 5 * time.Second

// ask is sample i of a Dataset. It runs in a goroutine of its own: a panic in a Loader's would end
// the process, runtime.Goexit would leave a batch waiting for ever, and so would a Sample that does
// not look at its context; that one is left behind.
func ask(ctx context.Context, set Dataset, i int) (Sample, error) {
	type answer struct {
		Sample
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		a := answer{err: &panicked{sample: i}}
		defer func() {
			if value := recover(); value != nil {
				a.err = &panicked{i, value, origin()}
			}
			answers <- a
		}()
		s, err := set.Sample(ctx, i)
		a = answer{s, err}
	}()
	select {
	case a := <-answers:
		return a.Sample, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answers:
		return a.Sample, a.err
	case <-time.After(patience):
		return Sample{}, ctx.Err()
	}
}

// origin is the line of the program that panics, in a deferred function.
func origin() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf(" at %s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return ""
		}
	}
}

// id is 64-bit FNV-1a: equal texts have equal ids on every machine, and among the 10^6 of a large
// batch two different ones share theirs with a chance of 3e-8.
func id(parts ...string) int64 {
	h := uint64(14695981039346656037)
	for _, part := range parts {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * 1099511628211
		}
		h *= 1099511628211 // a zero byte between the parts
	}
	return int64(h)
}
