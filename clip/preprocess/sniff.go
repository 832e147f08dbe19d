package preprocess

import (
	"bytes"
	"unicode/utf8"
)

// format is one kind of content. open is nil for the kinds that are known and refused.
type format struct {
	name   string
	open   func([]byte) (*picture, error)
	advice string
}

// sniff tells the format from the first bytes. The name is empty for content that it does not know.
func sniff(data []byte) format {
	has := func(at int, magic string) bool {
		return len(data) >= at+len(magic) && string(data[at:at+len(magic)]) == magic
	}
	switch {
	case has(0, "\x89PNG\r\n\x1a\n"):
		return format{name: "PNG", open: openPNG}
	case has(0, "\xff\xd8\xff"):
		return format{name: "JPEG", open: openJPEG}
	case has(0, "RIFF") && has(8, "WEBP"):
		return format{name: "WebP", open: openWebP}
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return format{name: "GIF", open: openGIF}
	case has(0, "BM"):
		return format{name: "BMP", open: openBMP}
	case has(0, "II*\x00"), has(0, "MM\x00*"), has(0, "MM*\x00"), has(0, "II\x00*"), // the last two by mistake
		has(0, "II+\x00"), has(0, "MM\x00+"): // BigTIFF
		return format{name: "TIFF", open: openTIFF}
	case has(4, "ftyp"):
		return isoFormat(data)
	case has(0, "\x00\x00\x00\x0cjP  "), has(0, "\xff\x4f\xff\x51"):
		return format{name: "JPEG 2000"}
	case has(0, "\xff\x0a"), has(0, "\x00\x00\x00\x0cJXL "):
		return format{name: "JPEG XL"}
	case has(0, "%PDF"):
		return format{name: "PDF", advice: "draw its pages as PNG first"}
	case has(0, "8BPS"):
		return format{name: "Photoshop"}
	case has(0, "\x00\x00\x01\x00"):
		return format{name: "icon (ICO)"}
	case isSVG(data):
		return format{name: "SVG", advice: "draw it as PNG first"}
	}
	return format{}
}

// isoFormat names the pictures that come in an ISO base media file.
func isoFormat(data []byte) format {
	head := data[8:min(len(data), 40)]
	switch {
	case bytes.Contains(head, []byte("avif")), bytes.Contains(head, []byte("avis")):
		return format{name: "AVIF"}
	case bytes.Contains(head, []byte("heic")), bytes.Contains(head, []byte("heix")),
		bytes.Contains(head, []byte("mif1")), bytes.Contains(head, []byte("hevc")):
		return format{name: "HEIC"}
	}
	return format{name: "video (MP4)", advice: "take a frame as PNG first"}
}

// isSVG looks for the root element near the start of a text.
func isSVG(data []byte) bool {
	head := bytes.TrimLeft(bytes.TrimPrefix(data[:min(len(data), 1024)], []byte("\xef\xbb\xbf")), " \t\r\n")
	return bytes.HasPrefix(head, []byte("<svg")) ||
		(bytes.HasPrefix(head, []byte("<?xml")) || bytes.HasPrefix(head, []byte("<!"))) &&
			bytes.Contains(head, []byte("<svg"))
}

// refuse says what the content is instead of a picture that can be read.
func refuse(f format, data []byte) error {
	const readable = "PNG, JPEG, WebP, GIF, BMP and TIFF are read"
	if f.name != "" {
		advice := f.advice
		if advice == "" {
			advice = "convert it to PNG first"
		}
		return fail(ErrUnsupported, "%s is not read; %s (%s)", f.name, advice, readable)
	}
	if len(data) < 12 {
		return fail(ErrNotPicture, "not a picture: only %d bytes; %s", len(data), readable)
	}
	if len(bytes.Trim(data, "\x00")) == 0 {
		return fail(ErrNotPicture, "not a picture: all bytes are zero; %s", readable)
	}
	head := data[:min(len(data), 512)]
	if text := bytes.TrimSpace(head); bytes.HasPrefix(bytes.ToLower(text), []byte("<!doctype html")) ||
		bytes.HasPrefix(bytes.ToLower(text), []byte("<html")) {
		return fail(ErrNotPicture, "not a picture: the file is an HTML page; %s", readable)
	}
	if !bytes.ContainsRune(head, 0) && utf8.Valid(bytes.TrimRight(head, "\x80\xbf\xc2\xe0\xf0")) {
		return fail(ErrNotPicture, "not a picture: the file is text; %s", readable)
	}
	return fail(ErrNotPicture, "not a picture: the first bytes are % x; %s", data[:8], readable)
}
