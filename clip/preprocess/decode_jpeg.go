package preprocess

import (
	"bytes"
	"context"
	"encoding/binary"
)

// jpegFrame is what the markers of a JPEG say, read in Go before any decoder is made.
type jpegFrame struct {
	w, h         int
	components   int
	coefficients int64 // bytes of all of them
	progressive  bool
	lossless     bool // as in camera RAW; no image to look at, and not read
	scans        int
	several      bool // all scans are read, into the coefficients, before the first row
}

// A JPEG of many scans costs their number times its pixels, from few bytes. libjpeg-turbo's fuzzers
// stop at 500 scans; encoders write about ten.
const (
	maxScans      = 500
	fewScans      = 20
	maxScanPixels = 2e9 // scans times pixels, of an image of more than fewScans
)

// openJPEG gives Pillow's modes: L, RGB or CMYK.
func openJPEG(data []byte) (*decoder, error) {
	f := jpegMarkers(data)
	if f.components == 0 {
		return nil, fail(ErrTruncated, "the JPEG data ends before its frame header; the file is truncated")
	}
	if f.scans > maxScans || f.scans > fewScans && float64(f.scans)*float64(f.w)*float64(f.h) > maxScanPixels {
		return nil, fail(ErrTooLarge, "the JPEG has %d scans of %dx%d pixels, more than any encoder writes; save it again",
			f.scans, f.w, f.h)
	}
	p := &decoder{width: f.w, height: f.h, result: int64(f.w) * int64(f.h) * int64(f.components)}
	p.memory = p.result + int64(f.w)*int64(f.components)*256 + 1<<20 // rows in work, tables
	if f.several {
		p.memory += f.coefficients
	}
	p.decode = func(ctx context.Context, lim Limits) (*Image, error) { return decodeJPEG(ctx, data, jpegPillow, lim) }
	return p, nil
}

// jpegColours says how the components of a JPEG become colours.
type jpegColours int

const (
	jpegPillow jpegColours = iota // as the file's markers say: L, RGB or CMYK
	jpegStored                    // not at all, as in a TIFF whose colours are not YCbCr
	jpegYCbCr                     // from YCbCr to RGB, whatever the markers say
)

// jpegMarkers walks the segments of a JPEG, up to the first scan where the decoder reads no more
// than that.
func jpegMarkers(data []byte) (f jpegFrame) {
	for at := 2; at < len(data); {
		skip := bytes.IndexByte(data[at:], 0xff)
		if skip < 0 {
			return f
		}
		for at += skip; at < len(data) && data[at] == 0xff; {
			at++
		}
		if at+3 > len(data) {
			return f
		}
		marker := data[at]
		at++
		if marker <= 0x01 || marker >= 0xd0 && marker <= 0xd8 { // no segment follows
			continue
		}
		if marker == 0xd9 {
			if f.components > 0 {
				return f
			}
			continue // tables alone: another stream follows
		}
		n := max(int(binary.BigEndian.Uint16(data[at:])), 2)
		body := data[at+2 : min(at+n, len(data))]
		at += n
		switch {
		case marker == 0xda:
			f.scans++
			f.several = f.several || f.progressive || len(body) > 0 && int(body[0]) < f.components
			if !f.several {
				return f
			}
		case marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc && f.components == 0:
			f.frame(marker, body)
		}
	}
	return f
}

// frame reads a frame header.
func (f *jpegFrame) frame(marker byte, body []byte) {
	if len(body) < 6 || len(body) < 6+3*int(body[5]) || body[5] == 0 {
		return
	}
	f.h, f.w, f.components = int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:])), int(body[5])
	f.progressive, f.lossless = marker&3 == 2, marker&3 == 3
	maxX, maxY := 1, 1
	for i := range f.components {
		maxX, maxY = max(maxX, int(body[7+3*i]>>4)), max(maxY, int(body[7+3*i]&15))
	}
	for i := range f.components {
		across := (f.w + 8*maxX - 1) / (8 * maxX) * int(body[7+3*i]>>4)
		down := (f.h + 8*maxY - 1) / (8 * maxY) * int(body[7+3*i]&15)
		f.coefficients += int64(across) * int64(down) * 64 * 2
	}
}
