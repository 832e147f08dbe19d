package preprocess

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tiffOf is a little-endian TIFF of one directory whose entries are tag, type (3 short, 4 long), value; its strip or
// tile data, and nothing else, lies behind.
func tiffOf(body []byte, entries ...[3]uint32) []byte {
	out := binary.LittleEndian.AppendUint32([]byte("II*\x00"), 8)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(entries)))
	for _, e := range entries {
		out = binary.LittleEndian.AppendUint16(out, uint16(e[0]))
		out = binary.LittleEndian.AppendUint16(out, uint16(e[1]))
		out = binary.LittleEndian.AppendUint32(out, 1)
		out = binary.LittleEndian.AppendUint32(out, e[2])
	}
	return append(binary.LittleEndian.AppendUint32(out, 0), body...)
}

// behind is where tiffOf puts the body after n entries.
func behind(n int) uint32 { return uint32(8 + 2 + 12*n + 4) }

// riff is a WebP file of one chunk.
func riff(kind string, body []byte) []byte {
	out := append([]byte("RIFF"), 0, 0, 0, 0)
	out = append(append(out, "WEBP"+kind...), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(out[16:], uint32(len(body)))
	out = append(out, body...)
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

// Small files that claim much, among them the cases behind the advisories on decoders of Go: each is refused with one
// line, and costs less than 16 MiB.
func TestBombs(t *testing.T) {
	jpeg := func(w, h uint16, sampling byte) []byte { // three components, no tables, a scan of no data
		out := []byte{0xff, 0xd8, 0xff, 0xc2, 0, 17, 8, byte(h >> 8), byte(h), byte(w >> 8), byte(w), 3}
		out = append(out, 1, sampling, 0, 2, 0x11, 0, 3, 0x11, 0)
		return append(out, 0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0xff, 0xd9)
	}
	text := append([]byte("\x89PNG\r\n\x1a\n"), pngHeaderOnly(9, 9)[8:]...)
	for name, data := range map[string][]byte{
		// golang/go#10532: 1.3 GB from a few hundred bytes.
		"JPEG of 65500 pixels a side":          jpeg(65500, 65500, 0x22),
		"progressive JPEG inside the limit":    jpeg(11000, 11000, 0x22),
		"JPEG whose components are 4 by 4":     jpeg(11000, 11000, 0x44),
		"JPEG of no height, told later":        jpeg(11000, 0, 0x22),
		"GIF of 65535 pixels a side":           gifHeaderOnly(65535, 65535),
		"WebP canvas of 2^24 pixels a side":    riff("VP8X", []byte{0, 0, 0, 0, 255, 255, 255, 255, 255, 255}),
		"lossless WebP of 16384 pixels a side": riff("VP8L", []byte{0x2f, 255, 255, 255, 0x0f, 0, 0, 0}),
		"lossy WebP of 16383 pixels a side":    riff("VP8 ", []byte{0, 0, 0, 0x9d, 1, 0x2a, 255, 63, 255, 63, 0, 0}),
		"PNG with a chunk beyond its end":      append(text, 0x7f, 255, 255, 255, 'z', 'T', 'X', 't', 1, 2, 3),
		// CVE-2022-41727: a strip or tile count that DecodeConfig believed.
		"TIFF of an endless count": tiffOf(nil, [3]uint32{256, 4, 1 << 31}, [3]uint32{257, 4, 1 << 31}),
		// CVE-2026-46602: tiles beyond the image that the header check saw.
		"TIFF of a tile of 2^31": tiffOf(make([]byte, 16), [3]uint32{256, 4, 16}, [3]uint32{257, 4, 16},
			[3]uint32{258, 3, 8}, [3]uint32{259, 3, 1}, [3]uint32{262, 3, 1}, [3]uint32{277, 3, 1},
			[3]uint32{322, 4, 1 << 30}, [3]uint32{323, 4, 1 << 30}, [3]uint32{324, 4, behind(10)}, [3]uint32{325, 4, 16}),
		// CVE-2026-46599: PackBits runs far beyond the strip.
		"TIFF of PackBits runs": tiffOf(bytes.Repeat([]byte{129, 7}, 1<<16), [3]uint32{256, 4, 8}, [3]uint32{257, 4, 8},
			[3]uint32{258, 3, 8}, [3]uint32{259, 3, 32773}, [3]uint32{262, 3, 1}, [3]uint32{273, 4, 1 << 20},
			[3]uint32{277, 3, 1}, [3]uint32{278, 4, 8}, [3]uint32{279, 4, 1 << 17}),
		// CVE-2023-36308: an index beyond a palette that is not there.
		"TIFF of a palette that is not there": tiffOf(make([]byte, 64), [3]uint32{256, 4, 8}, [3]uint32{257, 4, 8},
			[3]uint32{258, 3, 8}, [3]uint32{259, 3, 1}, [3]uint32{262, 3, 3}, [3]uint32{273, 4, behind(9)},
			[3]uint32{277, 3, 1}, [3]uint32{278, 4, 8}, [3]uint32{279, 4, 64}),
		"TIFF inside the limit without strips": tiffOf(nil, [3]uint32{256, 4, 11000}, [3]uint32{257, 4, 11000},
			[3]uint32{258, 3, 8}, [3]uint32{259, 3, 1}, [3]uint32{262, 3, 1}, [3]uint32{277, 3, 1}),
	} {
		t.Run(name, func(t *testing.T) {
			if !HasJPEGTurbo && isJPEGBomb(data) {
				return // image/jpeg allocates its planes first
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			img, err := Decode(t.Context(), data, DefaultLimits)
			runtime.ReadMemStats(&after)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Nil(t, img)
			assert.NotContains(t, err.Error(), "\n")
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
			t.Log(err)
		})
	}
}

func isJPEGBomb(data []byte) bool { return data[0] == 0xff }
