package preprocess

import "slices"

// tiffColours is how the samples of a TIFF become pixels: the part of Pillow's OPEN_INFO whose
// modes Image has.
type tiffColours struct {
	mode          Mode
	bits          int  // of a sample
	samples       int  // of a pixel, as they are stored
	inverted      bool // 0 is white
	premultiplied bool
}

// Photometric interpretations.
const (
	tiffWhiteIsZero = 0
	tiffBlackIsZero = 1
	tiffRGB         = 2
	tiffPalette     = 3
	tiffCMYK        = 5
	tiffYCbCr       = 6
)

// Extra samples.
const (
	tiffUnspecified   = 0
	tiffPremultiplied = 1
	tiffStraight      = 2
	tiffCorelDraw     = 999
)

// colours reads the tags that say what samples mean.
func (t *tiffTags) colours() (c tiffColours, err error) {
	photometric, planar := t.first(tiffPhotometric, tiffWhiteIsZero), t.first(tiffPlanar, 1) == 2
	bits, extra, format := t.all(tiffBits), t.all(tiffExtraSamples), t.all(tiffSampleFormat)
	samples := t.first(tiffSamples, 1)
	if len(bits) == 0 {
		bits = []int{1}
	}
	if planar && len(extra) > 0 && slices.Max(extra) == tiffUnspecified { // planes at the end that say nothing
		bits, samples, extra = bits[:max(len(bits)-len(extra), 1)], samples-len(extra), nil
	}
	if samples < 1 || samples > 6 {
		return c, unsupported("TIFF", "of %d samples a pixel is not read; save it again as PNG", samples)
	}
	if len(bits) == 1 {
		bits = slices.Repeat(bits, samples)
	}
	if len(bits) < samples {
		return c, fail(ErrCorrupt, "the TIFF has %d samples a pixel and tells the bits of %d", samples, len(bits))
	}
	bits = bits[:samples]
	c = tiffColours{bits: bits[0], samples: samples}
	signed := len(format) > 0 && format[0] != 1
	if slices.Min(bits) != slices.Max(bits) || signed && !(samples == 1 && c.bits == 8 && format[0] == 2) {
		return c, unsupported("TIFF", "of samples of %v bits and format %v is not read; save it again as PNG", bits, format)
	}
	known := false
	switch colours := samples - len(extra); {
	case photometric <= tiffBlackIsZero && colours == 1:
		known = c.grey(photometric == tiffWhiteIsZero, t.first(tiffExtraSamples, -1), t.bigEndian())
	case photometric == tiffRGB && (colours == 3 || samples == 4 && len(extra) == 0):
		known = c.rgb(t.first(tiffExtraSamples, tiffStraight))
	case photometric == tiffPalette && colours == 1:
		c.mode = ModeP
		known = samples == 1 && slices.Contains([]int{1, 2, 4, 8}, c.bits) ||
			samples == 2 && c.bits == 8 && extra[0] == tiffUnspecified
	case photometric == tiffCMYK && colours == 4:
		c.mode = ModeCMYK
		known = c.bits == 8 && (len(extra) == 0 || slices.Max(extra) == tiffUnspecified) || c.bits == 16 && samples == 4
	case photometric == tiffYCbCr && len(extra) == 0 && c.bits == 8:
		c.mode = ModeL
		if samples == 3 {
			c.mode = ModeRGB
		}
		known = samples == 1 || samples == 3 && t.first(tiffCompression, 0) == tiffJPEG && !planar
	}
	if !known {
		return c, unsupported("TIFF", "of photometric interpretation %d with %d samples of %d bits and ExtraSamples %v is "+
			"not read; save it again as PNG", photometric, samples, c.bits, extra)
	}
	return c, nil
}

func (c *tiffColours) grey(inverted bool, extra int, bigEndian bool) bool {
	c.mode, c.inverted = ModeL, inverted
	switch {
	case c.samples == 2:
		if extra == tiffStraight {
			c.mode = ModeLA
		}
		return c.bits == 8 && !inverted && (extra == tiffStraight || extra == tiffUnspecified)
	case c.bits == 1:
		c.mode = Mode1
	case c.bits == 12, c.bits == 16:
		c.mode, c.inverted = ModeI16, false // Pillow does not invert these, and refuses some
		return !bigEndian && (c.bits == 16 || !inverted) || c.bits == 16 && !inverted
	}
	return c.bits == 1 || c.bits == 2 || c.bits == 4 || c.bits == 8
}

func (c *tiffColours) rgb(extra int) bool {
	c.mode = ModeRGB
	if c.samples > 3 && extra != tiffUnspecified {
		c.mode, c.premultiplied = ModeRGBA, extra == tiffPremultiplied
	}
	return c.bits == 8 || c.bits == 16 && c.samples <= 4 && extra != tiffCorelDraw
}

// unpack writes the pixels of one row, or part of it. order says which byte of 16 bits is the high
// one.
func (c *tiffColours) unpack(dst, src []uint8, bigEndian bool) {
	n := c.mode.Bytes()
	high := 1
	if bigEndian {
		high = 0
	}
	switch {
	case c.bits < 8:
		unpackBits(dst, src, c.bits, bitScale(c.mode, c.bits))
	case c.bits == 12:
		for i := 0; i+1 < len(dst); i += 2 { // two samples in three bytes
			p := src[i/4*3+i/2%2:]
			v := int(p[0])<<4 | int(p[1])>>4
			if i/2%2 == 1 {
				v = int(p[0]&15)<<8 | int(p[1])
			}
			dst[i], dst[i+1] = uint8(v), uint8(v>>8)
		}
	case c.mode == ModeI16:
		for i := 0; i+1 < len(dst); i += 2 {
			dst[i], dst[i+1] = src[i+1-high], src[i+high]
		}
	case c.bits == 8 && c.samples == n:
		copy(dst, src)
	case c.bits == 8:
		for i := range len(dst) / n {
			copy(dst[i*n:][:n], src[i*c.samples:])
		}
	default:
		for i := range len(dst) / n {
			for s := range n {
				dst[i*n+s] = src[2*(i*c.samples+s)+high]
			}
		}
	}
	c.finish(dst)
}

// unpackPlane writes one sample of the pixels of a row: number s of each.
func (c *tiffColours) unpackPlane(dst, src []uint8, s int, bigEndian bool) {
	n, step, at := c.mode.Bytes(), c.bits/8, 0
	if c.bits == 16 && !bigEndian {
		at = 1
	}
	for i := range len(dst) / n {
		dst[i*n+s] = src[i*step+at]
	}
}

// finish makes of stored values those of the mode.
func (c *tiffColours) finish(row []uint8) {
	if c.inverted {
		for i, v := range row {
			row[i] = 255 - v
		}
	}
	if c.premultiplied {
		for i := 0; i+3 < len(row); i += 4 {
			if row[i+3] == 0 {
				clear(row[i : i+4])
			}
		}
		unpremultiplyRow(row, ModeRGBA)
	}
}
