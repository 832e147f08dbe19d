package preprocess

import (
	"bytes"
	"errors"
	"image"

	"golang.org/x/image/tiff"
)

// decodeTIFF reads the first page: mode 1 and L from grey, I;16 from 16-bit grey, P, RGB and RGBA; colours at 16 bits
// keep their high byte. Associated alpha is divided out, and the orientation honoured, as Pillow does in TIFF alone.
func decodeTIFF(data []byte, lim Limits) (*Image, error) {
	head, err := tiff.DecodeConfig(bytes.NewReader(data))
	if err == nil {
		err = lim.size("TIFF", head.Width, head.Height)
	}
	if err != nil {
		return nil, tiffError(err)
	}
	tags := tiffTags(data)
	decoded, err := tiff.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, tiffError(err)
	}
	w, h := head.Width, head.Height
	out := &Image{Width: w, Height: h}
	switch m := decoded.(type) {
	case *image.Gray:
		out.Mode, out.Pix = ModeL, packed(m.Pix, m.Stride, w, h)
		if bits, told := tags[tiffBits]; bits == 1 || !told {
			out.Mode = Mode1
		}
	case *image.Gray16:
		out.Mode, out.Pix = ModeI16, swap16(m.Pix)
	case *image.Paletted:
		out.Mode, out.Pix, out.Palette = ModeP, packed(m.Pix, m.Stride, w, h), paletteOf(m.Palette)
	case *image.RGBA:
		out.rgba(m.Pix, 4, 1, tags[tiffSamples])
	case *image.NRGBA:
		out.Mode, out.Pix = ModeRGBA, packed(m.Pix, m.Stride, 4*w, h)
	case *image.RGBA64:
		out.rgba(m.Pix, 8, 2, tags[tiffSamples])
	case *image.NRGBA64:
		out.Mode, out.Pix = ModeRGBA, pick(m.Pix, 8, 0, 2, 4, 6)
	default:
		return nil, unsupported("TIFF", "of this kind is not read; save it again as PNG")
	}
	return out.oriented(exifOrientation(data)), nil
}

// rgba takes pixels of size bytes, channels step apart: RGB where the file has three samples, else associated alpha.
func (m *Image) rgba(pix []uint8, size, step, samples int) {
	if samples < 4 {
		m.Mode, m.Pix = ModeRGB, pick(pix, size, 0, step, 2*step)
		return
	}
	m.Mode, m.Pix = ModeRGBA, pick(pix, size, 0, step, 2*step, 3*step)
	unpremultiplyRow(m.Pix, ModeRGBA)
}

func tiffError(err error) error {
	var what tiff.UnsupportedError
	if errors.As(err, &what) {
		return unsupported("TIFF", "whose %s is not supported; save it again as PNG", string(what))
	}
	return err
}

// The tags that image types do not tell.
const (
	tiffBits    = 258
	tiffSamples = 277
)

// tiffTags reads the first value of the short tags of the first directory. Data that does not parse gives fewer tags.
func tiffTags(data []byte) map[int]int {
	big := data[0] == 'M'
	u16 := func(at int) int {
		if at < 0 || at+2 > len(data) {
			return 0
		}
		if big {
			return int(data[at])<<8 | int(data[at+1])
		}
		return int(data[at]) | int(data[at+1])<<8
	}
	u32 := func(at int) int {
		if big {
			return u16(at)<<16 | u16(at+2)
		}
		return u16(at) | u16(at+2)<<16
	}
	tags := make(map[int]int)
	dir := u32(4)
	for i := range u16(dir) {
		at := dir + 2 + 12*i
		if at+12 > len(data) {
			break
		}
		const short = 3
		if u16(at+2) != short {
			continue
		}
		value := at + 8
		if u32(at+4) > 2 {
			value = u32(at + 8)
		}
		tags[u16(at)] = u16(value)
	}
	return tags
}
