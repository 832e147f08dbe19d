package preprocess

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// format is one kind of content. open is nil for the kinds that are known and refused.
type format struct {
	name   string
	open   func([]byte) (*decoder, error)
	kind   string // what such files are counted as, where that is not their name
	advice string

	library func() bool // reports whether the system has the library that reads it; nil where none is needed
}

// Kind is what a file is, as far as its first bytes and its name tell.
type Kind struct {
	Name     string // for counting: "image", "RAW", "HEIC", "video", "PDF", "text"; "" is unknown
	Format   string // "PNG", "camera RAW (CR2)"; the same as Name where there is no more to say
	Readable bool   // Decode reads this format here, though perhaps not this file
}

// KindOf tells the kind of a file whose content begins with head, of which 512 bytes are enough.
// name is asked where head does not tell, and alone where head is nil; it may be empty. So a caller
// can say which files of a folder it has left out: "3 RAW, 1 video".
func KindOf(head []byte, name string) Kind {
	f, byName := format{}, extensions[strings.ToLower(filepath.Ext(name))]
	if head != nil {
		if f = sniff(head); f.name == "" {
			f = nothing(head)
		}
	}
	if head == nil || f.name == "" && byName.open == nil || f.name == "TIFF" && byName.kind == "RAW" {
		f = byName
	}
	k := Kind{Name: f.kind, Format: f.name, Readable: f.open != nil && (f.library == nil || f.library())}
	if k.Name == "" {
		if k.Name = k.Format; k.Readable && f.library == nil {
			k.Name = "image"
		}
	}
	return k
}

var jpegMark = []byte("\xff\xd8\xff")

const (
	withLibheif = "install libheif (Debian: apt-get install libheif1), or convert it to PNG first"
	withLibjxl  = "install libjxl (Debian: apt-get install libjxl0.7), or convert it to PNG first"
	withOpenJP2 = "install OpenJPEG (Debian: apt-get install libopenjp2-7), or convert it to PNG first"
)

// The formats that are read.
var (
	isPNG  = format{name: "PNG", open: openPNG}
	isJPEG = format{name: "JPEG", open: openJPEG}
	isWebP = format{name: "WebP", open: openWebP}
	isGIF  = format{name: "GIF", open: openGIF}
	isBMP  = format{name: "BMP", open: openBMP}
	isTIFF = format{name: "TIFF", open: openTIFF}
	isHEIC = format{name: "HEIC", open: openHEIF, library: HasHEIF, advice: withLibheif}
	isAVIF = format{name: "AVIF", open: openHEIF, library: HasHEIF, advice: withLibheif}
	isJXL  = format{name: "JPEG XL", open: openJXL, library: HasJXL, advice: withLibjxl}
	isJP2  = format{name: "JPEG 2000", open: openJP2, library: HasJPEG2000, advice: withOpenJP2}
)

// raw is a camera's format; open reads its preview, or is nil.
func raw(name string, open func([]byte) (*decoder, error)) format {
	return format{name: "camera RAW (" + name + ")", kind: "RAW", open: open, advice: "export it as JPEG first"}
}

func video(name string) format {
	return format{name: "video (" + name + ")", kind: "video", advice: "take a frame as PNG first"}
}

// extensions tell what content does not, or has not been read for: most cameras write a TIFF that
// only its name tells apart.
var extensions = map[string]format{
	".jpg": isJPEG, ".jpeg": isJPEG, ".jpe": isJPEG, ".jfif": isJPEG, ".png": isPNG, ".gif": isGIF, ".bmp": isBMP,
	".tif": isTIFF, ".tiff": isTIFF, ".webp": isWebP,
	".heic": isHEIC, ".heif": isHEIC, ".avif": isAVIF, ".jxl": isJXL,
	".jp2": isJP2, ".j2k": isJP2, ".jpc": isJP2, ".jpf": isJP2, ".jpx": isJP2, ".j2c": isJP2, ".psd": {name: "Photoshop"},
	".3fr": raw("3FR", openRAW), ".arw": raw("ARW", openRAW), ".cr2": raw("CR2", openRAW), ".cr3": raw("CR3", nil), ".crw": raw("CRW", nil), ".dng": raw("DNG", openRAW),
	".erf": raw("ERF", openRAW), ".iiq": raw("IIQ", openRAW), ".kdc": raw("KDC", openRAW), ".mos": raw("MOS", nil), ".mrw": raw("MRW", nil), ".nef": raw("NEF", openRAW),
	".nrw": raw("NRW", openRAW), ".orf": raw("ORF", nil), ".pef": raw("PEF", openRAW), ".raf": raw("RAF", openRAF), ".raw": raw("RAW", nil), ".rw2": raw("RW2", openRAW),
	".sr2": raw("SR2", openRAW), ".srf": raw("SRF", openRAW), ".srw": raw("SRW", openRAW), ".x3f": raw("X3F", nil),
	".3gp": video("3GP"), ".avi": video("AVI"), ".flv": video("FLV"), ".m2ts": video("MPEG"), ".m4v": video("MP4"),
	".mkv": video("Matroska"), ".mov": video("QuickTime"), ".mp4": video("MP4"), ".mpeg": video("MPEG"),
	".mpg": video("MPEG"), ".mts": video("MPEG"), ".ogv": video("Ogg"), ".webm": video("WebM"), ".wmv": video("WMV"),
}

