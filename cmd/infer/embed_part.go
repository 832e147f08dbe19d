package main

import (
	"context"
	"errors"
	"slices"

	"github.com/goclip/goclip/clip"
)

// partFiles are the files of one part while it is written. Those of a kind that the run does not
// make are nil.
type partFiles struct {
	run      *partRun
	number   int
	images   *npy
	texts    *npy
	meta     *metadataFile
	unread   *lines // nil before the first image that cannot be read
	files    outputs
	row      int
	captions []string // of the last rows, not yet encoded
}

// write makes the files of one part. They have their names when it returns, the one that says that
// the part is complete last.
func (r *partRun) write(ctx context.Context, number int, in inputs, show *progress) error {
	if err := r.clear(number); err != nil {
		return err
	}
	f := &partFiles{run: r, number: number}
	if r.pictures {
		f.images = newNpy(r.fsys, r.path("img_emb", number), r.m.Dim())
		f.files = append(f.files, f.images)
	}
	if r.texts {
		f.texts = newNpy(r.fsys, r.path("text_emb", number), r.m.Dim())
		f.files = append(f.files, f.texts)
	}
	f.meta = newMetadata(r.fsys, r.path("metadata", number))
	defer func() { f.files.discard(); f.meta.discard() }()
	if err := f.fill(ctx, in, show); err != nil {
		return err
	}
	if err := f.encodeCaptions(ctx); err != nil {
		return err
	}
	if err := f.files.commit(); err != nil {
		return err
	}
	return outputs{f.meta}.commit()
}

func (f *partFiles) fill(ctx context.Context, in inputs, show *progress) error {
	r := f.run
	if !r.pictures {
		for i := range in.Len() {
			show.add(false)
			if err := f.add(ctx, metadata{}, in.Captions(i), nil); err != nil {
				return err
			}
		}
		return nil
	}
	var about metadata
	e := clip.Encoder{Model: r.m, BatchSize: r.batch, Raw: r.raw, Orient: r.orient,
		Sized: func(_, width, height int) { about.Width, about.Height = int32(width), int32(height) }}
	i := 0
	for row, err := range e.Images(ctx, imagesOf(in)) {
		if err != nil && !errors.As(err, new(*clip.ImageError)) {
			return err
		}
		about.ImagePath = in.Key(i)
		show.add(err != nil)
		if err == nil {
			err = f.add(ctx, about, in.Captions(i), row)
		} else {
			r.bad = true
			show.line(message(err))
			err = f.note(about.ImagePath, err)
		}
		if err != nil {
			return err
		}
		i++
	}
	return nil
}

// add writes the row of an input; image is nil where it is a text.
func (f *partFiles) add(ctx context.Context, about metadata, captions []string, image []float32) error {
	about.Row = int64(f.row)
	if len(captions) > 0 {
		about.Caption = captions[0]
	}
	f.row++
	f.meta.add(about)
	if f.images != nil {
		f.images.row(image)
	}
	if f.texts != nil {
		if f.captions = append(f.captions, about.Caption); len(f.captions) == captionsAtOnce {
			if err := f.encodeCaptions(ctx); err != nil {
				return err
			}
		}
	}
	return f.failure()
}

// note lists an image that cannot be read.
func (f *partFiles) note(path string, reason error) error {
	if f.unread == nil {
		l := newLines(f.run.fsys, f.run.path("errors", f.number))
		f.unread = &l
		f.files = append(f.files, l)
	}
	f.unread.add(unreadable(path, reason))
	return f.unread.failure()
}

// encodeCaptions writes the rows of the captions that wait.
func (f *partFiles) encodeCaptions(ctx context.Context) error {
	r := f.run
	e := clip.Encoder{Model: r.m, BatchSize: r.batch, Raw: r.raw, Cut: func(int, string) { r.cut++ }}
	for row, err := range e.Texts(ctx, slices.Values(f.captions)) {
		if err != nil {
			return err
		}
		f.texts.row(row)
	}
	f.captions = f.captions[:0]
	return f.failure()
}

// failure is what went wrong with a file so far: a full disk must not be learned of at the end of a
// part.
func (f *partFiles) failure() error {
	for _, file := range f.files {
		if err := file.failure(); err != nil {
			return err
		}
	}
	return f.meta.failure()
}
