package preprocess

import (
	"context"
	"io"
	"math"
	"math/bits"
)

// tiffFile is the first page of a TIFF or BigTIFF, of strips or tiles. It is read here and not by
// x/image, whose reader exchanges black and white of some faxes and knows no planes, CMYK, JPEG,
// Zstandard or big files.
type tiffFile struct {
	tiffTags
	tiffColours
	data           []byte
	w, h           int
	pw, ph         int // of a strip or tile: a part
	across, down   int // how many
	planes         int // 1, or one for each sample
	offsets, sizes tiffTag
	compression    int
	palette        [][4]uint8
}

// openTIFF gives Pillow's modes: 1 and L from grey, I;16 from 12 and 16 bits of grey, P, LA, RGB,
// RGBA and CMYK; colours at 16 bits keep their high byte. Associated alpha is divided out, and the
// orientation honoured, as Pillow does in TIFF alone.
func openTIFF(data []byte) (*decoder, error) {
	tags, err := readTIFFTags(data)
	if err != nil {
		return nil, err
	}
	if tags.isRAW() {
		if p, err := openRAW(data); err == nil {
			return p, nil
		}
	}
	t := &tiffFile{tiffTags: tags, data: data, w: tags.first(tiffWidth, 0), h: tags.first(tiffHeight, 0)}
	p := &decoder{width: t.w, height: t.h, decode: t.decode}
	if t.w <= 0 || t.h <= 0 || max(t.w, t.h) > longestSide { // refused by size, whatever follows
		return p, nil
	}
	if t.tiffColours, err = tags.colours(); err == nil {
		err = t.layout()
	}
	if err == nil {
		err = t.readPalette()
	}
	if err != nil && t.cut { // what is missing may be what is wrong
		return nil, fail(ErrTruncated, "the TIFF data ends before its tags; the file is truncated")
	}
	if err != nil {
		return nil, err
	}
	p.result = int64(t.w) * int64(t.h) * int64(t.mode.Bytes())
	p.memory = p.result + int64(t.rowLen())*4 + 256<<10 // the codecs' own
	if t.compression == tiffZstd {
		p.memory += 2 * zstdWindow
	}
	if t.compression == tiffJPEG { // decoded part by part
		p.memory += int64(t.pw)*int64(t.ph)*int64(t.samples)*8 + int64(len(data))
	} else if t.first(tiffFillOrder, 1) == 2 {
		p.memory += int64(len(data))
	}
	p.turned = t.orientation()
	return p, nil
}

// layout reads where the strips or tiles lie.
func (t *tiffFile) layout() error {
	t.compression = t.first(tiffCompression, tiffRaw)
	if err := t.checkCompression(); err != nil {
		return err
	}
	t.pw, t.ph = t.w, min(t.first(tiffRowsPerStrip, t.h), t.h)
	t.offsets, t.sizes = tiffStripOffsets, tiffStripCounts
	if t.number(tiffTileOffsets) > 0 {
		t.pw, t.ph = t.first(tiffTileWidth, 0), t.first(tiffTileHeight, 0)
		t.offsets, t.sizes = tiffTileOffsets, tiffTileCounts
		// Small tiles cost more than their pixels, large ones more than the image; both are no
		// encoder's.
		if t.pw < 8 || t.ph < 8 || t.pw > t.w+1<<13 || t.ph > t.h+1<<13 {
			return fail(ErrCorrupt, "the TIFF has tiles of %dx%d pixels in an image of %dx%d", t.pw, t.ph, t.w, t.h)
		}
	}
	if t.ph < 1 {
		return fail(ErrCorrupt, "the TIFF has strips of %d rows; they should have at least one", t.ph)
	}
	t.across, t.down = (t.w+t.pw-1)/t.pw, (t.h+t.ph-1)/t.ph
	t.planes = 1
	if t.first(tiffPlanar, 1) == 2 && t.samples > 1 {
		if t.bits != 8 && t.bits != 16 {
			return unsupported("TIFF", "of planes of %d bits is not read; save it again as PNG", t.bits)
		}
		t.planes = t.mode.Bytes() // samples beyond the colours are passed over
		if t.mode == ModeRGBA && t.number(tiffExtraSamples) == 0 && t.compression != tiffRaw {
			t.premultiplied = true // what it is the file does not say; Pillow takes it so here, and not so in contiguous samples
		}
	}
	return nil
}

