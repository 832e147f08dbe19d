package preprocess

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zlib"
)

// pngFile is a PNG, read as Pillow's PngImagePlugin reads it, which image/png does not: checksums
// of the data are passed over, what follows the last row too, and IEND may be missing.
type pngFile struct {
	w, h          int
	depth, colour uint8
	interlaced    bool
	mode          Mode
	palette       [][4]uint8
	data          []byte // of the whole file; once chunks has run, from the first IDAT chunk on
}

// PNG colour types.
const (
	pngGrey      = 0
	pngRGB       = 2
	pngPalette   = 3
	pngGreyAlpha = 4
	pngRGBA      = 6
)

// pngChannels is the number of samples of a pixel, by colour type.
var pngChannels = [...]int{pngGrey: 1, pngRGB: 3, pngPalette: 1, pngGreyAlpha: 2, pngRGBA: 4}

// pngModes are Pillow's: grey with alpha at 16 bits is RGBA; colours at 16 bits keep their high
// byte. A tRNS chunk adds no alpha channel.
var pngModes = map[[2]uint8]Mode{ // by bits and colour type
	{1, pngGrey}: Mode1, {2, pngGrey}: ModeL, {4, pngGrey}: ModeL, {8, pngGrey}: ModeL, {16, pngGrey}: ModeI16,
	{8, pngRGB}: ModeRGB, {16, pngRGB}: ModeRGB,
	{1, pngPalette}: ModeP, {2, pngPalette}: ModeP, {4, pngPalette}: ModeP, {8, pngPalette}: ModeP,
	{8, pngGreyAlpha}: ModeLA, {16, pngGreyAlpha}: ModeRGBA,
	{8, pngRGBA}: ModeRGBA, {16, pngRGBA}: ModeRGBA,
}

func openPNG(data []byte) (*decoder, error) {
	if len(data) < 33 {
		return nil, fail(ErrTruncated, "the PNG data ends inside its header; the file is truncated")
	}
	if string(data[12:16]) != "IHDR" || binary.BigEndian.Uint32(data[8:]) < 13 {
		return nil, fail(ErrCorrupt, "the PNG data does not start with an IHDR chunk")
	}
	p := &pngFile{
		w: int(int32(binary.BigEndian.Uint32(data[16:]))), h: int(int32(binary.BigEndian.Uint32(data[20:]))),
		depth: data[24], colour: data[25], interlaced: data[28] != 0,
	}
	mode, known := pngModes[[2]uint8{p.depth, p.colour}]
	if !known || data[26] != 0 || data[27] != 0 {
		return nil, unsupported("PNG", "of colour type %d and %d bits, method %d and filter %d, is not read",
			p.colour, p.depth, data[26], data[27])
	}
	p.mode, p.data = mode, data
	result := int64(p.w) * int64(p.h) * int64(mode.Bytes())
	return &decoder{width: p.w, height: p.h, result: result, decode: p.decode,
		memory: result + 3*int64(p.rowLen(p.w)) + inflaterBytes}, nil
}

// inflaterBytes is what a zlib reader and its buffer take.
const inflaterBytes = 128 << 10

// chunks walks the chunks before the data, whose checksums Pillow checks.
func (p *pngFile) chunks(ctx context.Context, data []byte) error {
	for at := data[8:]; len(at) >= 8; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int64(binary.BigEndian.Uint32(at))
		id := string(at[4:8])
		if id == "IDAT" {
			p.data = at
			return nil
		}
		if id == "IEND" {
			return fail(ErrTruncated, "the PNG holds no pixels (no IDAT chunk); the file is truncated")
		}
		if n+12 > int64(len(at)) {
			break
		}
		body := at[8 : 8+n]
		if crc32.ChecksumIEEE(at[4:8+n]) != binary.BigEndian.Uint32(at[8+n:]) {
			return fail(ErrCorrupt, "the PNG data has a wrong checksum in its %q chunk", id)
		}
		switch {
		case id == "PLTE" && p.colour == pngPalette:
			p.palette = make([][4]uint8, min(len(body)/3, 256))
			for i := range p.palette {
				p.palette[i] = [4]uint8{body[3*i], body[3*i+1], body[3*i+2], 255}
			}
		case id == "tRNS" && p.colour == pngPalette:
			for i := range min(len(p.palette), len(body)) {
				p.palette[i][3] = body[i]
			}
		}
		at = at[n+12:]
	}
	return fail(ErrTruncated, "the PNG data ends before its pixels; the file is truncated")
}

// rowLen is the length of a row of n pixels, without the byte of its filter.
func (p *pngFile) rowLen(n int) int { return (n*pngChannels[p.colour]*int(p.depth) + 7) / 8 }

func (p *pngFile) decode(ctx context.Context, lim Limits) (*Image, error) {
	if err := p.chunks(ctx, p.data); err != nil {
		return nil, err
	}
	// Deflate shrinks by 1032 at most: a file shorter than that cannot hold its pixels, so none are
	// allocated.
	if int64(len(p.data)) < int64(p.rowLen(p.w))*int64(p.h)/1032 {
		return nil, fail(ErrTruncated, "the PNG data ends early; the file is truncated")
	}
	z, err := zlib.NewReader(bufio.NewReaderSize(&pngData{next: p.data}, 16<<10))
	if err != nil {
		return nil, err
	}
	r := &pngRows{ctx: ctx, z: z, step: max(1, pngChannels[p.colour]*int(p.depth)/8)}
	out := lim.image(p.mode, p.w, p.h)
	out.Palette = p.palette
	if p.interlaced {
		err = p.passes(r, out)
	} else {
		err = p.rows(r, out)
	}
	if err != nil {
		return nil, err
	}
	// What follows the last row is passed over, but not a sum that is wrong.
	if _, err := z.Read(make([]byte, 1)); errors.Is(err, zlib.ErrChecksum) {
		return nil, fail(ErrCorrupt, "the PNG data has a wrong checksum behind its last row")
	}
	return out, nil
}

