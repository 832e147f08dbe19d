package preprocess

import (
	"bytes"
	"encoding/binary"
	"image/gif"
)

// decodeGIF gives the first frame as Pillow does: mode P, or L where the palette is the grey ramp. The frame lies on
// its canvas; the rest has the transparent index, or 0. Transparent entries keep their colour.
func decodeGIF(data []byte, lim Limits) (*Image, error) {
	first, err := firstFrame(data)
	if err != nil {
		return nil, err
	}
	if err := lim.size("GIF", first.w, first.h); err != nil {
		return nil, err
	}
	// A code of LZW stands for 4096 pixels at most: a shorter file cannot hold its frame, so none is allocated.
	if int64(first.frame) > 4096*int64(len(first.data)) {
		return nil, fail(ErrTruncated, "the GIF data ends before the end of its first frame; the file is truncated")
	}
	decoded, err := gif.DecodeAll(bytes.NewReader(first.data))
	if err != nil {
		return nil, err
	}
	m := decoded.Image[0]
	out := newImage(ModeP, first.w, first.h)
	out.Palette = paletteOf(m.Palette)
	if first.transparent >= 0 {
		fill(out.Pix, uint8(first.transparent))
	}
	at := m.Rect.Min
	for y := range m.Rect.Dy() {
		copy(out.Pix[(at.Y+y)*first.w+at.X:][:m.Rect.Dx()], m.Pix[y*m.Stride:])
	}
	if isGreyRamp(out.Palette) {
		out.Mode, out.Palette = ModeL, nil
	} else if first.transparent >= 0 && first.transparent < len(out.Palette) {
		out.Palette[first.transparent][3] = 0
	}
	return out, nil
}

// gifFrame is a GIF cut after its first frame, without transparency, on a canvas that holds the frame.
type gifFrame struct {
	data        []byte
	w, h        int // the canvas
	frame       int // pixels of the frame
	transparent int // index, or -1
}

// firstFrame walks the blocks of a GIF up to the end of its first frame. image/gif would decode the later frames too,
// turn the transparent entry black, and refuse a frame beyond the canvas, which Pillow widens.
func firstFrame(data []byte) (f gifFrame, err error) {
	short := fail(ErrTruncated, "the GIF data ends before the end of its first frame; the file is truncated")
	if len(data) < 13 {
		return f, short
	}
	f = gifFrame{w: int(read16(data[6:], 0)), h: int(read16(data[8:], 0)), transparent: -1}
	at := 13 + gifTable(data[10])
	flagAt, frameAt := 0, 0
	for frameAt == 0 {
		if at+10 >= len(data) {
			return f, short
		}
		switch data[at] {
		case '!':
			if data[at+1] == 0xf9 && data[at+2] == 4 {
				f.transparent = -1
				if data[at+3]&1 != 0 {
					flagAt, f.transparent = at+3, int(data[at+6])
				}
			}
			at += 2
		case ',':
			frameAt = at
			at += 11 + gifTable(data[at+9])
		case ';':
			return f, fail(ErrEmpty, "the GIF holds no frame; it should hold at least one")
		default:
			return f, fail(ErrCorrupt, "the GIF data has an unknown block (0x%02x)", data[at])
		}
		for at < len(data) && data[at] != 0 {
			at += int(data[at]) + 1
		}
		at++
	}
	if at > len(data) {
		return f, short
	}
	f.data = append(bytes.Clone(data[:at]), ';')
	if flagAt > 0 {
		f.data[flagAt] &^= 1
	}
	fw, fh := int(read16(data[frameAt+5:], 0)), int(read16(data[frameAt+7:], 0))
	f.frame = fw * fh
	f.w = max(f.w, int(read16(data[frameAt+1:], 0))+fw)
	f.h = max(f.h, int(read16(data[frameAt+3:], 0))+fh)
	if f.w > 0xffff || f.h > 0xffff {
		return f, fail(ErrCorrupt, "the first frame of the GIF lies beyond 65535 pixels")
	}
	binary.LittleEndian.PutUint16(f.data[6:], uint16(f.w))
	binary.LittleEndian.PutUint16(f.data[8:], uint16(f.h))
	return f, nil
}

// gifTable is the length of a colour table by the flags before it.
func gifTable(flags uint8) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}

func fill(p []uint8, v uint8) {
	for i := range p {
		p[i] = v
	}
}

// isGreyRamp tells whether entry i is grey level i throughout, which Pillow reads as mode L.
func isGreyRamp(p [][4]uint8) bool {
	for i, c := range p {
		if v := uint8(i); c[0] != v || c[1] != v || c[2] != v {
			return false
		}
	}
	return true
}