// readPalette reads the colours of a palette, of which the high bytes are kept.
func (t *tiffFile) readPalette() error {
	if t.mode != ModeP {
		return nil
	}
	n := 1 << t.bits
	if t.number(tiffColourMap) < 3*n {
		return fail(ErrCorrupt, "the TIFF has %d values in its palette; it should have %d", t.number(tiffColourMap), 3*n)
	}
	t.palette = make([][4]uint8, n)
	for i := range t.palette {
		for c := range 3 {
			t.palette[i][c] = uint8(t.at(tiffColourMap, c*n+i) >> 8)
		}
		t.palette[i][3] = 255
	}
	return nil
}

// rowLen is the length of a part's row.
func (t *tiffFile) rowLen() int {
	samples := t.samples
	if t.planes > 1 {
		samples = 1
	}
	return (t.pw*samples*t.bits + 7) / 8
}

// part gives the stored bytes of a strip or tile: up to the end of the data where the file does not
// tell their number.
func (t *tiffFile) part(i int) []byte {
	from, size := t.at(t.offsets, i), math.MaxInt
	if i < t.number(t.sizes) {
		if n := t.at(t.sizes, i); n > 0 && t.compression != tiffRaw {
			size = n
		}
	}
	if from >= len(t.data) {
		return nil
	}
	rest := t.data[from:]
	return rest[:min(size, len(rest))]
}

func (t *tiffFile) decode(ctx context.Context, lim Limits) (*Image, error) {
	short := fail(ErrTruncated, "the TIFF data ends early; the file is truncated")
	if t.number(t.offsets) < t.across*t.down*t.planes || !t.canHold() {
		return nil, short
	}
	out := lim.image(t.mode, t.w, t.h)
	out.Palette = t.palette
	row := make([]uint8, t.rowLen())
	codec := &tiffCodec{tiffFile: t, ctx: ctx}
	defer codec.close()
	for i := range t.across * t.down * t.planes {
		plane, place := i/(t.across*t.down), i%(t.across*t.down)
		x, y := place%t.across*t.pw, place/t.across*t.ph
		rows, err := codec.open(t.part(i), min(t.ph, t.h-y))
		if err != nil {
			return nil, err
		}
		for to := min(y+t.ph, t.h); y < to; y++ {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if _, err := io.ReadFull(rows, row); err != nil {
				return nil, err
			}
			codec.predict(row)
			n := t.mode.Bytes()
			dst := out.Pix[(y*t.w+x)*n:][:min(t.pw, t.w-x)*n]
			if t.planes == 1 {
				t.unpack(dst, row, t.bigEndian())
			} else {
				t.unpackPlane(dst, row, plane, t.bigEndian())
				if plane == t.planes-1 {
					t.finish(dst)
				}
			}
		}
	}
	return out, nil
}

// canHold reports whether the file is long enough for its pixels, so that a short one allocates none.
// The codecs that are not asked may shrink rows of one colour to nothing.
func (t *tiffFile) canHold() bool {
	need := int64(t.w) * int64(t.h) * int64(t.samples*t.bits) / 8
	if t.planes > 1 {
		need = int64(t.w) * int64(t.h) * int64(t.planes*t.bits) / 8
	}
	switch t.compression {
	case tiffRaw:
		return need <= int64(len(t.data))
	case tiffLZW, tiffDeflate, tiffOldDeflate, tiffPackBits: // LZW's longest string is 4096 bytes, in 12 bits
		return need <= 2731*int64(len(t.data))
	case tiffJPEG: // one bit for a block of 64 pixels
		return int64(t.w)*int64(t.h) <= 512*int64(len(t.data))+1<<16
	}
	return true
}

// reversed gives data whose bytes have their bits in the other order.
func reversed(data []byte) []byte {
	out := make([]byte, len(data))
	for i, b := range data {
		out[i] = bits.Reverse8(b)
	}
	return out
}
