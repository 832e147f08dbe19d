package main

import "context"

// partFiles are the files of one part while it is written. Those of a kind that the run does not make are nil.
type partFiles struct {
	run      *partRun
	number   int
	images   *npy
	texts    *npy
	meta     *metadataFile
	unread   *lines // nil before the first picture that cannot be read
	files    outputs
	row      int
	captions []string // of the last rows, not yet encoded
}

// write makes the files of one part. They have their names when it returns, the one that says that the part is complete
// last.
func (r *partRun) write(ctx context.Context, number int, in inputs, show *progress) error {
	if err := r.clear(number); err != nil {
		return err
	}
	f := &partFiles{run: r, number: number}
	if r.pictures {
		f.images = newNpy(r.fsys, r.path("img_emb", number), r.m.Config.EmbedDim)
		f.files = append(f.files, f.images)
	}
	if r.texts {
		f.texts = newNpy(r.fsys, r.path("text_emb", number), r.m.Config.EmbedDim)
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
	r, next := f.run, 0
	if !r.pictures {
		for i := range in.Len() {
			show.add(false)
			if err := f.add(ctx, picture{}, in.Captions(i)); err != nil {
				return err
			}
		}
		return nil
	}
	return eachPicture(ctx, r.m, pictures(in), r.batch, r.raw, func(p picture) error {
		captions := in.Captions(next)
		next++
		show.add(p.err != nil)
		if p.err == nil {
			return f.add(ctx, p, captions)
		}
		r.bad = true
		show.line(message(p.err))
		return f.note(p)
	})
}

// add writes the row of an input.
func (f *partFiles) add(ctx context.Context, p picture, captions []string) error {
	row := metadata{Row: int64(f.row), ImagePath: p.path, Width: int32(p.width), Height: int32(p.height)}
	if len(captions) > 0 {
		row.Caption = captions[0]
	}
	f.row++
	f.meta.add(row)
	if f.images != nil {
		f.images.row(p.row)
	}
	if f.texts != nil {
		if f.captions = append(f.captions, row.Caption); len(f.captions) == captionsAtOnce {
			if err := f.encodeCaptions(ctx); err != nil {
				return err
			}
		}
	}
	return f.failure()
}

// note lists a picture that cannot be read.
func (f *partFiles) note(p picture) error {
	if f.unread == nil {
		l := newLines(f.run.fsys, f.run.path("errors", f.number))
		f.unread = &l
		f.files = append(f.files, l)
	}
	f.unread.add(unreadable(p.path, p.err))
	return f.unread.failure()
}

// encodeCaptions writes the rows of the captions that wait.
func (f *partFiles) encodeCaptions(ctx context.Context) error {
	r := f.run
	if len(f.captions) == 0 {
		return nil
	}
	rows, err := textFeatures(ctx, r.m, f.captions, r.batch, r.raw, func(string) { r.cut++ })
	if err != nil {
		return err
	}
	width := r.m.Config.EmbedDim
	for i := range f.captions {
		f.texts.row(rows[i*width : (i+1)*width])
	}
	f.captions = f.captions[:0]
	return f.failure()
}

// failure is what went wrong with a file so far: a full disk must not be learned of at the end of a part.
func (f *partFiles) failure() error {
	for _, file := range f.files {
		if err := file.failure(); err != nil {
			return err
		}
	}
	return f.meta.failure()
}
