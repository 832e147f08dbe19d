package preprocess

import "context"

// gifFile is a GIF up to its first frame. It is read as Pillow's GifImagePlugin reads it, which
// image/gif does not: bytes between blocks and unknown extensions are passed over, codes may be of
// 1 bit, a colour table may be missing, a frame may lie beyond the canvas, which is then widened,
// and later frames are not looked at.
type gifFile struct {
	w, h         int // the canvas
	x, y, fw, fh int // the frame on it
	interlaced   bool
	bits         int // of a code at first
	transparent  int // index, or -1
	mode         Mode
	palette      [][4]uint8 // nil for ModeL
	data         []byte     // the sub-blocks of the frame
}

// openGIF gives the first frame as Pillow does: mode P, or L where the palette is the grey ramp or
// missing.
func openGIF(data []byte) (*decoder, error) {
	if len(data) < 13 {
		return nil, errGIFShort()
	}
	g := &gifFile{w: int(read16(data[6:], 0)), h: int(read16(data[8:], 0)), transparent: -1}
	at := 13 + gifTable(data[10])
	if at > len(data) {
		return nil, errGIFShort()
	}
	table := data[13:at]
	for {
		if at >= len(data) {
			return nil, errGIFShort()
		}
		switch data[at] {
		case '!':
			if at+7 < len(data) && data[at+1] == 0xf9 && data[at+2] >= 4 && data[at+3]&1 != 0 {
				g.transparent = int(data[at+6])
			}
			for at += 2; at < len(data) && data[at] != 0; {
				at += int(data[at]) + 1
			}
		case ',':
			if at+11 > len(data) {
				return nil, errGIFShort()
			}
			return g.frame(data[at+1:], table)
		case ';':
			return nil, fail(ErrEmpty, "the GIF holds no frame; it should hold at least one")
		}
		at++
	}
}

func errGIFShort() error {
	return fail(ErrTruncated, "the GIF data ends before the end of its first frame; the file is truncated")
}

// frame reads the descriptor of the first frame.
func (g *gifFile) frame(data, table []byte) (*decoder, error) {
	g.x, g.y = int(read16(data, 0)), int(read16(data[2:], 0))
	g.fw, g.fh = int(read16(data[4:], 0)), int(read16(data[6:], 0))
	if g.fw == 0 || g.fh == 0 {
		return nil, fail(ErrEmpty, "the first frame of the GIF has %dx%d pixels; it should have at least 1x1", g.fw, g.fh)
	}
	flags := data[8]
	g.interlaced = flags&0x40 != 0
	n := gifTable(flags)
	if 9+n >= len(data) {
		return nil, errGIFShort()
	}
	if n > 0 {
		table = data[9 : 9+n]
	}
	g.bits, g.data = int(data[9+n]), data[10+n:]
	if g.bits > 12 {
		return nil, fail(ErrCorrupt, "the GIF data has codes of %d bits; it should have 12 at most", g.bits)
	}
	palette := make([][4]uint8, len(table)/3)
	for i := range palette {
		palette[i] = [4]uint8{table[3*i], table[3*i+1], table[3*i+2], 255}
	}
	if !isGreyRamp(palette) {
		g.mode, g.palette = ModeP, palette
		if g.transparent >= 0 && g.transparent < len(palette) {
			palette[g.transparent][3] = 0
		}
	}
	g.w, g.h = max(g.w, g.x+g.fw), max(g.h, g.y+g.fh)
	result := int64(g.w) * int64(g.h)
	return &decoder{width: g.w, height: g.h, result: result, memory: result + 32<<10, decode: g.decode}, nil
}

// decode puts the frame on its canvas; the rest has the transparent index, or 0.
func (g *gifFile) decode(ctx context.Context, lim Limits) (*Image, error) {
	// A code of LZW stands for 4096 pixels at most: a shorter file cannot hold its frame, so none
	// is allocated.
	if int64(g.fw)*int64(g.fh) > 4096*int64(len(g.data)) {
		return nil, errGIFShort()
	}
	out := lim.image(g.mode, g.w, g.h)
	out.Palette = g.palette
	fill(out.Pix, uint8(max(g.transparent, 0)))
	if err := g.lzw(ctx, out); err != nil {
		return nil, err
	}
	return out, nil
}

