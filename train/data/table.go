package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/goclip/goclip/clip/preprocess"
)

// table is images by their paths, with their captions: what a CSV, JSON Lines or Parquet file
// lists, or a directory.
type table struct {
	name     string // of the file
	dir      string // that paths may be relative to
	images   []string
	captions [][]string
	leftOut  int

	each, bare bool           // CaptionEach, Uncaptioned
	at         map[string]int // where each path stands in images, while the table is read
}

// openTable reads a table's file. An image's path is taken as open_clip takes it, from the working
// directory, and if there is no such file, from the table's own directory.
func openTable(ctx context.Context, name string, o Options, read func(ctx context.Context, in *text, t *table, o Options) error) (Index, error) {
	f, size, err := preprocess.OpenRegular(name)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	t := newTable(name, o)
	in, err := newText(io.NewSectionReader(f, 0, size), o.Encoding)
	if err == nil {
		err = read(ctx, in, t, o)
	}
	if err != nil {
		return nil, within("data: "+name, err)
	}
	t.at = nil
	if len(t.images) == 0 {
		return nil, fmt.Errorf("data: %s: no row has %s", name, o.sample())
	}
	return t, nil
}

func newTable(name string, o Options) *table {
	return &table{name: name, dir: filepath.Dir(name), each: o.CaptionEach, bare: o.Uncaptioned, at: map[string]int{}}
}

// add takes a row. Rows of the same path are one image with several captions, unless every
// caption is to be a sample.
func (t *table) add(image string, captions ...string) {
	switch at, known := t.at[image]; {
	case image == "" || len(captions) == 0 && !t.bare:
		t.leftOut++
	case t.each && len(captions) > 0:
		for _, c := range captions {
			t.images, t.captions = append(t.images, image), append(t.captions, []string{c})
		}
	case known:
		t.captions[at] = append(t.captions[at], captions...)
	default:
		t.at[image] = len(t.images)
		t.images, t.captions = append(t.images, image), append(t.captions, captions)
	}
}

func (t *table) Len() int { return len(t.images) }

func (t *table) LeftOut() int { return t.leftOut }

func (t *table) Key(i int) string { return t.images[i] }

func (t *table) Captions(i int) []string { return t.captions[i] }

// Sample i. Its ID is the path from the working directory, or from the table's.
func (t *table) Sample(_ context.Context, i int) (Sample, error) {
	name := t.images[i]
	image := preprocess.FromFunc("", func(ctx context.Context) ([]byte, error) { return readImage(ctx, t.dir, name) })
	s := Sample{Image: image, Texts: t.captions[i], ID: filepath.Clean(name)}
	if !filepath.IsAbs(name) {
		s.ID = filepath.Join(t.dir, name)
	}
	return s, nil
}

// readImage reads a file by its path from the working directory, or from dir.
func readImage(ctx context.Context, dir, name string) ([]byte, error) {
	b, err := preprocess.FromFile(name).Bytes(ctx, preprocess.DefaultLimits)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(name) {
		return preprocess.FromFile(filepath.Join(dir, name)).Bytes(ctx, preprocess.DefaultLimits)
	}
	return b, err
}
