package preprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits bound what an image may cost. They are checked on the file's length and header, before
// pixels are allocated. A field that is zero takes its value from DefaultLimits.
type Limits struct {
	MaxPixels int64 // width times height
	MaxBytes  int64 // length of the file
	MaxMemory int64 // bytes that decoding holds at one time, as ReadHeader tells them

	// JPEGScale 2, 4 or 8 decodes a JPEG at that fraction of its size, much faster, as Pillow's
	// draft mode: good where the image is shrunk further anyway. 0 and 1 decode in full. Other
	// formats, and image/jpeg, pass it over.
	JPEGScale int

	// FastJPEG lets Transform.Bytes and File choose JPEGScale for each JPEG: the smallest image
	// whose sides are no shorter than those that it is then resized to. Grey levels differ from
	// those of the full decoding: on a photograph of a face by 1.5 on average at 1/2, 2.2 at 1/4
	// and 6.5 at 1/8, cosine 0.9998, 0.9997 and 0.9974.
	FastJPEG bool

	// Orient turns and mirrors the image as the orientation in its EXIF data says (JPEG, PNG,
	// WebP), as Pillow's ImageOps.exif_transpose does. CLIP's own transforms do not, and neither
	// does the zero value.
	Orient bool

	// NoSystem refuses HEIC, AVIF, JPEG XL and JPEG 2000 also where the system has the libraries that decode
	// them: C++ that strangers' files should not reach, and whose memory is bounded by what the
	// header claims alone.
	NoSystem bool

	part *part
}

// part is what a transform arranges with the JPEG decoder: it keeps the memory of the pixels, and
// columns that its crop drops need no pixels at all.
type part struct {
	pix []uint8
	// plan is given the size of the image and gives the scale, and the columns that are needed at
	// that scale.
	plan func(w, h int) (scale, from, to int)
	left int // the first column that was decoded
}

// image is newImage in the caller's memory, where there is some. Its pixels are what was there
// before. They begin at an odd address: rows at a multiple of 32 bytes are written by libjpeg-turbo
// past the caches, and reading them back waits for the memory.
func (l Limits) image(mode Mode, w, h int) *Image {
	if l.part == nil {
		return &Image{Width: w, Height: h, Mode: mode, Pix: make([]uint8, w*h*mode.Bytes()+1)[1:]}
	}
	return &Image{Width: w, Height: h, Mode: mode, Pix: grow(&l.part.pix, w*h*mode.Bytes()+1)[1:]}
}

// DefaultLimits are 128 million pixels, 512 MiB of file, 2 GiB of memory, JPEG in full.
var DefaultLimits = Limits{MaxPixels: 128e6, MaxBytes: 512 << 20, MaxMemory: 2 << 30}

func (l Limits) maxBytes() int64 {
	if l.MaxBytes == 0 {
		return DefaultLimits.MaxBytes
	}
	return l.MaxBytes
}

// longestSide bounds one side of an image: the weights of a resize grow with it, whatever the
// other side is.
const longestSide = 1 << 20

// size refuses a header's size that is empty or beyond the limit.
func (l Limits) size(format string, w, h int) error {
	l.part = nil
	if l.MaxPixels == 0 {
		l.MaxPixels = DefaultLimits.MaxPixels
	}
	if w <= 0 || h <= 0 {
		return fail(ErrEmpty, "the %s header gives %dx%d pixels; an image has at least 1x1", format, w, h)
	}
	if int64(w) > l.MaxPixels/int64(h) || max(w, h) > longestSide {
		e := &LimitError{Width: w, Height: h, Limits: l}
		return &Error{Kind: e, Detail: e.Error()}
	}
	return nil
}

func tooLong(n int64, l Limits) *Error {
	l.MaxBytes, l.part = l.maxBytes(), nil
	e := &LimitError{Bytes: n, Limits: l}
	return &Error{Kind: e, Detail: e.Error()}
}

// memory refuses an image whose decoding takes more than the limit.
func (l Limits) memory(p *decoder) error {
	l.part = nil
	if l.MaxMemory == 0 {
		l.MaxMemory = DefaultLimits.MaxMemory
	}
	if need := p.peak(); need > l.MaxMemory {
		e := &LimitError{Width: p.width, Height: p.height, Memory: need, Limits: l}
		return &Error{Kind: e, Detail: e.Error()}
	}
	return nil
}

// decoder is a file whose header has been read: nothing is allocated for its pixels yet.
type decoder struct {
	width, height int
	memory        int64  // bytes that decode holds at most at one time, its result among them
	result        int64  // bytes of its result
	turned        int    // the orientation, 1 to 8, that is undone; 0 where it is that of the EXIF data, if any
	exif          []byte // where it is not found by exifOf the file
	decode        func(context.Context, Limits) (*Image, error)
}