// gifCursor is where the next pixel goes: rows in the order of interlacing.
type gifCursor struct {
	g    *gifFile
	pix  []uint8
	row  []uint8 // what is left of this row
	y    int
	step int
	pass int // 1 to 3 have passes after them
}

func (g *gifFile) cursor(out *Image) gifCursor {
	c := gifCursor{g: g, pix: out.Pix, step: 1}
	if g.interlaced {
		c.step, c.pass = 8, 1
	}
	c.start()
	return c
}

func (c *gifCursor) start() { c.row = c.pix[(c.g.y+c.y)*c.g.w+c.g.x:][:c.g.fw] }

// put writes pixels and reports whether the frame is full.
func (c *gifCursor) put(pixels []uint8) bool {
	for {
		n := copy(c.row, pixels)
		pixels, c.row = pixels[n:], c.row[n:]
		if len(c.row) > 0 {
			return false
		}
		c.y += c.step
		for c.y >= c.g.fh {
			switch c.pass {
			case 1:
				c.y, c.pass = 4, 2
			case 2:
				c.y, c.step, c.pass = 2, 4, 3
			case 3:
				c.y, c.step, c.pass = 1, 2, 0
			default:
				return true
			}
		}
		c.start()
	}
}

// gifBits are the most bits of a code.
const gifBits = 12

// lzw decodes the frame's data, as Pillow's GifDecode.c.
func (g *gifFile) lzw(ctx context.Context, out *Image) error {
	var (
		suffix   [1 << gifBits]uint8  // last pixel of a code's string
		prefix   [1 << gifBits]uint16 // code of the string before it
		str      [1<<gifBits + 1]uint8
		clearing = 1 << g.bits
		size     = g.bits + 1
		next     = clearing + 2 // the code that the next string gets
		last     = -1           // the code before this one; -1 after a clearing
		first    uint8          // the first pixel of its string
		bits     uint
		have     int
		cursor   = g.cursor(out)
	)
	for data := g.data; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(data) == 0 || data[0] == 0 || int(data[0]) >= len(data) { // the end, or a block cut short
			return errGIFShort()
		}
		block := data[1 : 1+int(data[0])]
		data = data[1+len(block):]
		for _, b := range block {
			bits |= uint(b) << have
			have += 8
			for have >= size {
				code := int(bits & (1<<size - 1))
				bits >>= size
				have -= size
				if code == clearing {
					size, next, last = g.bits+1, clearing+2, -1
					continue
				}
				if code == clearing+1 {
					return errGIFShort()
				}
				if code > next || last < 0 && code > clearing {
					return fail(ErrCorrupt, "the GIF data has a code that is not defined yet")
				}
				at, c := len(str), code
				if last >= 0 && code == next {
					at--
					str[at], c = first, last
				}
				for c >= clearing {
					if c >= len(suffix) || at <= 1 {
						return fail(ErrCorrupt, "the GIF data has a code that is not defined yet")
					}
					at--
					str[at], c = suffix[c], int(prefix[c])
				}
				at--
				str[at] = uint8(c)
				first = uint8(c)
				if last >= 0 && next < len(suffix) {
					suffix[next], prefix[next] = first, uint16(last)
					if next == 1<<size-1 && size < gifBits {
						size++
					}
					next++
				}
				last = code
				if cursor.put(str[at:]) {
					return nil
				}
			}
		}
	}
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

// isGreyRamp reports whether entry i is grey level i throughout, which Pillow reads as mode L.
func isGreyRamp(p [][4]uint8) bool {
	for i, c := range p {
		if v := uint8(i); c[0] != v || c[1] != v || c[2] != v {
			return false
		}
	}
	return true
}
