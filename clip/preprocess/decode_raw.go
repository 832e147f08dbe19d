package preprocess

import (
	"bytes"
	"encoding/binary"
)

// isRAW tells a camera's raw file from other TIFF by its first directory: DNG says what it is;
// others have a small image there and the rest below it.
func (t *tiffTags) isRAW() bool {
	return t.number(tiffDNGVersion) > 0 || t.first(tiffSubfile, 0)&1 == 1 && t.number(tiffSubIFDs) > 0
}

// openRAW reads the largest JPEG that a camera has put into its raw file, which is laid out as
// TIFF. Pillow reads the first directory of some, which is a smaller image, and refuses the
// others.
func openRAW(data []byte) (*decoder, error) {
	t, err := readTIFFTags(data)
	if err != nil {
		return nil, err
	}
	var best []byte
	pixels := 0
	tries := 16
	consider := func(jpeg []byte) {
		if tries--; tries < 0 || !bytes.HasPrefix(jpeg, jpegMark) {
			return
		}
		if f := jpegMarkers(jpeg); f.components > 0 && !f.lossless && f.w*f.h > pixels {
			best, pixels = jpeg, f.w*f.h
		}
	}
	part := func(offset, length tiffTag) []byte {
		from := min(t.first(offset, len(data)), len(data))
		return data[from : from+min(t.first(length, 0), len(data)-from)]
	}
	// Directories may point at each other: a file has some ten of them.
	waiting := []uint64{t.next}
	for range 32 {
		for i := range min(t.number(tiffSubIFDs), 16) {
			waiting = append(waiting, uint64(t.at(tiffSubIFDs, i)))
		}
		consider(part(tiffJPEGOffset, tiffJPEGLength))
		if t.number(tiffStripOffsets) == 1 {
			consider(part(tiffStripOffsets, tiffStripCounts))
		}
		consider(t.tags[rw2Preview].raw)
		at := uint64(0)
		for at == 0 && len(waiting) > 0 {
			at, waiting = waiting[0], waiting[1:]
		}
		if at == 0 {
			break
		}
		if t.read(data, at) == nil {
			waiting = append(waiting, t.next)
		}
	}
	if best == nil {
		return nil, unsupported("camera RAW", "without a JPEG preview is not read; export it as JPEG first")
	}
	return openJPEG(best)
}

// rafMark begins Fujifilm's raw files, which are no TIFF.
const rafMark = "FUJIFILMCCD-RAW"

// openRAF reads the JPEG that stands in Fujifilm's raw files.
func openRAF(data []byte) (*decoder, error) {
	if len(data) < 92 {
		return nil, fail(ErrTruncated, "the RAF data ends inside its header; the file is truncated")
	}
	from, n := int64(binary.BigEndian.Uint32(data[84:])), int64(binary.BigEndian.Uint32(data[88:]))
	if from > int64(len(data)) {
		return nil, fail(ErrTruncated, "the RAF data ends before its preview; the file is truncated")
	}
	jpeg := data[from:min(from+n, int64(len(data)))]
	if !bytes.HasPrefix(jpeg, jpegMark) {
		return nil, unsupported("camera RAW", "without a JPEG preview is not read; export it as JPEG first")
	}
	p, err := openJPEG(jpeg)
	if err == nil {
		p.exif = exifOfJPEG(jpeg)
	}
	return p, err
}
