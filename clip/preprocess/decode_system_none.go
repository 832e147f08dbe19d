//go:build !cgo || nosystem

package preprocess

// HasHEIF reports whether HEIC and AVIF are decoded: not in a build without cgo, or with the tag
// nosystem.
func HasHEIF() bool { return false }

// HasJXL reports whether JPEG XL is decoded: likewise.
func HasJXL() bool { return false }

// HasJPEG2000 reports whether JPEG 2000 is decoded: likewise.
func HasJPEG2000() bool { return false }

func openHEIF([]byte) (*decoder, error) {
	return nil, unsupported("HEIC or AVIF", "is not read by this build")
}

func openJXL([]byte) (*decoder, error) {
	return nil, unsupported("JPEG XL", "is not read by this build")
}

func openJP2([]byte) (*decoder, error) {
	return nil, unsupported("JPEG 2000", "is not read by this build")
}
