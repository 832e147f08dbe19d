package preprocess

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
)

// exifEntry is one entry of a little-endian directory.
func exifEntry(tag, kind uint16, count uint32, value ...byte) []byte {
	out := binary.LittleEndian.AppendUint16(nil, tag)
	out = binary.LittleEndian.AppendUint16(out, kind)
	return append(binary.LittleEndian.AppendUint32(out, count), value...)
}

func exifOfEntries(entries ...[]byte) []byte {
	out := binary.LittleEndian.AppendUint32([]byte("II*\x00"), 8)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(entries)))
	return append(append(out, bytes.Join(entries, nil)...), 0, 0, 0, 0)
}

// The orientation of untidy EXIF data is the one that Pillow's ImageOps.exif_transpose takes.
func TestOrientationOfUntidyEXIF(t *testing.T) {
	six := exifEntry(0x112, 3, 1, 6, 0, 0, 0)
	jpeg := readGolden(t, "pictures/face_420.jpg")
	for name, c := range map[string]struct {
		tiff []byte
		want int
	}{
		"good":                                 {exifOfEntries(six), 6},
		"cut behind the entry":                 {exifOfEntries(six)[:22], 6},
		"cut inside the entry":                 {exifOfEntries(six)[:20], 1},
		"behind values beyond the end":         {exifOfEntries(exifEntry(0x10f, 2, 1000, 0xff, 0xff, 0, 0), six), 6},
		"behind an unknown type":               {exifOfEntries(exifEntry(0x10f, 99, 1, 0, 0, 0, 0), six), 6},
		"behind more values than there can be": {exifOfEntries(exifEntry(0x10f, 2, 1<<32-1, 9, 0, 0, 0), six), 6},
		"a long":                               {exifOfEntries(exifEntry(0x112, 4, 1, 6, 0, 0, 0)), 6},
		"nine":                                 {exifOfEntries(exifEntry(0x112, 3, 1, 9, 0, 0, 0)), 1},
		"twice":                                {exifOfEntries(exifEntry(0x112, 3, 1, 3, 0, 0, 0), six), 3},
		"no directory":                         {[]byte("II*\x00\xff\xff\xff\xff"), 1},
		"nothing":                              {nil, 1},
	} {
		body := append([]byte("Exif\x00\x00"), c.tiff...)
		segment := append(binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(len(body)+2)), body...)
		file := append(append(bytes.Clone(jpeg[:2]), segment...), jpeg[2:]...)
		assert.Equal(t, c.want, orientation(exifOf(file)), name)
		h, err := ReadHeader(file, Limits{Orient: true})
		assert.NoError(t, err, name)
		want := [2]int{320, 260}
		if c.want > 4 {
			want = [2]int{260, 320}
		}
		assert.Equal(t, want, [2]int{h.Width, h.Height}, name)
	}
}
