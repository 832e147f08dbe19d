package preprocess

import (
	"context"
	"fmt"
	"image"
	"io"
)

// Source is an image that has not been decoded yet: a file, its bytes, or an [image.Image]. It may
// be read in any goroutine and, but for that of [FromReader], any number of times. The zero value
// is no image and gives ErrEmpty.
type Source struct {
	name  string // of the file, for errors
	read  func(ctx context.Context, lim Limits) ([]byte, error)
	image image.Image // in place of read
}

// FromFile returns the image file at path. Errors name the path; a missing file matches fs.ErrNotExist.
func FromFile(path string) Source {
	return Source{name: path, read: func(ctx context.Context, lim Limits) ([]byte, error) { return ReadFile(ctx, path, lim) }}
}

// FromBytes returns the content of an image file. data must not be changed while the source is in use.
func FromBytes(data []byte) Source {
	return Source{read: func(context.Context, Limits) ([]byte, error) { return data, nil }}
}

// FromReader returns an image file that is read to its end, such as a request's body. It can be read
// once, and no further than the limit of the file's length. When ctx ends during a Read, that Read
// is left to end on its own.
func FromReader(r io.Reader) Source {
	if r == nil {
		return Source{}
	}
	return Source{read: func(ctx context.Context, lim Limits) ([]byte, error) {
		type content struct {
			data []byte
			err  error
		}
		read := make(chan content, 1)
		go func() {
			var c content
			defer func() {
				if thrown := recover(); thrown != nil {
					c = content{err: fmt.Errorf("its %T panicked: %v", r, thrown)}
				}
				read <- c
			}()
			c.data, c.err = io.ReadAll(io.LimitReader(r, lim.maxBytes()+1)) // one byte more: decoding refuses it
		}()
		select {
		case c := <-read:
			if c.err != nil {
				return nil, fmt.Errorf("preprocess: the image could not be read: %w", c.err)
			}
			return c.data, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
}

// FromFunc returns an image file that read gives when it is needed: a member of an archive, an object in
// a store. read should stop when ctx ends. name stands in errors of the decoder; it may be empty.
func FromFunc(name string, read func(ctx context.Context) ([]byte, error)) Source {
	return Source{name: name, read: func(ctx context.Context, _ Limits) ([]byte, error) { return read(ctx) }}
}

// FromImage returns an image that Go has decoded or drawn. For a JPEG, FromBytes gives the pixels that
// models are trained on; Go's own decoder gives slightly different ones.
func FromImage(img image.Image) Source { return Source{image: img} }

// Bytes returns the content of the image file, whose length is at most lim's. An image that was given
// decoded has none: the error matches ErrUnsupported.
func (s Source) Bytes(ctx context.Context, lim Limits) (data []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch {
	case s.image != nil:
		return nil, fail(ErrUnsupported, "the image was given decoded: there is no file of it")
	case s.read == nil:
		return nil, fail(ErrEmpty, "no image was given")
	}
	defer func() {
		if thrown := recover(); thrown != nil {
			data, err = nil, named(fail(ErrCorrupt, "reading it panicked: %v", thrown), s.name)
		}
	}()
	data, err = s.read(ctx, lim)
	if err == nil && int64(len(data)) > lim.maxBytes() {
		err = named(tooLong(int64(len(data)), lim), s.name)
	}
	return data, err
}

// Decode returns the image in the mode of its file.
func (s Source) Decode(ctx context.Context, lim Limits) (*Image, error) {
	if s.image != nil {
		return s.fromImage(ctx, lim)
	}
	data, err := s.Bytes(ctx, lim)
	if err != nil {
		return nil, err
	}
	img, err := Decode(ctx, data, lim)
	return img, named(err, s.name)
}

func (s Source) fromImage(ctx context.Context, lim Limits) (img *Image, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	defer func() { // decoding runs in goroutines of their own, where a panic would end the process
		if thrown := recover(); thrown != nil {
			img, err = nil, fail(ErrCorrupt, "the %T is nil or broken: %v", s.image, thrown)
		}
	}()
	if size := s.image.Bounds(); !size.Empty() {
		if err := lim.size("image.Image", size.Dx(), size.Dy()); err != nil {
			return nil, err
		}
	}
	return Convert(s.image)
}

// Source reads s under DefaultLimits, or those of WithLimits, writes the normalised image to dst,
// (3, H, W), len t.Len(), and gives the image's own size in pixels. A file's bytes take the way of
// Bytes, without an Image between.
func (t *Transform) Source(ctx context.Context, dst []float32, s Source) (width, height int, err error) {
	if s.image != nil {
		img, err := s.fromImage(ctx, t.limits())
		if err != nil {
			return 0, 0, err
		}
		return img.Width, img.Height, t.Apply(dst, img)
	}
	data, err := s.Bytes(ctx, t.limits())
	if err != nil {
		return 0, 0, err
	}
	return t.Sized(ctx, dst, data, s.name)
}
