//go:build !cgo || noheif

package preprocess

// HasHEIF reports whether HEIC and AVIF are decoded: not in a build without cgo, or with the tag
// noheif.
func HasHEIF() bool { return false }

func openHEIF([]byte) (*decoder, error) {
	return nil, unsupported("HEIC or AVIF", "is not read by this build")
}
