package preprocess

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
)

// pngHeader is the part of the IHDR chunk that decides Pillow's mode.
type pngHeader struct {
	w, h         int
	depth, color uint8
}

// PNG colour types.
const (
	pngGrey      = 0
	pngRGB       = 2
	pngPalette   = 3
	pngGreyAlpha = 4
	pngRGBA      = 6
)

// decodePNG gives the modes of Pillow's PngImagePlugin: 1-bit grey "1", other grey L or I;16, palette P, grey with
// alpha LA, at 16 bits RGBA; colours at 16 bits keep their high byte. A tRNS chunk adds no alpha channel, as in Pillow.
func decodePNG(data []byte, lim Limits) (*Image, error) {
	if len(data) < 33 {
		return nil, fail(ErrTruncated, "the PNG data ends inside its header; the file is truncated")
	}
	head := pngHeader{
		w:     int(int32(binary.BigEndian.Uint32(data[16:]))),
		h:     int(int32(binary.BigEndian.Uint32(data[20:]))),
		depth: data[24], color: data[25],
	}
	if string(data[12:16]) != "IHDR" {
		return nil, fail(ErrCorrupt, "the PNG data does not start with an IHDR chunk")
	}
	if err := lim.size("PNG", head.w, head.h); err != nil {
		return nil, err
	}
	// Deflate shrinks by 1032 at most: a file shorter than that cannot hold its pixels, so none are allocated.
	if least := int64(head.w) * int64(head.h) * int64(head.depth) / 8 / 1032; int64(len(data)) < least {
		return nil, fail(ErrTruncated, "the PNG data ends early; the file is truncated")
	}
	decoded, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return head.image(decoded)
}

func (h *pngHeader) image(decoded image.Image) (*Image, error) {
	out := &Image{Width: h.w, Height: h.h}
	switch m := decoded.(type) {
	case *image.Gray:
		out.Mode, out.Pix = h.greyMode(), packed(m.Pix, m.Stride, h.w, h.h)
	case *image.Gray16:
		out.Mode, out.Pix = ModeI16, swap16(m.Pix)
	case *image.Paletted:
		out.Mode, out.Pix, out.Palette = ModeP, packed(m.Pix, m.Stride, h.w, h.h), paletteOf(m.Palette)
	case *image.RGBA:
		out.Mode, out.Pix = ModeRGB, dropFourth(m.Pix)
	case *image.NRGBA:
		switch h.color {
		case pngGrey:
			out.Mode, out.Pix = h.greyMode(), pick(m.Pix, 4, 0)
		case pngGreyAlpha:
			out.Mode, out.Pix = ModeLA, pick(m.Pix, 4, 0, 3)
		case pngRGB:
			out.Mode, out.Pix = ModeRGB, dropFourth(m.Pix)
		default:
			out.Mode, out.Pix = ModeRGBA, packed(m.Pix, m.Stride, 4*h.w, h.h)
		}
	case *image.RGBA64:
		out.Mode, out.Pix = ModeRGB, pick(m.Pix, 8, 0, 2, 4)
	case *image.NRGBA64:
		switch h.color {
		case pngGrey:
			out.Mode, out.Pix = ModeI16, pick(m.Pix, 8, 1, 0)
		case pngRGB:
			out.Mode, out.Pix = ModeRGB, pick(m.Pix, 8, 0, 2, 4)
		default:
			out.Mode, out.Pix = ModeRGBA, pick(m.Pix, 8, 0, 2, 4, 6)
		}
	default:
		return nil, unsupported("PNG", "of colour type %d and %d bits is not read", h.color, h.depth)
	}
	return out, nil
}

func (h *pngHeader) greyMode() Mode {
	if h.depth == 1 {
		return Mode1
	}
	return ModeL
}

// packed drops the bytes between rows, where there are any.
func packed(pix []uint8, stride, length, rows int) []uint8 {
	if stride == length {
		return pix[:length*rows]
	}
	out := make([]uint8, length*rows)
	for y := range rows {
		copy(out[y*length:][:length], pix[y*stride:])
	}
	return out
}

// pick keeps the bytes at the given offsets of every pixel of size bytes.
func pick(pix []uint8, size int, offsets ...int) []uint8 {
	n := len(pix) / size
	out := make([]uint8, n*len(offsets))
	for i := range n {
		for c, at := range offsets {
			out[i*len(offsets)+c] = pix[i*size+at]
		}
	}
	return out
}

// dropFourth turns RGBA into RGB in place.
func dropFourth(pix []uint8) []uint8 {
	n := len(pix) / 4
	for i := range n {
		s, d := pix[4*i:4*i+4:4*i+4], pix[3*i:3*i+3:3*i+3]
		d[0], d[1], d[2] = s[0], s[1], s[2]
	}
	return pix[: 3*n : 3*n]
}

// swap16 turns big-endian samples into I;16's order.
func swap16(pix []uint8) []uint8 { return pick(pix, 2, 1, 0) }

func paletteOf(p color.Palette) [][4]uint8 {
	out := make([][4]uint8, len(p))
	for i, c := range p {
		n := color.NRGBAModel.Convert(c).(color.NRGBA)
		out[i] = [4]uint8{n.R, n.G, n.B, n.A}
	}
	return out
}
