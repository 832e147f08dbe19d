package preprocess

import (
	"encoding/binary"
	"math"
)

// tiffTag is a tag's number.
type tiffTag uint16

const (
	tiffWidth        tiffTag = 256
	tiffHeight       tiffTag = 257
	tiffBits         tiffTag = 258
	tiffCompression  tiffTag = 259
	tiffPhotometric  tiffTag = 262
	tiffFillOrder    tiffTag = 266
	tiffStripOffsets tiffTag = 273
	tiffOrientation  tiffTag = 274
	tiffSamples      tiffTag = 277
	tiffRowsPerStrip tiffTag = 278
	tiffStripCounts  tiffTag = 279
	tiffPlanar       tiffTag = 284
	tiffT4Options    tiffTag = 292
	tiffPredictor    tiffTag = 317
	tiffColourMap    tiffTag = 320
	tiffTileWidth    tiffTag = 322
	tiffTileHeight   tiffTag = 323
	tiffTileOffsets  tiffTag = 324
	tiffTileCounts   tiffTag = 325
	tiffExtraSamples tiffTag = 338
	tiffSampleFormat tiffTag = 339
	tiffJPEGTables   tiffTag = 347
	tiffSubfile      tiffTag = 254
	tiffSubIFDs      tiffTag = 330
	tiffJPEGOffset   tiffTag = 513
	tiffJPEGLength   tiffTag = 514
	tiffDNGVersion   tiffTag = 50706
	rw2Preview       tiffTag = 0x2e // Panasonic's
)

// tiffTags are the tags of the first directory of a TIFF, or of EXIF data, which has the same layout.
// They may come in any order; of two alike the first counts. They share the file's memory.
type tiffTags struct {
	order binary.ByteOrder
	tags  map[tiffTag]tiffValues
	big   bool   // BigTIFF
	next  uint64 // where the next directory lies, 0 where there is none
	cut   bool   // some tags, or their values, lie beyond the end of the file
}

// tiffValues are whole numbers of size bytes.
type tiffValues struct {
	size int
	raw  []byte
}

// readTIFFTags reads the first directory of a TIFF or BigTIFF. Tags of other types than whole
// numbers, or whose values lie beyond the file, are left out, as Pillow does.
func readTIFFTags(data []byte) (t tiffTags, err error) {
	if len(data) < 16 {
		return t, errTIFFShort()
	}
	t.order = binary.LittleEndian
	if data[0] == 'M' {
		t.order = binary.BigEndian
	}
	t.big = data[2] == 43 || data[3] == 43
	if t.big {
		return t, t.read(data, t.order.Uint64(data[8:]))
	}
	return t, t.read(data, uint64(t.order.Uint32(data[4:])))
}

func errTIFFShort() error {
	return fail(ErrTruncated, "the TIFF data ends before its directory; the file is truncated")
}

// read reads the directory at a place of data.
func (t *tiffTags) read(data []byte, at uint64) error {
	t.tags, t.next, t.cut = make(map[tiffTag]tiffValues), 0, false
	entry, counted := 12, 2 // length of an entry, and of their number
	if t.big {
		entry, counted = 20, 8
	}
	word := (entry - 4) / 2 // length of an offset
	if at > uint64(len(data)-counted) {
		return errTIFFShort()
	}
	number := min(t.word(data[at:], counted), 1<<16) // as many as there are tags
	entries := data[int(at)+counted:]
	if most := uint64(len(entries) / entry); number > most {
		number, t.cut = most, true
	} else if end := entries[int(number)*entry:]; len(end) >= word {
		t.next = t.word(end, word)
	}
	for e := entries[:int(number)*entry]; len(e) > 0; e = e[entry:] {
		size := tiffSize(t.order.Uint16(e[2:]))
		count := t.word(e[4:], word)
		values := e[4+word : entry]
		if size == 0 || count == 0 || count > uint64(len(data)/size) {
			continue
		}
		n := count * uint64(size)
		if n > uint64(word) {
			from := t.word(values, word)
			if from > uint64(len(data)) || n > uint64(len(data))-from {
				t.cut = true
				continue
			}
			values = data[from:]
		}
		tag := tiffTag(t.order.Uint16(e))
		if _, twice := t.tags[tag]; !twice {
			t.tags[tag] = tiffValues{size: size, raw: values[:n]}
		}
	}
	return nil
}

// tiffSize is the length of a whole number of a TIFF type: byte, undefined, short, long or one of
// BigTIFF's.
func tiffSize(kind uint16) int {
	switch kind {
	case 1, 7:
		return 1
	case 3:
		return 2
	case 4, 13:
		return 4
	case 16, 18:
		return 8
	}
	return 0
}

func (t *tiffTags) bigEndian() bool { return t.order == binary.BigEndian }

func (t *tiffTags) word(p []byte, size int) uint64 {
	switch size {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(t.order.Uint16(p))
	case 4:
		return uint64(t.order.Uint32(p))
	}
	return t.order.Uint64(p)
}

// number is how many values a tag has.
func (t *tiffTags) number(tag tiffTag) int {
	v, ok := t.tags[tag]
	if !ok {
		return 0
	}
	return len(v.raw) / v.size
}

// at is the i-th value of a tag, math.MaxInt where it is larger; number says how many there are.
func (t *tiffTags) at(tag tiffTag, i int) int {
	v := t.tags[tag]
	return int(min(t.word(v.raw[i*v.size:], v.size), math.MaxInt))
}

// first is the first value of a tag, or otherwise.
func (t *tiffTags) first(tag tiffTag, otherwise int) int {
	if t.number(tag) == 0 {
		return otherwise
	}
	return t.at(tag, 0)
}

// all are a tag's values, at most 8 of them: of tags that have one for each sample.
func (t *tiffTags) all(tag tiffTag) (out []int) {
	for i := range min(t.number(tag), 8) {
		out = append(out, t.at(tag, i))
	}
	return out
}

// orientation is how the image lies, 1 to 8; 1 where the tag makes no sense.
func (t *tiffTags) orientation() int {
	if o := t.first(tiffOrientation, 1); o >= 1 && o <= 8 {
		return o
	}
	return 1
}