func (p *pngFile) rows(r *pngRows, out *Image) error {
	r.start(p.rowLen(p.w))
	stride := p.w * p.mode.Bytes()
	for y := range p.h {
		row, err := r.next()
		if err != nil {
			return err
		}
		p.unpack(out.Pix[y*stride:][:stride], row)
	}
	return nil
}

// passes reads the seven passes of an interlaced PNG.
func (p *pngFile) passes(r *pngRows, out *Image) error {
	n := p.mode.Bytes()
	pixels := make([]uint8, p.w*n)
	for _, s := range [7]struct{ x, y, dx, dy int }{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4},
		{1, 0, 2, 2}, {0, 1, 1, 2}} {
		w := (p.w - s.x + s.dx - 1) / s.dx
		if w <= 0 {
			continue
		}
		r.start(p.rowLen(w))
		for y := s.y; y < p.h; y += s.dy {
			row, err := r.next()
			if err != nil {
				return err
			}
			p.unpack(pixels[:w*n], row)
			for i := range w {
				copy(out.Pix[(y*p.w+s.x+i*s.dx)*n:][:n], pixels[i*n:])
			}
		}
	}
	return nil
}

// unpack writes a row's pixels in the mode of the image.
func (p *pngFile) unpack(dst, row []uint8) {
	switch {
	case p.depth < 8:
		unpackBits(dst, row, int(p.depth), bitScale(p.mode, int(p.depth)))
	case p.depth == 8:
		copy(dst, row)
	case p.mode == ModeI16:
		for i := 0; i+1 < len(dst); i += 2 {
			dst[i], dst[i+1] = row[i+1], row[i]
		}
	case p.colour == pngGreyAlpha:
		for i := 0; i+3 < len(dst); i += 4 {
			dst[i], dst[i+1], dst[i+2], dst[i+3] = row[i], row[i], row[i], row[i+2]
		}
	default:
		for i := range dst {
			dst[i] = row[2*i]
		}
	}
}

// bitScale is what a sample of few bits is multiplied by: a grey level fills the byte, an index
// stays.
func bitScale(mode Mode, depth int) uint8 {
	if mode == ModeP {
		return 1
	}
	return uint8(255 / (1<<depth - 1))
}

// unpackBits writes samples of 1, 2 or 4 bits, the highest bits first, times scale.
func unpackBits(dst, src []uint8, depth int, scale uint8) {
	each, mask := 8/depth, uint8(1<<depth-1)
	for i := range dst {
		dst[i] = src[i/each] >> (8 - depth - i%each*depth) & mask * scale
	}
}

// pngData reads the bodies of IDAT chunks that follow each other. A chunk cut short keeps what is
// there.
type pngData struct {
	next []byte // from the next chunk on
	body []byte // what is left of this one
}

func (d *pngData) Read(to []byte) (int, error) {
	for len(d.body) == 0 {
		if len(d.next) < 8 {
			return 0, io.ErrUnexpectedEOF
		}
		n := int64(binary.BigEndian.Uint32(d.next))
		if string(d.next[4:8]) != "IDAT" {
			return 0, io.ErrUnexpectedEOF
		}
		rest := d.next[8:]
		d.body = rest[:min(n, int64(len(rest)))]
		d.next = rest[min(n+4, int64(len(rest))):] // the checksum is passed over
	}
	n := copy(to, d.body)
	d.body = d.body[n:]
	return n, nil
}

// pngRows undoes the filters of rows.
type pngRows struct {
	ctx       context.Context
	z         io.Reader
	step      int     // bytes of a pixel, at least 1
	cur, last []uint8 // with the byte of the filter before the row
}

// start begins an image, or a pass, of rows of n bytes.
func (r *pngRows) start(n int) { r.cur, r.last = make([]uint8, n+1), make([]uint8, n+1) }

// next gives a row, good until the one after the next.
func (r *pngRows) next() ([]uint8, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r.z, r.cur); err != nil {
		return nil, err
	}
	row, above := r.cur[1:], r.last[1:]
	switch r.cur[0] {
	case 0:
	case 1:
		for i := r.step; i < len(row); i++ {
			row[i] += row[i-r.step]
		}
	case 2:
		for i, v := range above {
			row[i] += v
		}
	case 3:
		for i := range min(r.step, len(row)) {
			row[i] += above[i] / 2
		}
		for i := r.step; i < len(row); i++ {
			row[i] += uint8((int(row[i-r.step]) + int(above[i])) / 2)
		}
	case 4:
		paeth(row, above, r.step)
	default:
		return nil, fail(ErrCorrupt, "the PNG data has a row of the unknown filter %d", r.cur[0])
	}
	r.cur, r.last = r.last, r.cur
	return row, nil
}

// paeth adds, of the left, upper and upper left neighbours, the one that is nearest to left + upper
// - upper left.
func paeth(row, above []uint8, step int) {
	above = above[:len(row)]
	for c := range step {
		left, corner := 0, 0
		for i := c; i < len(row); i += step {
			up := int(above[i])
			toLeft, toUp := up-corner, left-corner
			toCorner := toLeft + toUp
			toLeft, toUp, toCorner = max(toLeft, -toLeft), max(toUp, -toUp), max(toCorner, -toCorner)
			if toLeft > toUp || toLeft > toCorner {
				if left = corner; toUp <= toCorner {
					left = up
				}
			}
			left = (left + int(row[i])) & 0xff
			row[i], corner = uint8(left), up
		}
	}
}
