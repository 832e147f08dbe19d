package preprocess

import (
	"bytes"
	"encoding/binary"
)

// orientation is tag 0x0112 of EXIF data: 1 to 8. Where there is none, or it makes no sense, the image
// stands as it is: 1.
func orientation(exif []byte) int {
	if exif == nil {
		return 1
	}
	tags, err := readTIFFTags(exif)
	if err != nil {
		return 1
	}
	return tags.orientation()
}

// exifOf finds the EXIF data of a file, which is laid out as TIFF; nil where there is none.
func exifOf(data []byte) []byte {
	switch f := sniff(data); f.name {
	case "TIFF":
		return data
	case "JPEG":
		return exifOfJPEG(data)
	case "PNG":
		for data = data[8:]; len(data) >= 12; {
			n := int64(binary.BigEndian.Uint32(data))
			if n+12 > int64(len(data)) {
				return nil
			}
			if string(data[4:8]) == "eXIf" {
				return data[8 : 8+n]
			}
			data = data[n+12:]
		}
	case "WebP":
		for data = data[12:]; len(data) >= 8; {
			n := int64(binary.LittleEndian.Uint32(data[4:]))
			if n+8 > int64(len(data)) {
				return nil
			}
			if string(data[:4]) == "EXIF" {
				return bytes.TrimPrefix(data[8:8+n], []byte("Exif\x00\x00"))
			}
			data = data[min(8+n+n&1, int64(len(data))):]
		}
	default:
		if f.kind == "RAW" && !bytes.HasPrefix(data, []byte(rafMark)) {
			return data
		}
	}
	return nil
}

func exifOfJPEG(data []byte) []byte {
	for data = data[2:]; len(data) >= 4 && data[0] == 0xff; {
		if data[1] == 0xff { // a fill byte
			data = data[1:]
			continue
		}
		n := int(binary.BigEndian.Uint16(data[2:]))
		if data[1] == 0xda || n < 2 || n+2 > len(data) {
			return nil
		}
		if body := data[4 : n+2]; data[1] == 0xe1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")) {
			return body[6:]
		}
		data = data[n+2:]
	}
	return nil
}

// oriented gives the image turned upright: o says how it lies, as EXIF counts. 1 gives m itself.
func (m *Image) oriented(o int) *Image {
	if o == 1 {
		return m
	}
	w, h, n := m.Width, m.Height, m.Mode.Bytes()
	// Pixel (x, y) of the result is source pixel (x0 + x*xx + y*yx, y0 + x*xy + y*yy).
	type turn struct{ x0, xx, yx, y0, xy, yy int }
	t := [...]turn{
		2: {w - 1, -1, 0, 0, 0, 1},      // mirrored
		3: {w - 1, -1, 0, h - 1, 0, -1}, // upside down
		4: {0, 1, 0, h - 1, 0, -1},      // mirrored upside down
		5: {0, 0, 1, 0, 1, 0},           // transposed
		6: {0, 0, 1, h - 1, -1, 0},      // lying on its left side
		7: {w - 1, 0, -1, h - 1, -1, 0}, // transposed the other way
		8: {w - 1, 0, -1, 0, 1, 0},      // lying on its right side
	}[o]
	out := &Image{Width: w, Height: h, Mode: m.Mode, Palette: m.Palette, Pix: make([]uint8, len(m.Pix))}
	if o >= 5 {
		out.Width, out.Height = h, w
	}
	for y := range out.Height {
		for x := range out.Width {
			at := (t.y0+x*t.xy+y*t.yy)*w + t.x0 + x*t.xx + y*t.yx
			copy(out.Pix[(y*out.Width+x)*n:][:n], m.Pix[at*n:])
		}
	}
	return out
}
