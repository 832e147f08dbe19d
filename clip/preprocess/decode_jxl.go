//go:build cgo && !nosystem

package preprocess

/*
#include "jxl.h"
*/
import "C"

import (
	"context"
	"unsafe"
)

// HasJXL reports whether the system has libjxl, which decodes JPEG XL. It is found when the program
// runs: Debian's package is libjxl0.7, Fedora's libjxl.
func HasJXL() bool { return C.goclip_jxl_available() != 0 }

var jxlModes = map[C.uint]Mode{1: ModeL, 2: ModeLA, 3: ModeRGB, 4: ModeRGBA}

// openJXL gives pillow-jxl-plugin's modes; more bits than 8 are rounded to them. The image is upright
// by the file's own header. libjxl cannot be stopped: a context is asked before it starts.
func openJXL(data []byte) (*decoder, error) {
	var info C.goclip_jxl
	at, n := (*C.uchar)(unsafe.SliceData(data)), C.size_t(len(data))
	if C.goclip_jxl_header(at, n, &info) != 0 {
		return nil, jxlError(info)
	}
	mode := jxlModes[info.channels]
	pixels := int64(info.width) * int64(info.height)
	p := &decoder{width: int(info.width), height: int(info.height), turned: 1, result: pixels * int64(mode.Bytes())}
	p.memory = p.result + pixels*jxlPixelBytes + pixels*8*int64(info.extra) + int64(len(data)) + 16<<20
	p.decode = func(ctx context.Context, lim Limits) (*Image, error) {
		out := lim.image(mode, int(info.width), int(info.height))
		if C.goclip_jxl_decode(at, n, &info, (*C.uchar)(unsafe.SliceData(out.Pix))) != 0 {
			return nil, jxlError(info)
		}
		return out, ctx.Err()
	}
	return p, nil
}

// jxlPixelBytes is what libjxl holds of a pixel while it decodes: planes of float32 and coefficients.
const jxlPixelBytes = 40

func jxlError(info C.goclip_jxl) error {
	if info.truncated != 0 {
		return fail(ErrTruncated, "the JPEG XL data ends early; the file is truncated")
	}
	return fail(ErrCorrupt, "the JPEG XL data cannot be read by libjxl")
}
