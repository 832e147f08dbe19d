//go:build cgo && !nosystem

package preprocess

/*
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "heif.h"
*/
import "C"

import (
	"context"
	"strings"
	"unsafe"
)

// HasHEIF reports whether the system has libheif, which decodes HEIC and AVIF. It is found when the
// program runs: Debian's and Ubuntu's package is libheif1, Fedora's libheif.
func HasHEIF() bool { return C.goclip_heif_available() != 0 }

// heifFile is an open file. libheif keeps pointers into the data between calls, so it has a copy of
// its own.
type heifFile struct {
	copied unsafe.Pointer
	file   *C.goclip_heif_file
	info   C.goclip_heif
}

func (h *heifFile) open(data []byte) error {
	h.copied = C.CBytes(data)
	if C.goclip_heif_open((*C.uchar)(h.copied), C.size_t(len(data)), &h.info, &h.file) != 0 {
		return h.err()
	}
	return nil
}

func (h *heifFile) close() {
	C.goclip_heif_close(h.file)
	C.free(h.copied)
}

func (h *heifFile) err() error {
	if h.info.truncated != 0 {
		return fail(ErrTruncated, "the HEIC or AVIF data ends early; the file is truncated")
	}
	why := strings.Join(strings.Fields(C.GoString(&h.info.message[0])), " ")
	return fail(ErrCorrupt, "the HEIC or AVIF data cannot be read: %s", why)
}

// openHEIF gives pillow-heif's modes: RGB, or RGBA where the file has alpha; 10 and 12 bits are cut
// to 8. The file's own turns and crops are made, and its EXIF orientation, which repeats them, is
// passed over. libheif cannot be stopped: a context is asked before it starts.
func openHEIF(data []byte) (*decoder, error) {
	var h heifFile
	defer h.close()
	if err := h.open(data); err != nil {
		return nil, err
	}
	w, height := int64(h.info.width), int64(h.info.height)
	p := &decoder{width: int(w), height: int(height), turned: 1, result: w * height * int64(heifMode(&h).Bytes())}
	planes := w * height * 12 // the decoder's images and libheif's, before and after the conversion
	if h.info.bits > 8 {
		planes *= 2
	}
	p.memory = p.result + planes + int64(len(data)) + 8<<20
	p.decode = func(ctx context.Context, lim Limits) (*Image, error) {
		var h heifFile
		defer h.close()
		if err := h.open(data); err != nil {
			return nil, err
		}
		out := lim.image(heifMode(&h), int(h.info.width), int(h.info.height))
		if C.goclip_heif_decode(h.file, &h.info, (*C.uchar)(unsafe.Pointer(unsafe.SliceData(out.Pix)))) != 0 {
			return nil, h.err()
		}
		return out, ctx.Err()
	}
	return p, nil
}

func heifMode(h *heifFile) Mode {
	if h.info.alpha != 0 {
		return ModeRGBA
	}
	return ModeRGB
}