// sniff tells the format from the first bytes. The name is empty for content that it does not know.
func sniff(data []byte) format {
	has := func(at int, magic string) bool {
		return len(data) >= at+len(magic) && string(data[at:at+len(magic)]) == magic
	}
	switch {
	case has(0, "\x89PNG\r\n\x1a\n"):
		return isPNG
	case bytes.HasPrefix(data, jpegMark):
		return isJPEG
	case has(0, "RIFF") && has(8, "WEBP"):
		return isWebP
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return isGIF
	case has(0, "BM"):
		return isBMP
	case has(0, "II*\x00") && has(8, "CR\x02"):
		return raw("CR2", openRAW)
	case has(0, "II*\x00"), has(0, "MM\x00*"), has(0, "MM*\x00"), has(0, "II\x00*"), // the last two by mistake
		has(0, "II+\x00"), has(0, "MM\x00+"): // BigTIFF
		return isTIFF
	case has(4, "ftyp"):
		return isoFormat(data)
	case has(0, "\x00\x00\x00\x0cjP  "), has(0, "\xff\x4f\xff\x51"):
		return isJP2
	case has(0, "\xff\x0a"), has(0, "\x00\x00\x00\x0cJXL "):
		return isJXL
	case has(0, "%PDF"):
		return format{name: "PDF", advice: "draw its pages as PNG first"}
	case has(0, "8BPS"):
		return format{name: "Photoshop"}
	case has(0, "\x00\x00\x01\x00"):
		return format{name: "icon (ICO)", kind: "icon"}
	case has(0, "IIRO"), has(0, "IIRS"), has(0, "MMOR"):
		return raw("ORF", nil)
	case has(0, "IIU\x00"):
		return raw("RW2", openRAW)
	case has(0, rafMark):
		return raw("RAF", openRAF)
	case has(0, "FOVb"):
		return raw("X3F", nil)
	case has(0, "\x00MRM"):
		return raw("MRW", nil)
	case has(4, "moov"), has(4, "mdat"), has(4, "wide"):
		return video("QuickTime")
	case has(0, "\x1a\x45\xdf\xa3"):
		return video("Matroska")
	case has(0, "RIFF") && has(8, "AVI "):
		return video("AVI")
	case has(0, "\x00\x00\x01\xba"), has(0, "\x00\x00\x01\xb3"), has(0, "G") && has(188, "G"):
		return video("MPEG")
	case has(0, "FLV\x01"):
		return video("FLV")
	case has(0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
		return video("WMV")
	case isSVG(data):
		return format{name: "SVG", advice: "draw it as PNG first"}
	}
	return format{}
}

// isoFormat names what comes in an ISO base media file.
func isoFormat(data []byte) format {
	head := data[8:min(len(data), 40)]
	has := func(brand string) bool { return bytes.Contains(head, []byte(brand)) }
	switch {
	case has("avif"), has("avis"):
		return isAVIF
	case has("heic"), has("heix"), has("mif1"), has("hevc"):
		return isHEIC
	case has("crx "):
		return raw("CR3", nil)
	case bytes.HasPrefix(head, []byte("qt  ")):
		return video("QuickTime")
	}
	return video("MP4")
}

// isSVG looks for the root element near the start of a text.
func isSVG(data []byte) bool {
	head := bytes.TrimLeft(bytes.TrimPrefix(data[:min(len(data), 1024)], []byte("\xef\xbb\xbf")), " \t\r\n")
	return bytes.HasPrefix(head, []byte("<svg")) ||
		(bytes.HasPrefix(head, []byte("<?xml")) || bytes.HasPrefix(head, []byte("<!"))) &&
			bytes.Contains(head, []byte("<svg"))
}

// nothing names content that is not an image, though files are named as one. The name is empty where
// it cannot tell.
func nothing(data []byte) format {
	head := data[:min(len(data), 512)]
	text := bytes.ToLower(bytes.TrimSpace(head))
	switch {
	case len(data) == 0:
		return format{name: "empty"}
	case bytes.HasPrefix(head, []byte("version https://git-lfs.github.com/")):
		return format{name: "Git LFS pointer", advice: "the file itself is elsewhere; fetch it with git lfs pull"}
	case bytes.HasPrefix(text, []byte("<!doctype html")), bytes.HasPrefix(text, []byte("<html")):
		return format{name: "HTML page"}
	case len(data) >= 12 && len(bytes.Trim(data, "\x00")) == 0:
		return format{name: "zeros"}
	case len(data) >= 12 && !bytes.ContainsRune(head, 0) && utf8.Valid(bytes.TrimRight(head, "\x80\xbf\xc2\xe0\xf0")):
		return format{name: "text"}
	}
	return format{}
}

// refuse says what the content is instead of an image that can be read.
func refuse(f format, data []byte) error {
	const readable = "PNG, JPEG, WebP, GIF, BMP and TIFF are read"
	if f.name != "" {
		advice := f.advice
		if advice == "" {
			advice = "convert it to PNG first"
		}
		kind := ErrUnsupported
		if f.library != nil && advice == f.advice { // and not because a limit forbids it
			kind = errors.Join(ErrUnsupported, ErrNoLibrary)
		}
		return fail(kind, "%s is not read; %s (%s)", f.name, advice, readable)
	}
	switch what := nothing(data); what.name {
	case "Git LFS pointer":
		return fail(ErrNotImage, "not an image: a Git LFS pointer; %s", what.advice)
	case "zeros":
		return fail(ErrNotImage, "not an image: all bytes are zero; %s", readable)
	case "HTML page":
		return fail(ErrNotImage, "not an image: the file is an HTML page; %s", readable)
	case "text":
		return fail(ErrNotImage, "not an image: the file is text; %s", readable)
	}
	if len(data) < 12 {
		return fail(ErrNotImage, "not an image: only %d bytes; %s", len(data), readable)
	}
	return fail(ErrNotImage, "not an image: the first bytes are % x; %s", data[:8], readable)
}
