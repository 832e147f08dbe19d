package data

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// pictures are the members' extensions that hold a picture (open_clip --image-key, and what preprocess reads besides).
var pictures = map[string]bool{"jpg": true, "jpeg": true, "png": true, "webp": true, "gif": true, "bmp": true, "tif": true, "tiff": true}

type tarSample struct {
	shard        int
	key          string
	image, size  int64
	caption      string
	hasImg, hasT bool
}

type tars struct {
	files   []string
	samples []tarSample
}

// OpenTars indexes webdataset shards: spec may hold {00000..00012}, shell globs and `::` between parts. The members of a
// sample stand together and share the name up to the first dot; a sample without a picture or a .txt is left out. A
// shard that ends too early is an error that names the place.
func OpenTars(spec string) (Dataset, error) {
	files, err := expand(spec)
	if err != nil {
		return nil, err
	}
	t := &tars{files: files}
	for i, name := range files {
		if err := t.index(i, name); err != nil {
			return nil, err
		}
	}
	if len(t.samples) == 0 {
		return nil, fmt.Errorf("data: %s holds no sample: a picture and a .txt of the same name are wanted", spec)
	}
	return t, nil
}

func (t *tars) index(shard int, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	samples, err := indexTar(f)
	for _, s := range samples {
		s.shard = shard
		t.samples = append(t.samples, s)
	}
	if err != nil {
		return fmt.Errorf("data: the shard %s is damaged: %w", name, err)
	}
	return nil
}

// counter knows how far into the archive the reader is.
type counter struct {
	r   *bufio.Reader
	off int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.off += int64(n)
	return n, err
}

const maxCaption = 1 << 20

func indexTar(r io.Reader) ([]tarSample, error) {
	c := &counter{r: bufio.NewReaderSize(r, 1<<20)}
	archive := tar.NewReader(c)
	var samples []tarSample
	var now tarSample
	flush := func() {
		if now.hasImg && now.hasT {
			samples = append(samples, now)
		}
	}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			flush()
			return samples, nil
		}
		if err != nil {
			return samples, fmt.Errorf("after %d samples, at byte %d: %w", len(samples), c.off, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		dir, base := path.Split(h.Name)
		stem, ext, _ := strings.Cut(base, ".")
		if key := dir + stem; key != now.key {
			flush()
			now = tarSample{key: key}
		}
		at := c.off
		switch ext = strings.ToLower(ext); {
		case pictures[ext]:
			now.image, now.size, now.hasImg = at, h.Size, true
			if _, err := io.Copy(io.Discard, archive); err != nil {
				return samples, fmt.Errorf("%s ends too early, at byte %d: %w", h.Name, c.off, err)
			}
		case ext == "txt":
			text, err := io.ReadAll(io.LimitReader(archive, maxCaption))
			if err != nil {
				return samples, fmt.Errorf("%s ends too early, at byte %d: %w", h.Name, c.off, err)
			}
			now.caption, now.hasT = string(text), true
		}
	}
}

func (t *tars) Len() int { return len(t.samples) }

func (t *tars) Key(i int) string { return t.files[t.samples[i].shard] + ":" + t.samples[i].key }

func (t *tars) Caption(i int) string { return t.samples[i].caption }

func (t *tars) Image(i int) ([]byte, error) {
	s := t.samples[i]
	b, err := file(t.files[s.shard], s.image, s.size)
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", t.Key(i), err)
	}
	return b, nil
}
