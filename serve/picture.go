package serve

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	_ "image/gif"  // for the size in the header
	_ "image/jpeg" // likewise
	_ "image/png"  // likewise
	"net/http"
	"net/url"
	"strings"

	_ "golang.org/x/image/bmp"  // likewise
	_ "golang.org/x/image/webp" // likewise
)

// checkSides refuses a picture whose header tells a shorter side than least. What has no header
// that can be read is the decoder's to refuse.
func checkSides(file []byte, least int) error {
	if w, h, ok := headerSize(file); ok && min(w, h) < least {
		return refuse(http.StatusUnprocessableEntity, "picture_too_small", "",
			fmt.Sprintf("the picture has %dx%d pixels; both sides have at least %d", w, h, least))
	}
	return nil
}

// headerSize is the size in pixels that the header tells; not ok for TIFF and for what is no
// picture.
func headerSize(file []byte) (w, h int, ok bool) {
	defer func() { _ = recover() }() // of a codec: the decoder will say what is wrong
	if bytes.HasPrefix(file, []byte("II")) || bytes.HasPrefix(file, []byte("MM")) {
		return 0, 0, false // a TIFF's directory may lie anywhere and claim anything
	}
	c, _, err := image.DecodeConfig(bytes.NewReader(file))
	return c.Width, c.Height, err == nil
}

// isDataURI tells a picture in a data URI from a text.
func isDataURI(s string) bool {
	const scheme = "data:image/"
	return len(s) > len(scheme) && strings.EqualFold(s[:len(scheme)], scheme)
}

// isURL is whether a picture is meant by its address.
func isURL(s string) bool {
	head := strings.ToLower(s[:min(len(s), 8)])
	return strings.HasPrefix(head, "http://") || strings.HasPrefix(head, "https://")
}

// decodeDataURI gives the bytes of a data URI (RFC 2397), in base64 or escaped.
func decodeDataURI(s string) ([]byte, error) {
	head, data, found := strings.Cut(s, ",")
	if !found {
		return nil, badRequest("", "the data URI has no comma; data:image/png;base64,... is wanted")
	}
	if !strings.HasSuffix(strings.ToLower(head), ";base64") {
		text, err := url.PathUnescape(data)
		if err != nil {
			return nil, badRequest("", "the data URI is neither base64 nor escaped; data:image/png;base64,... is wanted")
		}
		return []byte(text), nil
	}
	return decodeBase64(data)
}

// decodeBase64 takes the standard alphabet and that of URLs, with padding and without.
func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(strings.TrimSpace(s), "=")
	e := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		e = base64.RawURLEncoding
	}
	data, err := e.DecodeString(s)
	if err != nil {
		return nil, badRequest("", "the picture is no base64")
	}
	if len(data) == 0 {
		return nil, badRequest("", "the picture is empty")
	}
	return data, nil
}
