package data

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/goclip/goclip/clip/preprocess"
)

// pictures are the extensions of files that preprocess reads (open_clip looks for the first four), the one to
// take where a sample has several first.
var pictures = []string{"jpg", "png", "jpeg", "webp", "gif", "bmp", "tif", "tiff"}

// maxCaption bounds a text member, in bytes; the rest of a longer one is cut.
const maxCaption = 1 << 20

type tarSample struct {
	shard    int
	key      string
	at, size int64 // of the picture in the shard
	captions []string
}

type tars struct {
	shards  []shard
	samples []tarSample
	leftOut int
}

// shard is a tar file, or what a compressed one was unpacked to.
type shard struct {
	name string
	f    *os.File // nil: opened for each picture, because there may be more shards than files that may be open
}

// members says which members of a shard make a sample.
type members struct {
	images, texts []string // extensions, the one to prefer first
	jsonKey       string
	lines, each   bool
	bare          bool // without a caption it is a sample, too
}

func membersOf(o Options) members {
	list := func(keys string, other []string) []string {
		if keys == "" {
			return other
		}
		return strings.Split(strings.ToLower(keys), ";")
	}
	return members{list(o.TarImageKeys, pictures), list(o.TarTextKeys, nil), o.JSONTextKey, o.CaptionLines, o.CaptionEach, o.Uncaptioned}
}

// openTars indexes webdataset shards, several at a time. The members of a sample stand together and share the name up to
// the first dot; a sample without a picture or a caption is left out. A shard that ends too early is an error that names
// the place.
func openTars(ctx context.Context, files []string, o Options) (Index, error) {
	t := &tars{shards: make([]shard, len(files))}
	unpacking := cache{dir: o.Cache}
	type index struct {
		samples []tarSample
		leftOut int
		err     error
	}
	indices := make([]index, len(files))
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, name := range files {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			n := &indices[i]
			t.shards[i], n.samples, n.leftOut, n.err = openShard(name, &unpacking, membersOf(o))
		})
	}
	wg.Wait()
	for i, n := range indices {
		if n.err != nil {
			return nil, n.err
		}
		for _, s := range n.samples {
			s.shard = i
			t.samples = append(t.samples, s)
		}
		t.leftOut += n.leftOut
	}
	if len(t.samples) == 0 {
		m := membersOf(o)
		caption := "." + strings.Join(m.texts, " or .")
		if m.jsonKey != "" {
			caption = fmt.Sprintf(".json with %q", m.jsonKey)
		}
		wanted := " and a " + caption + " of the same name are"
		if m.bare {
			wanted = " is"
		}
		return nil, fmt.Errorf("data: %s holds no sample: a picture (.%s)%s wanted", strings.Join(files, ", "), strings.Join(m.images, ", ."), wanted)
	}
	return t, nil
}

func openShard(name string, c *cache, m members) (s shard, samples []tarSample, leftOut int, err error) {
	s.name = name
	f, err := os.Open(name)
	if err != nil {
		return s, nil, 0, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	archive := f
	if format := compression(f); format != "" {
		if s.f, err = c.unpack(f, format, func(out io.Writer) error { return decompress(out, f, format) }); err != nil {
			return s, nil, 0, err
		}
		archive = s.f
	}
	info, err := archive.Stat()
	if err != nil {
		return s, nil, 0, fmt.Errorf("data: %w", err)
	}
	if samples, leftOut, err = m.index(archive, info.Size()); err != nil {
		return s, nil, 0, fmt.Errorf("data: the shard %s is damaged: %w", name, err)
	}
	return s, samples, leftOut, nil
}

// index finds the samples of a tar of size bytes.
func (m *members) index(r io.ReaderAt, size int64) (samples []tarSample, leftOut int, err error) {
	var now tarSample
	seen := map[string]bool{} // extensions of the sample so far
	best := len(m.images)     // place in m.images of its picture
	flush := func() {
		switch {
		case best == len(m.images) || len(now.captions) == 0 && !m.bare:
			if len(seen) > 0 {
				leftOut++
			}
		case m.each && len(now.captions) > 0:
			for _, c := range now.captions {
				one := now
				one.captions = []string{c}
				samples = append(samples, one)
			}
		default:
			samples = append(samples, now)
		}
	}
	err = walkTar(r, size, func(h *tar.Header, at int64, content io.Reader) error {
		dir, base := path.Split(h.Name)
		stem, ext, _ := strings.Cut(base, ".")
		ext = strings.ToLower(ext)
		if key := dir + stem; key != now.key || seen[ext] {
			flush()
			now, best = tarSample{key: key}, len(m.images)
			clear(seen)
		}
		rank := slices.Index(m.images, ext)
		text := m.jsonKey == "" && slices.Contains(m.texts, ext)
		fromJSON := m.jsonKey != "" && ext == "json"
		if rank >= 0 || text || fromJSON {
			seen[ext] = true
		}
		switch {
		case rank >= 0 && rank < best:
			best, now.at, now.size = rank, at, h.Size
		case text && len(now.captions) == 0:
			b, err := readCaption(content)
			if err != nil {
				return err
			}
			now.captions = m.captions(b)
		case fromJSON:
			b, err := readCaption(content)
			if err != nil {
				return err
			}
			var object map[string]json.RawMessage
			if json.Unmarshal([]byte(b), &object) == nil {
				now.captions, _ = captionsOf(object[m.jsonKey]) // without a caption it is left out
			}
		}
		return nil
	})
	if err == nil {
		flush()
	}
	return samples, leftOut, err
}

func readCaption(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxCaption))
	return string(b), err
}

