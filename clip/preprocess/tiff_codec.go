package preprocess

import (
	"bytes"
	"context"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/image/tiff/lzw"
)

// Compressions of a TIFF.
const (
	tiffRaw        = 1
	tiffFax2       = 2 // CCITT RLE, rows on bytes
	tiffFax3       = 3
	tiffFax4       = 4
	tiffLZW        = 5
	tiffJPEG       = 7
	tiffDeflate    = 8
	tiffPackBits   = 32773
	tiffOldDeflate = 32946
	tiffZstd       = 50000
)

// zstdWindow bounds what a zstd decoder keeps of its output.
const zstdWindow = 8 << 20

var tiffUnread = map[int]string{6: "old JPEG", 32771: "16-bit padding", 32809: "ThunderScan", 34676: "SGI log",
	34677: "SGI log", 34887: "LERC", 34925: "LZMA", 50001: "WebP", 50002: "JPEG XL", 34712: "JPEG 2000"}

func (t *tiffFile) checkCompression() error {
	if p := t.first(tiffPredictor, 1); p > 2 || p == 2 && t.bits != 8 && t.bits != 16 {
		return unsupported("TIFF", "of predictor %d with %d bits is not read; save it again as PNG", p, t.bits)
	}
	switch t.compression {
	case tiffRaw, tiffLZW, tiffDeflate, tiffOldDeflate, tiffPackBits, tiffZstd:
		return nil
	case tiffFax2, tiffFax3, tiffFax4:
		if t.samples == 1 && t.bits == 1 {
			return nil
		}
		return fail(ErrCorrupt, "the TIFF is a fax of %d samples of %d bits; a fax has one of one bit",
			t.samples, t.bits)
	case tiffJPEG:
		if t.bits == 8 {
			return nil
		}
		return unsupported("TIFF", "of JPEG data of %d bits is not read; save it again as PNG", t.bits)
	}
	if name := tiffUnread[t.compression]; name != "" {
		return unsupported("TIFF", "of the compression %s is not read; save it again as PNG", name)
	}
	return unsupported("TIFF", "of compression %d is not read; save it again as PNG", t.compression)
}

// tiffCodec decompresses the strips or tiles of a file, one after the other.
type tiffCodec struct {
	*tiffFile
	ctx  context.Context
	zlib io.ReadCloser
	zstd *zstd.Decoder
	part part // the memory of JPEG data
}

func (c *tiffCodec) close() {
	if c.zstd != nil {
		c.zstd.Close()
	}
}

// open gives the rows of a part, of which the first n are needed.
func (c *tiffCodec) open(data []byte, n int) (io.Reader, error) {
	if c.first(tiffFillOrder, 1) == 2 && c.compression != tiffJPEG {
		data = reversed(data)
	}
	r := bytes.NewReader(data)
	switch c.compression {
	case tiffFax2, tiffFax3, tiffFax4:
		return newFaxReader(data, c.pw, c.compression, c.first(tiffT4Options, 0)), nil
	case tiffLZW:
		if len(data) > 1 && data[0] == 0 && data[1]&1 == 1 {
			return nil, unsupported("TIFF", "of LZW data of before 1992 is not read; save it again as PNG")
		}
		return lzw.NewReader(r, lzw.MSB, 8), nil
	case tiffDeflate, tiffOldDeflate:
		if c.zlib != nil {
			return c.zlib, c.zlib.(zlib.Resetter).Reset(r, nil)
		}
		z, err := zlib.NewReader(r)
		c.zlib = z
		return z, err
	case tiffPackBits:
		return &packBits{data: data}, nil
	case tiffZstd:
		if c.zstd != nil {
			return c.zstd, c.zstd.Reset(r)
		}
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow))
		c.zstd = z
		return z, err
	case tiffJPEG:
		return c.jpeg(data, n)
	}
	return r, nil
}

// jpeg decodes a part that is a JPEG, whose tables may stand apart. Colours other than YCbCr are
// those that are stored.
func (c *tiffCodec) jpeg(data []byte, n int) (io.Reader, error) {
	if tables := c.tags[tiffJPEGTables].raw; len(tables) > 4 && len(data) > 2 {
		data = append(bytes.Clone(tables[:len(tables)-2]), data[2:]...) // without the end of one, the start of the other
	}
	colours := jpegStored
	if c.first(tiffPhotometric, 0) == tiffYCbCr {
		colours = jpegYCbCr
	}
	f := jpegMarkers(data)
	if f.w != c.pw || f.h < n || f.h > c.ph+8 {
		return nil, fail(ErrCorrupt, "the TIFF has a JPEG of %dx%d pixels where %dx%d should be", f.w, f.h, c.pw, n)
	}
	if f.scans > fewScans {
		return nil, fail(ErrTooLarge, "the TIFF has a JPEG of %d scans, more than any encoder writes; save it again", f.scans)
	}
	img, err := decodeJPEG(c.ctx, data, colours, Limits{part: &c.part})
	if err != nil {
		return nil, err
	}
	samples := c.samples
	if c.planes > 1 {
		samples = 1
	}
	if img.Mode.Bytes() != samples {
		return nil, fail(ErrCorrupt, "the TIFF has a JPEG of %d samples where %d should be", img.Mode.Bytes(), samples)
	}
	return bytes.NewReader(img.Pix), nil
}

// predict undoes the difference of neighbours in a row.
func (c *tiffCodec) predict(row []uint8) {
	if c.first(tiffPredictor, 1) != 2 {
		return
	}
	switch c.compression {
	case tiffLZW, tiffDeflate, tiffOldDeflate, tiffZstd:
	default:
		return
	}
	step := c.samples
	if c.planes > 1 {
		step = 1
	}
	switch c.bits {
	case 8:
		for i := step; i < len(row); i++ {
			row[i] += row[i-step]
		}
	case 16:
		for i := 2 * step; i+1 < len(row); i += 2 {
			c.order.PutUint16(row[i:], c.order.Uint16(row[i:])+c.order.Uint16(row[i-2*step:]))
		}
	}
}

// packBits reads Apple's runs: a count of values that follow, or of repetitions of one.
type packBits struct {
	data   []byte
	copies int // values that follow as they are
	times  int // repetitions of value
	value  byte
}

func (p *packBits) Read(to []byte) (n int, err error) {
	for n < len(to) {
		switch {
		case p.copies > 0:
			k := copy(to[n:], p.data[:min(p.copies, len(p.data))])
			if k == 0 {
				return n, io.ErrUnexpectedEOF
			}
			p.data, p.copies, n = p.data[k:], p.copies-k, n+k
		case p.times > 0:
			to[n] = p.value
			p.times--
			n++
		case len(p.data) == 0:
			return n, io.ErrUnexpectedEOF
		default:
			count := int(int8(p.data[0]))
			if p.data = p.data[1:]; count >= 0 {
				p.copies = count + 1
			} else if count > -128 {
				if len(p.data) == 0 {
					return n, io.ErrUnexpectedEOF
				}
				p.value, p.times, p.data = p.data[0], 1-count, p.data[1:]
			}
		}
	}
	return n, nil
}
