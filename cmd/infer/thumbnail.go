package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"syscall"

	"github.com/disintegration/imaging"

	"github.com/goclip/goclip/clip/preprocess"
)

// thumbnailSide is twice what the report shows, for screens of high density.
const thumbnailSide = 256

// thumbnail is an image within 256 x 256 pixels as a PNG, or as a JPEG where it was shrunk and
// nothing shows through, with its media type. preprocess decodes it, under its limits: imaging's
// own TIFF reader can panic (CVE-2023-36308).
func thumbnail(ctx context.Context, path string, hold func(bytes int64) error) (data []byte, kind string, err error) {
	small, shrunk, err := shrink(ctx, path, hold)
	if err != nil {
		return nil, "", err
	}
	format, kind := imaging.PNG, "image/png"
	if shrunk && small.Opaque() {
		format, kind = imaging.JPEG, "image/jpeg"
	}
	data, err = encodeSmall(path, small, format)
	return data, kind, err
}

// unbounded is for a program that draws one thumbnail at a time.
func unbounded(int64) error { return nil }

func shrink(ctx context.Context, path string, hold func(bytes int64) error) (small *image.NRGBA, shrunk bool, err error) {
	lim := preprocess.Limits{Orient: true}
	data, err := preprocess.ReadFile(ctx, path, lim)
	if err != nil {
		return nil, false, err
	}
	head, err := preprocess.ReadHeader(data, lim)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	const nrgbaPixel = 4 // bytes
	if err := hold(int64(len(data)) + head.Memory + nrgbaPixel*int64(head.Width)*int64(head.Height)); err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	img, err := preprocess.Decode(ctx, data, lim)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	return imaging.Fit(nrgba(img), thumbnailSide, thumbnailSide, imaging.Box), max(img.Width, img.Height) > thumbnailSide, nil
}

func encodeSmall(path string, small *image.NRGBA, format imaging.Format) ([]byte, error) {
	var b bytes.Buffer
	if err := imaging.Encode(&b, small, format, imaging.JPEGQuality(85), imaging.PNGCompressionLevel(png.BestCompression)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b.Bytes(), nil
}

// nrgba converts a decoded image; what its file lets show through does so here too.
func nrgba(img *preprocess.Image) *image.NRGBA {
	out := image.NewNRGBA(image.Rect(0, 0, img.Width, img.Height))
	alpha := func(int) uint8 { return 255 }
	switch img.Mode {
	case preprocess.ModeRGBA:
		alpha = func(i int) uint8 { return img.Pix[4*i+3] }
	case preprocess.ModeLA:
		alpha = func(i int) uint8 { return img.Pix[2*i+1] }
	case preprocess.ModeP:
		alpha = func(i int) uint8 {
			if entry := int(img.Pix[i]); entry < len(img.Palette) {
				return img.Palette[entry][3]
			}
			return 255
		}
	}
	for i, rgb := 0, img.RGB().Pix; 3*i < len(rgb); i++ {
		copy(out.Pix[4*i:], rgb[3*i:3*i+3])
		out.Pix[4*i+3] = alpha(i)
	}
	return out
}

var errNotRegular = errors.New("it is not a regular file any more")

// original opens an indexed image as it is, unless something else has come in its place.
func original(path string) (io.ReadSeekCloser, error) {
	if _, _, ok := preprocess.VideoFrame(path); ok {
		frame, err := preprocess.ReadFile(context.Background(), path, preprocess.DefaultLimits)
		return inMemory{bytes.NewReader(frame)}, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would wait for a writer
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(&os.PathError{Op: "open", Path: path, Err: errNotRegular}, err, f.Close())
	}
	return f, nil
}

// inMemory is a frame of a video.
type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }
