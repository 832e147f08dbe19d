package preprocess

import (
	"bytes"
	"context"
	"encoding/binary"
)

// bmpFile is a BMP whose header has been read, as Pillow's BmpImagePlugin reads it.
type bmpFile struct {
	w, h    int
	topDown bool
	bits    int
	mode    Mode
	palette [][4]uint8
	order   string // the bytes of a 32-bit pixel, "BGRX" for one; '6' for 16 bits of which green has six
	rle     bool
	data    []byte // from the first pixel on
	odd     bool   // data begins at an odd place of the file
}

// Compressions of a BMP.
const (
	bmpRaw       = 0
	bmpRLE8      = 1
	bmpRLE4      = 2
	bmpBitFields = 3
)

// bmpOrders are the orders of bytes that Pillow knows, by the masks of red, green, blue and alpha.
var bmpOrders = map[[4]uint32]string{
	{0xff0000, 0xff00, 0xff, 0}:          "BGRX",
	{0xff000000, 0xff0000, 0xff00, 0}:    "XBGR",
	{0xff000000, 0xff00, 0xff, 0}:        "BGXR",
	{0xff000000, 0xff0000, 0xff00, 0xff}: "ABGR",
	{0xff, 0xff00, 0xff0000, 0xff000000}: "RGBA",
	{0xff0000, 0xff00, 0xff, 0xff000000}: "BGRA",
	{0xff000000, 0xff00, 0xff, 0xff0000}: "BGAR",
	{}:                                   "BGRA",
}

// openBMP gives Pillow's modes: RGB, RGBA where the header declares an alpha mask, P, and for grey
// palettes L or "1".
func openBMP(data []byte) (*decoder, error) {
	short := fail(ErrTruncated, "the BMP data ends inside its header; the file is truncated")
	if len(data) < 26 {
		return nil, short
	}
	le := binary.LittleEndian
	head := data[14:]
	size := le.Uint32(head)
	b := &bmpFile{}
	compression, colours, entry := uint32(bmpRaw), uint32(0), 4
	switch size {
	case 12: // OS/2
		b.w, b.h, b.bits, entry = int(le.Uint16(head[4:])), int(le.Uint16(head[6:])), int(le.Uint16(head[10:])), 3
	case 40, 52, 56, 64, 108, 124:
		if len(head) < int(size) {
			return nil, short
		}
		b.w, b.h, b.bits = int(int32(le.Uint32(head[4:]))), int(int32(le.Uint32(head[8:]))), int(le.Uint16(head[14:]))
		b.topDown, b.h = b.h < 0, max(b.h, -b.h)
		compression, colours = le.Uint32(head[16:]), le.Uint32(head[32:])
	default:
		return nil, unsupported("BMP", "with a header of %d bytes is not read; save it again as PNG", size)
	}
	result := int64(b.w) * int64(b.h) // indices, or the colours of 3 or 4 bytes
	p := &decoder{width: b.w, height: b.h, decode: b.decode}
	if b.w <= 0 || b.h <= 0 || max(b.w, b.h) > longestSide { // refused by size, whatever follows
		return p, nil
	}
	rest := head[size:]
	switch {
	case compression == bmpBitFields:
		if size < 52 { // the masks follow the header
			rest = rest[min(12, len(rest)):]
		}
		if err := b.bitFields(head[40:], size); err != nil {
			return nil, err
		}
	case compression == bmpRLE8 && b.bits == 8, compression == bmpRLE4 && b.bits == 4:
		b.rle = true
	case compression != bmpRaw:
		return nil, unsupported("BMP", "of this kind (%d bits, compression %d) is not read; save it again as PNG",
			b.bits, compression)
	case b.bits == 32:
		b.order = "BGRX"
	}
	offset := le.Uint32(data[10:])
	switch b.bits {
	case 1, 4, 8:
		if colours == 0 {
			colours = 1 << b.bits
		}
		if colours > 256 {
			return nil, unsupported("BMP", "with a palette of %d colours is not read; save it again as PNG", colours)
		}
		if n := int(colours) * entry; len(rest) < n {
			return nil, short
		} else if b.colours(rest[:n], entry); offset == 14+size {
			offset += uint32(n)
		} else if offset == 0 {
			rest = rest[n:]
		}
	case 16, 24, 32:
		b.mode = ModeRGB
		if bytes.ContainsRune([]byte(b.order), 'A') {
			b.mode = ModeRGBA
		}
		result *= int64(b.mode.Bytes())
	default:
		return nil, unsupported("BMP", "of %d bits is not read; save it again as PNG", b.bits)
	}
	if b.data = rest; offset != 0 {
		b.data = data[min(int(offset), len(data)):]
	}
	b.odd = (len(data)-len(b.data))%2 == 1
	p.result, p.memory = result, result
	return p, nil
}

// bitFields sets the order of a pixel's bytes.
func (b *bmpFile) bitFields(data []byte, size uint32) error {
	if len(data) < 16 {
		return fail(ErrTruncated, "the BMP data ends inside its header; the file is truncated")
	}
	var m [4]uint32
	for i := range m {
		m[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	if size < 56 { // the fourth is a part of what follows the header
		m[3] = 0
	}
	known := false
	switch b.bits {
	case 32:
		b.order, known = bmpOrders[m]
	case 24:
		known = [3]uint32(m[:3]) == [3]uint32{0xff0000, 0xff00, 0xff}
	case 16:
		if known = [3]uint32(m[:3]) == [3]uint32{0xf800, 0x7e0, 0x1f}; known {
			b.order = "6"
		} else {
			known = [3]uint32(m[:3]) == [3]uint32{0x7c00, 0x3e0, 0x1f}
		}
	}
	if !known {
		return unsupported("BMP", "of %d bits with the masks %x is not read; save it again as PNG", b.bits, m)
	}
	return nil
}

// colours reads the palette. Plain greys make mode L, black and white mode "1".
func (b *bmpFile) colours(table []byte, entry int) {
	b.palette = make([][4]uint8, len(table)/entry)
	for i := range b.palette {
		b.palette[i] = [4]uint8{table[i*entry+2], table[i*entry+1], table[i*entry], 255}
	}
	p := b.palette
	switch b.mode = ModeP; {
	case len(p) == 2 && p[0] == [4]uint8{0, 0, 0, 255} && p[1] == [4]uint8{255, 255, 255, 255}:
		b.mode, b.palette = Mode1, nil
	case len(p) != 2 && isGreyRamp(p):
		b.mode, b.palette = ModeL, nil
	}
}

func (b *bmpFile) decode(ctx context.Context, lim Limits) (*Image, error) {
	length := (b.w*b.bits + 7) / 8
	stride := (length + 3) / 4 * 4
	if !b.rle && len(b.data) < stride*(b.h-1)+length {
		return nil, fail(ErrTruncated, "the BMP data ends early; the file is truncated")
	}
	out := lim.image(b.mode, b.w, b.h)
	out.Palette = b.palette
	if b.rle {
		return out, b.runs(ctx, out)
	}
	n := b.w * b.mode.Bytes()
	for y := range b.h {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b.unpack(b.row(out, y, n), b.data[y*stride:][:length])
	}
	return out, nil
}

// row is the place of the file's row y, which counts from below unless the header says otherwise.
func (b *bmpFile) row(out *Image, y, n int) []uint8 {
	if !b.topDown {
		y = b.h - 1 - y
	}
	return out.Pix[y*n:][:n]
}

func (b *bmpFile) unpack(dst, src []uint8) {
	switch {
	case b.mode == Mode1:
		unpackBits(dst, src, b.bits, 255)
	case b.bits < 8:
		unpackBits(dst, src, b.bits, 1)
	case b.bits == 8:
		copy(dst, src)
	case b.bits == 16:
		green := 31
		shift := 5
		if b.order == "6" {
			green, shift = 63, 6
		}
		for i := range len(src) / 2 {
			v := int(src[2*i]) | int(src[2*i+1])<<8
			dst[3*i] = uint8(v >> (5 + shift) & 31 * 255 / 31)
			dst[3*i+1] = uint8(v >> 5 & green * 255 / green)
			dst[3*i+2] = uint8(v & 31 * 255 / 31)
		}
	case b.bits == 24:
		for i := 0; i+2 < len(src); i += 3 {
			dst[i], dst[i+1], dst[i+2] = src[i+2], src[i+1], src[i]
		}
	default:
		n := b.mode.Bytes()
		for c, name := range "RGBA"[:n] {
			at := bytes.IndexRune([]byte(b.order), name)
			for i := range len(src) / 4 {
				dst[i*n+c] = src[4*i+at]
			}
		}
	}
}

// runs decodes RLE8 and RLE4 as Pillow's BmpRleDecoder does, a run that passes the end of its row
// too.
func (b *bmpFile) runs(ctx context.Context, out *Image) error {
	short := fail(ErrTruncated, "the BMP data ends early; the file is truncated")
	total, x, at := b.w*b.h, 0, 0
	put := func(v uint8) {
		if at < total {
			b.row(out, at/b.w, b.w)[at%b.w] = v
		}
		at++
	}
	for data := b.data; at < total; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(data) < 2 {
			return short
		}
		count, v := int(data[0]), data[1]
		data = data[2:]
		if count > 0 { // a run of one value, or of two that take turns
			high, low := v, v
			if b.bits == 4 {
				high, low = v>>4, v&15
			}
			count = max(min(count, b.w-x), 0)
			for i := range count {
				if i%2 == 1 {
					put(low)
				} else {
					put(high)
				}
			}
			x += count
			continue
		}
		switch v {
		case 0: // the end of the row
			for at%b.w != 0 {
				put(0)
			}
			x = 0
		case 1: // the end of the image
			return short
		case 2: // a step to the right and up
			if len(data) < 2 {
				return short
			}
			for range min(total-at, int(data[0])+int(data[1])*b.w) {
				put(0)
			}
			data, x = data[2:], at%b.w
		default: // values
			n := min(total-at, int(v))
			length := n
			if b.bits == 4 {
				length = (n + 1) / 2
			}
			if len(data) < length {
				return short
			}
			for i := range n {
				switch {
				case b.bits == 8:
					put(data[i])
				case i%2 == 0:
					put(data[i/2] >> 4)
				default:
					put(data[i/2] & 15)
				}
			}
			data, x = data[length:], x+int(v)
			if odd := (len(b.data)-len(data))%2 == 1; odd != b.odd && len(data) > 0 { // values end on an even place
				data = data[1:]
			}
		}
	}
	return nil
}