// captions of a text member.
func (m *members) captions(text string) []string {
	if !m.lines {
		return []string{text}
	}
	return captionLines(text)
}

// captionLines are the lines of a text that are not empty.
func captionLines(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// walkTar calls visit for each file of an archive with the place of its first byte.
func walkTar(r io.ReaderAt, size int64, visit func(h *tar.Header, at int64, content io.Reader) error) error {
	window := &window{r: r, size: size}
	archive := tar.NewReader(window)
	for n := 0; ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d members, at byte %d: %w", n, window.at, err)
		}
		n++
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if window.at+h.Size > size {
			return fmt.Errorf("%s ends too early, at byte %d", h.Name, size)
		}
		if err := visit(h, window.at, archive); err != nil {
			return fmt.Errorf("%s cannot be read at byte %d: %w", h.Name, window.at, err)
		}
	}
}

// window reads forward from a file in small pieces and seeks over what nobody wants: most of a shard is pictures, and an
// index needs the headers and captions alone.
type window struct {
	r        io.ReaderAt
	size, at int64
	buf      [8 << 10]byte
	from, to int64 // of what buf holds
}

func (w *window) Read(p []byte) (int, error) {
	if w.at >= w.size {
		return 0, io.EOF
	}
	if w.at < w.from || w.at >= w.to {
		n, err := w.r.ReadAt(w.buf[:min(int64(len(w.buf)), w.size-w.at)], w.at)
		if n == 0 {
			return 0, err
		}
		w.from, w.to = w.at, w.at+int64(n)
	}
	n := copy(p, w.buf[w.at-w.from:w.to-w.from])
	w.at += int64(n)
	return n, nil
}

// Seek is what archive/tar skips members by.
func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += w.at
	case io.SeekEnd:
		offset += w.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("a seek to byte %d", offset)
	}
	w.at = offset
	return offset, nil
}

func (t *tars) Len() int { return len(t.samples) }

func (t *tars) LeftOut() int { return t.leftOut }

func (t *tars) Key(i int) string { return t.shards[t.samples[i].shard].name + ":" + t.samples[i].key }

func (t *tars) Captions(i int) []string { return t.samples[i].captions }

func (t *tars) Sample(_ context.Context, i int) (Sample, error) {
	s, key := &t.samples[i], t.Key(i)
	image := preprocess.FromFunc("", func(context.Context) ([]byte, error) {
		b, err := t.shards[s.shard].read(s.at, s.size)
		if err != nil {
			return nil, fmt.Errorf("data: %s: %w", key, err)
		}
		return b, nil
	})
	return Sample{Image: image, Texts: s.captions, ID: key}, nil
}

// read is n bytes from at on.
func (s *shard) read(at, n int64) ([]byte, error) {
	if n > preprocess.DefaultLimits.MaxBytes {
		return nil, fmt.Errorf("a picture of %d bytes is more than the limit of %d", n, preprocess.DefaultLimits.MaxBytes)
	}
	f := s.f
	if f == nil {
		var err error
		if f, err = os.Open(s.name); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	b := make([]byte, n)
	_, err := f.ReadAt(b, at)
	return b, err
}
