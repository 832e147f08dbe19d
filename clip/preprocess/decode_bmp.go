package preprocess

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"

	"golang.org/x/image/bmp"
)

// decodeBMP gives Pillow's modes: RGB, RGBA where the header declares an alpha mask, P, and for grey palettes L or "1".
// Run-length and 16-bit BMP are refused.
func decodeBMP(data []byte, lim Limits) (*Image, error) {
	if len(data) < 30 {
		return nil, fail(ErrTruncated, "the BMP data ends inside its header; the file is truncated")
	}
	w := int(int32(binary.LittleEndian.Uint32(data[18:])))
	h := int(int32(binary.LittleEndian.Uint32(data[22:])))
	if header := binary.LittleEndian.Uint32(data[14:]); header == 12 {
		return nil, unsupported("BMP", "with an OS/2 header is not read; save it again as PNG")
	}
	h = max(h, -h)
	if err := lim.size("BMP", w, h); err != nil {
		return nil, err
	}
	bits := int64(binary.LittleEndian.Uint16(data[28:]))
	if int64(len(data)) < int64(w)*int64(h)*bits/8 && bits >= 8 && binary.LittleEndian.Uint32(data[30:]) != 1 {
		return nil, fail(ErrTruncated, "the BMP data ends early; the file is truncated")
	}
	decoded, err := bmp.Decode(bytes.NewReader(data))
	if errors.Is(err, bmp.ErrUnsupported) {
		return nil, unsupported("BMP", "of this kind (%d bits, compression %d) is not read; save it again as PNG",
			bits, data[30])
	}
	if err != nil {
		return nil, err
	}
	out := &Image{Width: w, Height: h}
	switch m := decoded.(type) {
	case *image.Paletted:
		out.Mode, out.Pix, out.Palette = ModeP, packed(m.Pix, m.Stride, w, h), paletteOf(m.Palette)
		out.ditchGreyPalette()
	case *image.RGBA:
		out.Mode, out.Pix = ModeRGB, dropFourth(m.Pix)
	case *image.NRGBA:
		if bmpHasAlpha(data) {
			out.Mode, out.Pix = ModeRGBA, packed(m.Pix, m.Stride, 4*w, h)
		} else {
			out.Mode, out.Pix = ModeRGB, dropFourth(m.Pix)
		}
	default:
		return nil, unsupported("BMP", "of this kind is not read; save it again as PNG")
	}
	return out, nil
}

// bmpHasAlpha tells whether a 32-bit BMP declares an alpha mask, the sign by which Pillow gives RGBA.
func bmpHasAlpha(data []byte) bool {
	const bitfields, maskAt = 3, 14 + 52
	return binary.LittleEndian.Uint32(data[30:]) == bitfields && binary.LittleEndian.Uint32(data[14:]) >= 56 &&
		len(data) >= maskAt+4 && binary.LittleEndian.Uint32(data[maskAt:]) != 0
}

// ditchGreyPalette turns a palette of plain greys into mode L, and black and white into mode "1", as Pillow does.
func (m *Image) ditchGreyPalette() {
	switch p := m.Palette; {
	case len(p) == 2:
		if p[0] == [4]uint8{0, 0, 0, 255} && p[1] == [4]uint8{255, 255, 255, 255} {
			m.Mode, m.Palette = Mode1, nil
			for i, v := range m.Pix {
				m.Pix[i] = -(v & 1)
			}
		}
	case isGreyRamp(p):
		m.Mode, m.Palette = ModeL, nil
	}
}
