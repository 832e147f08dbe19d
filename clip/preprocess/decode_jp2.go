//go:build cgo && !nosystem

package preprocess

/*
#include "jp2.h"
*/
import "C"

import (
	"context"
	"strings"
	"unsafe"
)

// HasJPEG2000 reports whether the system has OpenJPEG, which decodes JPEG 2000. It is found when the
// program runs: Debian's package is libopenjp2-7, Fedora's openjpeg.
func HasJPEG2000() bool { return C.goclip_jp2_available() != 0 }

// openJP2 gives Pillow's modes and pixels. OpenJPEG cannot be stopped: a context is asked before it
// starts.
func openJP2(data []byte) (*decoder, error) {
	h, err := readJP2Header(data)
	if err != nil {
		return nil, err
	}
	p := &decoder{width: h.siz.width, height: h.siz.height, turned: 1}
	p.result = int64(p.width) * int64(p.height) * int64(h.mode.Bytes())
	p.memory = p.result + h.memory
	p.decode = func(ctx context.Context, lim Limits) (*Image, error) {
		info := C.goclip_jp2{width: C.uint(p.width), height: C.uint(p.height), components: C.uint(len(h.siz.bits))}
		switch h.mode {
		case ModeI16:
			info.wide = 1
		case ModeP:
			info.indices = 1
		}
		out := lim.image(h.mode, p.width, p.height)
		out.Palette = h.palette
		at, n := (*C.uchar)(unsafe.SliceData(h.codestream)), C.size_t(len(h.codestream))
		if C.goclip_jp2_decode(at, n, &info, (*C.uchar)(unsafe.SliceData(out.Pix))) != 0 {
			why := strings.Join(strings.Fields(C.GoString(&info.message[0])), " ")
			return nil, fail(ErrCorrupt, "the JPEG 2000 data cannot be read: %s", why)
		}
		return out, ctx.Err()
	}
	return p, nil
}
