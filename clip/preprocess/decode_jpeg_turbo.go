//go:build cgo && !nojpegturbo

package preprocess

/*
#cgo CFLAGS: -O3
#cgo LDFLAGS: -ljpeg
#include "jpeg_turbo.h"
*/
import "C"

import "unsafe"

// HasJPEGTurbo tells whether JPEG is decoded by libjpeg-turbo, to the bit as Pillow does.
const HasJPEGTurbo = true

// decodeJPEG gives Pillow's modes: L, RGB or CMYK.
func decodeJPEG(data []byte, lim Limits) (*Image, error) {
	scale := C.int(1)
	switch lim.JPEGScale {
	case 0, 1:
	case 2, 4, 8:
		scale = C.int(lim.JPEGScale)
	default:
		return nil, fail(ErrUnsupported, "JPEGScale is %d; it must be 1, 2, 4 or 8", lim.JPEGScale)
	}
	var info C.goclip_jpeg
	bytes, size := (*C.uchar)(unsafe.Pointer(unsafe.SliceData(data))), C.size_t(len(data))
	if err := jpegError(C.goclip_jpeg_header(bytes, size, scale, &info), &info); err != nil {
		return nil, err
	}
	if info.bits != 8 {
		return nil, unsupported("JPEG", "with %d bits a channel is not read; save it with 8", int(info.bits))
	}
	if err := lim.size("JPEG", int(info.width), int(info.height)); err != nil {
		return nil, err
	}
	// A Huffman code takes a bit at least, and each block of 64 pixels one code: a shorter file cannot hold its pixels.
	if info.arithmetic == 0 && int64(info.width)*int64(info.height) > 512*int64(len(data))+1<<16 {
		return nil, jpegError(C.GOCLIP_JPEG_TRUNCATED, &info)
	}
	mode := ModeRGB
	switch info.components {
	case 1:
		mode = ModeL
	case 4:
		mode = ModeCMYK
	}
	out := lim.image(mode, int(info.out_width), int(info.out_height))
	rc := C.goclip_jpeg_decode(bytes, size, scale, &info, (*C.uchar)(unsafe.Pointer(unsafe.SliceData(out.Pix))))
	if err := jpegError(rc, &info); err != nil {
		return nil, err
	}
	if mode == ModeCMYK {
		// Pillow takes every CMYK JPEG as Adobe's, which stores the inks inverted.
		for i, v := range out.Pix {
			out.Pix[i] = 255 - v
		}
	}
	return out, nil
}

func jpegError(rc C.int, info *C.goclip_jpeg) error {
	switch rc {
	case C.GOCLIP_JPEG_OK:
		return nil
	case C.GOCLIP_JPEG_TRUNCATED:
		return fail(ErrTruncated, "the JPEG data ends early; the file is truncated")
	}
	return fail(ErrCorrupt, "the JPEG data cannot be read: %s", C.GoString(&info.message[0]))
}
