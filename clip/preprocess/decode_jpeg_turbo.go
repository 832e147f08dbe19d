//go:build cgo && !nojpegturbo

package preprocess

/*
#cgo CFLAGS: -O3
#cgo LDFLAGS: -ljpeg
#if !__has_include(<jpeglib.h>)
#line 1 "goclip"
#pragma GCC error "libjpeg-turbo's header jpeglib.h is missing: install libjpeg-dev (Debian, Ubuntu) or libjpeg-turbo-devel (Fedora), or build with -tags nojpegturbo, which decodes JPEG in Go"
#endif
#include "jpeg_turbo.h"
*/
import "C"

import (
	"context"
	"unsafe"
)

// HasJPEGTurbo reports whether JPEG is decoded by libjpeg-turbo, to the bit as Pillow does.
const HasJPEGTurbo = true

// decodeJPEG gives pixels whose mode has as many bytes as the JPEG has components. Where lim has a
// part it may decode some columns alone; they hold the values that they have in the whole image.
func decodeJPEG(ctx context.Context, data []byte, colours jpegColours, lim Limits) (*Image, error) {
	info := C.goclip_jpeg{colours: C.int(colours)}
	var d *C.goclip_decoder
	bytes, size := (*C.uchar)(unsafe.Pointer(unsafe.SliceData(data))), C.size_t(len(data))
	rc := C.goclip_jpeg_open(bytes, size, &info, &d)
	defer C.goclip_jpeg_close(d)
	if err := jpegError(rc, &info); err != nil {
		return nil, err
	}
	defer cancelJPEG(ctx, d)()
	if info.bits != 8 {
		return nil, unsupported("JPEG", "with %d bits a channel is not read; save it with 8", int(info.bits))
	}
	if err := lim.size("JPEG", int(info.width), int(info.height)); err != nil {
		return nil, err
	}
	// A Huffman code takes a bit at least, and each block of 64 pixels one code: a shorter file
	// cannot hold its pixels.
	if info.arithmetic == 0 && int64(info.width)*int64(info.height) > 512*int64(len(data))+1<<16 {
		return nil, jpegError(C.GOCLIP_JPEG_TRUNCATED, &info)
	}
	scale, from, to := lim.JPEGScale, 0, int(info.width)
	if lim.part != nil && lim.part.plan != nil {
		scale, from, to = lim.part.plan(int(info.width), int(info.height))
	}
	switch scale {
	case 0:
		scale = 1
	case 1, 2, 4, 8:
	default:
		return nil, fail(ErrUnsupported, "JPEGScale is %d; it must be 1, 2, 4 or 8", scale)
	}
	info.scale, info.from, info.to = C.int(scale), C.int(from), C.int(to)
	if err := jpegError(C.goclip_jpeg_start(d, bytes, size, &info), &info); err != nil {
		return nil, err
	}
	mode := [...]Mode{1: ModeL, 2: ModeLA, 3: ModeRGB, 4: ModeCMYK}[info.components]
	out := lim.image(mode, int(info.to-info.from), int(info.rows))
	rc = C.goclip_jpeg_read(d, bytes, size, &info, (*C.uchar)(unsafe.Pointer(unsafe.SliceData(out.Pix))))
	if err := jpegError(rc, &info); err != nil {
		return nil, err
	}
	if lim.part != nil {
		lim.part.left = int(info.from)
	}
	if mode == ModeCMYK && colours == jpegPillow {
		// Pillow takes every CMYK JPEG as Adobe's, which stores the inks inverted.
		for i, v := range out.Pix {
			out.Pix[i] = 255 - v
		}
	}
	return out, nil
}

// cancelJPEG stops d when ctx ends, until the function that it returns is called.
func cancelJPEG(ctx context.Context, d *C.goclip_decoder) func() {
	if ctx.Done() == nil {
		return func() {}
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		C.goclip_jpeg_cancel(d)
		close(done)
	})
	return func() {
		if !stop() {
			<-done // d is closed next
		}
	}
}

func jpegError(rc C.int, info *C.goclip_jpeg) error {
	switch rc {
	case C.GOCLIP_JPEG_OK:
		return nil
	case C.GOCLIP_JPEG_TRUNCATED:
		return fail(ErrTruncated, "the JPEG data ends early; the file is truncated")
	case C.GOCLIP_JPEG_CANCELLED:
		return context.Canceled
	}
	return fail(ErrCorrupt, "the JPEG data cannot be read: %s", C.GoString(&info.message[0]))
}
