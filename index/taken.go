package index

import (
	"bytes"
	"io"
	"os"
	"time"

	"github.com/bep/imagemeta"
)

// Taken is when a JPEG, PNG, WebP or TIFF file's EXIF data says that the image was taken:
// DateTimeOriginal (tag 0x9003 of the Exif standard, CIPA DC-008), in the zone of
// OffsetTimeOriginal (0x9011), which older cameras lack, or else in this machine's. It is the zero
// time if the file does not tell, or tells of no time from 1800 to 2199.
func Taken(path string) time.Time {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}
	}
	defer f.Close()
	return takenOf(f)
}

func takenOf(r io.ReadSeeker) time.Time {
	var head [12]byte
	_, err := io.ReadFull(r, head[:])
	if err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	format := metadataFormat(head[:])
	if err != nil || format == imagemeta.ImageFormatAuto {
		return time.Time{}
	}
	tags := map[string]string{"DateTimeOriginal": "", "OffsetTimeOriginal": ""}
	_, _ = imagemeta.Decode(imagemeta.Options{ // an error after the tags leaves them, one before them the zero time
		R: r, ImageFormat: format, Sources: imagemeta.EXIF,
		ShouldHandleTag: func(tag imagemeta.TagInfo) bool { _, wanted := tags[tag.Tag]; return wanted },
		HandleTag: func(tag imagemeta.TagInfo) error {
			if text, ok := tag.Value.(string); ok && tags[tag.Tag] == "" {
				tags[tag.Tag] = text
			}
			return nil
		},
	})
	const layout = "2006:01:02 15:04:05"
	at, err := time.ParseInLocation(layout, tags["DateTimeOriginal"], time.Local)
	if zoned, err := time.Parse(layout+"-07:00", tags["DateTimeOriginal"]+tags["OffsetTimeOriginal"]); err == nil {
		at = zoned
	}
	if err != nil || at.Year() < 1800 || at.Year() >= 2200 { // beyond them nanoseconds do not fit 64 bits
		return time.Time{}
	}
	return at
}

// metadataFormat tells a format by a file's first 12 bytes; ImageFormatAuto is none that has EXIF
// data.
func metadataFormat(head []byte) imagemeta.ImageFormat {
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xd8}):
		return imagemeta.JPEG
	case bytes.HasPrefix(head, []byte("\x89PNG\r\n\x1a\n")):
		return imagemeta.PNG
	case bytes.HasPrefix(head, []byte("RIFF")) && bytes.HasSuffix(head, []byte("WEBP")):
		return imagemeta.WebP
	case bytes.HasPrefix(head, []byte("II*\x00")), bytes.HasPrefix(head, []byte("MM\x00*")):
		return imagemeta.TIFF
	}
	return imagemeta.ImageFormatAuto
}
