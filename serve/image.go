package serve

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"strings"
)

// embeddedData is a data URI (RFC 2397): data:[type][;parameter...][;base64],DATA.
type embeddedData struct {
	mediaType string // in lower case; may be empty
	base64    bool
	data      []byte
}

var errNoComma = badRequest("", "the data URI has no comma; it must look like data:image/png;base64,...")

const dataScheme = "data:"

func looksLikeDataURI(s []byte) bool {
	return len(s) >= len(dataScheme) && bytes.EqualFold(s[:len(dataScheme)], []byte(dataScheme))
}

// longestHead bounds what stands before the comma, so that a text that begins with "data:" is not
// searched.
const longestHead = 256

// parseDataURI is not ok for a text that only begins like one ("data: the new oil, they say").
func parseDataURI(s []byte) (u embeddedData, ok bool) {
	if s = bytes.TrimSpace(s); !looksLikeDataURI(s) {
		return u, false
	}
	s = s[len(dataScheme):]
	comma := bytes.IndexByte(s[:min(len(s), longestHead)], ',')
	if comma < 0 || bytes.ContainsAny(s[:comma], " \t\r\n") {
		return u, false
	}
	mediaType, parameters, _ := strings.Cut(strings.ToLower(string(s[:comma])), ";")
	return embeddedData{mediaType: mediaType, base64: strings.HasSuffix(";"+parameters, ";base64"), data: s[comma+1:]}, true
}

// decode gives the bytes.
func (u embeddedData) decode() ([]byte, error) {
	if u.base64 {
		return decodeBase64(u.data)
	}
	text, err := url.PathUnescape(string(u.data))
	if err != nil {
		return nil, badRequest("", "the data URI is neither base64 nor escaped; it must look like data:image/png;base64,...")
	}
	return []byte(text), nil
}

// isDataURIOfImage is whether a string in a place for texts and images is an image: a data URI
// that says so, or has base64, or the bytes of an image whatever it says.
func isDataURIOfImage(s []byte) bool {
	u, ok := parseDataURI(s)
	if !ok { // without a comma it cannot be read, which its error says
		return looksLikeDataURI(s) && len(s) > 11 && bytes.EqualFold(s[5:11], []byte("image/"))
	}
	return u.base64 || strings.HasPrefix(u.mediaType, "image/") || holdsImage(s)
}

// shownChars of base64 report whether its bytes are an image's.
const shownChars = 88

// holdsImage is whether s is a data URI, or base64 alone, of bytes that begin as an image does.
// No text that people write does.
func holdsImage(s []byte) bool {
	s = bytes.TrimSpace(s)
	u, ok := parseDataURI(s)
	if ok {
		s = u.data
	}
	head := s[:min(len(s), shownChars)]
	if ok && !u.base64 {
		if at := bytes.LastIndexByte(head, '%'); at > len(head)-3 {
			head = head[:max(at, 0)] // within an escape
		}
		text, err := url.PathUnescape(string(head))
		return err == nil && sniffed([]byte(text))
	}
	head = bytes.ReplaceAll(bytes.ReplaceAll(head, []byte("\r"), nil), []byte("\n"), nil)
	data, err := decodeBase64(head[:len(head)/4*4])
	return err == nil && sniffed(data)
}

// sniffed is whether data begins as an image of a format that is read, or named as one that is not.
func sniffed(data []byte) bool {
	for _, magic := range []string{"\x89PNG\r\n\x1a\n", "\xff\xd8\xff", "GIF87a", "GIF89a", "II*\x00", "MM\x00*", "II+\x00", "MM\x00+"} {
		if bytes.HasPrefix(data, []byte(magic)) {
			return true
		}
	}
	if len(data) < 16 {
		return false
	}
	switch {
	case string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return true
	case string(data[:2]) == "BM" && string(data[6:10]) == "\x00\x00\x00\x00": // two reserved fields
		return true
	}
	brand := string(data[8:12])
	return string(data[4:8]) == "ftyp" && (strings.HasPrefix(brand, "hei") || strings.HasPrefix(brand, "avi") || strings.HasPrefix(brand, "mif1"))
}

// isURL is whether an image is meant by its address.
func isURL(s []byte) bool {
	head := strings.ToLower(string(s[:min(len(s), 8)]))
	return strings.HasPrefix(head, "http://") || strings.HasPrefix(head, "https://")
}

// decodeBase64 takes the standard alphabet and that of URLs, with padding and without.
func decodeBase64(s []byte) ([]byte, error) {
	s = bytes.TrimRight(bytes.TrimSpace(s), "=")
	e := base64.RawStdEncoding
	if bytes.ContainsAny(s, "-_") {
		e = base64.RawURLEncoding
	}
	data := make([]byte, e.DecodedLen(len(s)))
	n, err := e.Decode(data, s)
	if err != nil {
		return nil, badRequest("", "the image is not base64")
	}
	if n == 0 {
		return nil, badRequest("", "the image is empty")
	}
	return data[:n], nil
}
