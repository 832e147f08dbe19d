package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/goclip/goclip/clip/preprocess"
)

// images are the extensions of files that preprocess reads (open_clip looks for the first four),
// the one to take where a sample has several first.
var imageExtensions = []string{"jpg", "png", "jpeg", "webp", "gif", "bmp", "tif", "tiff"}

type tarSample struct {
	shard    int
	key      string
	at, size int64 // of the image in the shard
	captions []string
}

type tars struct {
	shards  []shard
	samples []tarSample
	leftOut int
}

// shard is a tar file, or what a compressed one was unpacked to.
type shard struct {
	name, path string   // of the source, and of what is read
	f          *os.File // nil: opened for each image, because there may be more shards than files that may be open
}

// maxHeld is how many unpacked shards stay open, so that a run keeps them whatever becomes of the cache.
const maxHeld = 256

// release closes an unpacked shard's file.
func (s *shard) release() {
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
}

// openTars indexes webdataset shards, several at a time. A shard that ends too early is an error
// that names the place.
func openTars(ctx context.Context, files []string, o Options) (Index, error) {
	t := &tars{shards: make([]shard, len(files))}
	unpacking, m := cache{dir: o.Cache}, membersOf(o)
	found := make([]found, len(files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range files {
		group.Go(func() (err error) {
			if remote(name) {
				t.shards[i], found[i], err = openStream(ctx, name, &unpacking, m, o)
			} else {
				t.shards[i], found[i], err = openShard(ctx, name, &unpacking, m)
			}
			if i >= maxHeld || err != nil {
				t.shards[i].release()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.release()
		return nil, err
	}
	for i, n := range found {
		for _, s := range n.samples {
			s.shard = i
			t.samples = append(t.samples, s)
		}
		t.leftOut += n.leftOut
	}
	if len(t.samples) == 0 {
		t.release()
		return nil, m.none(strings.Join(files, ", "), found)
	}
	return t, nil
}

func (t *tars) release() {
	for i := range t.shards {
		t.shards[i].release()
	}
}

// none says what is missing where no shard has a sample.
func (m *members) none(files string, all []found) error {
	endings := map[string]int{}
	for _, n := range all {
		if n.foreign != nil {
			return within("data: "+files, n.foreign)
		}
		for ending, count := range n.endings {
			endings[ending] += count
		}
	}
	caption := "." + strings.Join(m.texts, " or .")
	if m.jsonKey != "" {
		caption = fmt.Sprintf(".json with %q", m.jsonKey)
	}
	sample := "an image (." + strings.Join(m.images, ", .") + ")"
	if !m.bare {
		sample += " and a " + caption + " of the same name"
	}
	err := fmt.Sprintf("data: %s holds no sample; a sample is %s", files, sample)
	if len(endings) > 0 {
		most := slices.SortedFunc(maps.Keys(endings), func(a, b string) int {
			return cmp.Or(cmp.Compare(endings[b], endings[a]), cmp.Compare(a, b))
		})
		err += ", one after the other; its members end in " + strings.Join(most[:min(len(most), 6)], ", ")
	}
	return errors.New(err)
}

func openShard(ctx context.Context, name string, c *cache, m *members) (s shard, n found, err error) {
	s.name, s.path = name, name
	f, size, err := preprocess.OpenRegular(name)
	if err != nil {
		return s, n, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	archive := f
	if format := compression(f); format != "" {
		if s.f, err = c.unpack(ctx, f, format, func(out io.Writer) error { return decompress(out, f, format) }); err != nil {
			return s, n, err
		}
		archive, s.path = s.f, s.f.Name()
		info, err := archive.Stat()
		if err != nil {
			return s, n, fmt.Errorf("data: %w", err)
		}
		size = info.Size()
	}
	n, err = m.indexShard(ctx, name, archive, size)
	return s, n, err
}

// openStream indexes a shard that is a stream. It is fetched once, into the cache, for the reasons
// that cache gives.
func openStream(ctx context.Context, name string, c *cache, m *members, o Options) (s shard, n found, err error) {
	s.name = name
	open, err := openerOf(name)
	if err != nil {
		return s, n, err
	}
	if s.f, err = c.fetch(ctx, name, open, o); err != nil {
		return s, n, err
	}
	s.path = s.f.Name()
	info, err := s.f.Stat()
	if err != nil {
		return s, n, fmt.Errorf("data: %w", err)
	}
	n, err = m.indexShard(ctx, name, s.f, info.Size())
	return s, n, err
}

func (m *members) indexShard(ctx context.Context, name string, archive io.ReaderAt, size int64) (found, error) {
	n, err := m.index(ctx, archive, size)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("data: the shard %s is damaged: %w", name, err)
	}
	return n, err
}

func (t *tars) Len() int { return len(t.samples) }

func (t *tars) LeftOut() int { return t.leftOut }

func (t *tars) Key(i int) string { return t.shards[t.samples[i].shard].name + ":" + t.samples[i].key }

func (t *tars) Captions(i int) []string { return t.samples[i].captions }

func (t *tars) Sample(_ context.Context, i int) (Sample, error) {
	s, key := &t.samples[i], t.Key(i)
	image := preprocess.FromFunc("", func(ctx context.Context) ([]byte, error) {
		b, err := t.shards[s.shard].read(ctx, s.at, s.size)
		if err != nil {
			return nil, fmt.Errorf("data: %s: %w", key, err)
		}
		return b, nil
	})
	return Sample{Image: image, Texts: s.captions, ID: key}, nil
}

// piece is read between two looks at the context.
const piece = 4 << 20

// read is n bytes from at on.
func (s *shard) read(ctx context.Context, at, n int64) ([]byte, error) {
	if n > preprocess.DefaultLimits.MaxBytes {
		return nil, fmt.Errorf("an image of %d bytes is more than the limit of %d", n, preprocess.DefaultLimits.MaxBytes)
	}
	f := s.f
	if f == nil {
		var err error
		if f, _, err = preprocess.OpenRegular(s.path); err != nil {
			return nil, err
		}
		defer f.Close()
		if s.path != s.name {
			inUse(f)
		}
	}
	b := make([]byte, n)
	for rest := b; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := f.ReadAt(rest[:min(len(rest), piece)], at)
		if err != nil {
			return nil, err
		}
		rest, at = rest[m:], at+int64(m)
	}
	return b, nil
}