// peak is the memory of the whole decoding; turning an image takes a second one.
func (p *decoder) peak() int64 {
	if p.turned > 1 {
		return max(p.memory, 2*p.result)
	}
	return p.memory
}

// open reads the header of data and checks it against lim.
func open(data []byte, lim Limits) (p *decoder, f format, err error) {
	if len(data) == 0 {
		return nil, f, fail(ErrEmpty, "the file is empty; it should hold an image")
	}
	if int64(len(data)) > lim.maxBytes() {
		return nil, f, tooLong(int64(len(data)), lim)
	}
	f = sniff(data)
	if lim.NoSystem && f.library != nil {
		f.open, f.advice = nil, ""
	}
	if f.open == nil || f.library != nil && !f.library() {
		return nil, f, refuse(f, data)
	}
	if p, err = f.open(data); err != nil {
		return nil, f, err
	}
	if err := lim.size(f.name, p.width, p.height); err != nil {
		return nil, f, err
	}
	if lim.Orient && p.turned == 0 {
		if p.exif == nil {
			p.exif = exifOf(data)
		}
		p.turned = orientation(p.exif)
	}
	return p, f, lim.memory(p)
}

// Header is what an image file declares before its pixels.
type Header struct {
	Format        string // "PNG", "JPEG" and so on
	Width, Height int    // of the image that Decode gives
	Memory        int64  // bytes that Decode holds at most at one time, its result among them, data not
}

// ReadHeader tells what Decode would read and what that would take, so that a server can budget
// before it decodes. It allocates nothing for pixels and refuses what Decode refuses on the header.
func ReadHeader(data []byte, lim Limits) (h Header, err error) {
	var p *decoder
	var f format
	defer rescue(&f, &err)
	if p, f, err = open(data, lim); err != nil {
		return Header{}, describe(f.name, err)
	}
	h = Header{Format: f.name, Width: p.width, Height: p.height, Memory: p.peak()}
	if p.turned > 4 {
		h.Width, h.Height = h.Height, h.Width
	}
	return h, nil
}

// rescue turns a panic of a decoder into an error.
func rescue(f *format, err *error) {
	if r := recover(); r != nil {
		*err = fail(ErrCorrupt, "the %s data is corrupt (%v)", f.name, r)
	}
}

// Decode reads a PNG, JPEG, WebP, GIF, BMP or TIFF image, the preview in a camera's raw file, and
// where HasHEIF, HasJXL and HasJPEG2000 HEIC, AVIF, JPEG XL and JPEG 2000, told apart by content. An animation gives its first frame. It does
// not panic: every bad input gives an *Error, whose kind is one of the Err values or a *LimitError.
// It stops between rows, scans or strips when ctx ends, with the context's error.
func Decode(ctx context.Context, data []byte, lim Limits) (img *Image, err error) {
	var p *decoder
	var f format
	defer func() {
		if err != nil {
			img = nil
		}
	}()
	defer rescue(&f, &err)
	if p, f, err = open(data, lim); err != nil {
		return nil, describe(f.name, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.turned > 1 && lim.part != nil {
		lim.part.plan = nil // the columns are not those of the result
	}
	if img, err = p.decode(ctx, lim); err != nil {
		if ended := ctx.Err(); ended != nil {
			return nil, ended
		}
		return nil, describe(f.name, err)
	}
	if err := img.check(); err != nil {
		return nil, err
	}
	if p.turned > 1 {
		img = img.oriented(p.turned)
	}
	return img, nil
}

// describe gives an error of a codec one of this package's kinds and a sentence.
func describe(format string, err error) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		strings.HasSuffix(err.Error(), "short Huffman data"): // image/jpeg
		return fail(ErrTruncated, "the %s data ends early; the file is truncated", format)
	}
	return fail(ErrCorrupt, "the %s data cannot be read: %v", format, trimCodec(err))
}

// trimCodec drops the codec's own prefix ("png: invalid format: ...").
func trimCodec(err error) string {
	s := err.Error()
	for _, p := range []string{"png: ", "gif: ", "bmp: ", "tiff: ", "webp: ", "vp8: ", "vp8l: ", "riff: ", "jpeg: ",
		"invalid format: ", "unsupported feature: "} {
		s = strings.TrimPrefix(s, p)
	}
	return s
}

func unsupported(format, what string, args ...any) error {
	return fail(ErrUnsupported, "%s", "a "+format+" image "+fmt.Sprintf(what, args...))
}

// cancellable ends reading when ctx ends: a decoder that reads as it goes stops soon after.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p[:min(len(p), 64<<10)])
}
