package preprocess

import (
	"bytes"
	"encoding/binary"
)

// jp2Header is what a JPEG 2000 file says before its pixels.
type jp2Header struct {
	codestream []byte // what OpenJPEG is given
	mode       Mode
	palette    [][4]uint8
	memory     int64 // bytes that OpenJPEG holds while it decodes, without codestream
	siz        jp2Size
}

// readJP2Header reads a JP2 or JPX file, or a bare codestream. Modes are Pillow's.
func readJP2Header(data []byte) (*jp2Header, error) {
	h := &jp2Header{codestream: data}
	var box jp2Boxes
	if data[0] != 0xff {
		var err error
		if h.codestream, err = box.read(data); err != nil {
			return nil, err
		}
	}
	var err error
	if h.memory, err = h.siz.read(h.codestream); err != nil {
		return nil, err
	}
	n, deep := len(h.siz.bits), h.siz.bits[0] > 8
	if data[0] != 0xff {
		if box.width != h.siz.width || box.height != h.siz.height || box.components != n {
			return nil, fail(ErrCorrupt, "the JPEG 2000 header gives %dx%d pixels of %d components, its codestream %dx%d of %d",
				box.width, box.height, box.components, h.siz.width, h.siz.height, n)
		}
		deep = box.bits&0x7f > 8
	}
	h.mode = []Mode{ModeL, ModeLA, ModeRGB, ModeRGBA}[n-1]
	switch {
	case box.palette != nil && n > 1:
		return nil, unsupported("JPEG 2000", "of a palette with alpha is not read; convert it to PNG first")
	case box.palette != nil:
		h.mode, h.palette = ModeP, box.palette
	case box.colours == jp2CMYK && n == 4:
		h.mode = ModeCMYK
	case n == 1 && deep:
		h.mode = ModeI16
	case box.colours == jp2YCC:
		return nil, unsupported("JPEG 2000", "in YCC is not read; convert it to PNG first")
	}
	return h, nil
}

// Colour spaces of a colr box, of ISO/IEC 15444-1 table I.10 and 15444-2 table M.25.
const (
	jp2Bilevel, jp2Bilevel2, jp2CMYK = 0, 15, 12
	jp2Grey, jp2YCC                  = 17, 18
	jp2NotSaid                       = -1 // by a profile, or there is no such box
)

// jp2Boxes are the boxes around a codestream that change how it is read.
type jp2Boxes struct {
	width, height, components int
	bits                      uint8 // of the ihdr box: bits less one, 255 where components differ
	colours                   int
	palette                   [][4]uint8
}

// jp2Box splits off the first box: its name, its content, and what follows it.
func jp2Box(data []byte) (name string, content, rest []byte, err error) {
	if len(data) < 8 {
		return "", nil, nil, fail(ErrTruncated, "the JPEG 2000 data ends before its codestream; the file is truncated")
	}
	n, head := uint64(binary.BigEndian.Uint32(data)), uint64(8)
	switch {
	case n == 0:
		n = uint64(len(data))
	case n == 1 && len(data) >= 16:
		n, head = binary.BigEndian.Uint64(data[8:]), 16
	}
	if n < head {
		return "", nil, nil, fail(ErrCorrupt, "a box of the JPEG 2000 file has %d bytes; it must have at least %d", n, head)
	}
	name = string(data[4:8])
	if n > uint64(len(data)) {
		if name != "jp2c" {
			return "", nil, nil, fail(ErrTruncated, "the JPEG 2000 data ends early; the file is truncated")
		}
		n = uint64(len(data)) // its tile-parts tell what is missing
	}
	return name, data[head:n], data[n:], nil
}

// read gives the first codestream.
func (b *jp2Boxes) read(data []byte) (codestream []byte, err error) {
	b.colours = jp2NotSaid
	for {
		name, content, rest, err := jp2Box(data)
		if err != nil {
			return nil, err
		}
		switch data = rest; name {
		case "jp2h":
			for len(content) > 0 {
				if name, content, rest, err = jp2Box(content); err != nil {
					return nil, err
				}
				if err := b.readHeader(name, content); err != nil {
					return nil, err
				}
				content = rest
			}
		case "jp2c":
			if b.components == 0 {
				return nil, fail(ErrCorrupt, "the JPEG 2000 file has no ihdr box before its codestream")
			}
			return content, nil
		}
	}
}

func (b *jp2Boxes) readHeader(name string, content []byte) error {
	need := map[string]int{"ihdr": 14, "colr": 3, "pclr": 4}[name]
	if len(content) < need {
		return fail(ErrCorrupt, "the %s box of the JPEG 2000 file has %d bytes; it must have at least %d", name, len(content), need)
	}
	switch {
	case name == "ihdr":
		b.height, b.width = int(binary.BigEndian.Uint32(content)), int(binary.BigEndian.Uint32(content[4:]))
		b.components, b.bits = int(binary.BigEndian.Uint16(content[8:])), content[10]
	case name == "colr" && content[0] == 1 && len(content) >= 7 && b.colours == jp2NotSaid:
		b.colours = int(binary.BigEndian.Uint32(content[3:]))
	case name == "pclr" && b.colours != jp2Bilevel && b.colours != jp2Bilevel2 && b.colours != jp2Grey:
		return b.readPalette(content)
	}
	return nil
}

func (b *jp2Boxes) readPalette(content []byte) error {
	colours, channels := int(binary.BigEndian.Uint16(content)), int(content[2])
	if channels != 3 && channels != 4 || colours == 0 || colours > 256 || b.colours == jp2CMYK ||
		len(content) < 3+channels+colours*channels || bytes.ContainsFunc(content[3:3+channels], func(bits rune) bool { return bits != 7 }) {
		return unsupported("JPEG 2000", "with a palette other than of RGB or RGBA in 8 bits is not read; convert it to PNG first")
	}
	entries := content[3+channels:]
	for i := range colours {
		c := [4]uint8{3: 255}
		copy(c[:], entries[i*channels:(i+1)*channels])
		b.palette = append(b.palette, c)
	}
	return nil
}
