package preprocess

import (
	"errors"
	"fmt"
)

// The kinds of bad image. Every error of Decode matches one of them with errors.Is.
var (
	ErrEmpty       = errors.New("empty")        // no bytes, or no pixels
	ErrNotImage    = errors.New("not an image") // the content is not an image format
	ErrUnsupported = errors.New("unsupported")  // an image, but of a format or variant not read here
	ErrNoLibrary   = errors.New("no library")   // unsupported only because this system lacks the library that reads it
	ErrTruncated   = errors.New("truncated")    // the data ends before the last pixel
	ErrCorrupt     = errors.New("corrupt")      // the data contradicts its format
	ErrTooLarge    = errors.New("too large")    // beyond Limits; see LimitError
)

// Error is what Decode and the transforms return for an image that cannot be read. Kind is one of
// the Err values above or a *LimitError; both are reached by errors.Is and errors.As.
type Error struct {
	Path   string // the file, empty when the image came as bytes
	Kind   error
	Detail string // one sentence part saying what is wrong and what would be right
}

func (e *Error) Error() string {
	if e.Path == "" {
		return "preprocess: " + e.Detail
	}
	return "preprocess: " + e.Path + ": " + e.Detail
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

// LimitError says which limit an image breaks. It matches ErrTooLarge.
type LimitError struct {
	Width, Height int   // from the header; zero when the file itself is too long
	Bytes         int64 // length of the file
	Memory        int64 // what decoding would take; zero where another limit is broken
	Limits        Limits
}

func (e *LimitError) Error() string {
	if e.Width == 0 && e.Height == 0 {
		return fmt.Sprintf("a file of %d bytes is more than the limit of %d; shrink it or raise MaxBytes",
			e.Bytes, e.Limits.MaxBytes)
	}
	if e.Memory > 0 {
		return fmt.Sprintf("decoding %dx%d pixels takes %d MB, more than the limit of %d; shrink it or raise MaxMemory",
			e.Width, e.Height, e.Memory/1e6, e.Limits.MaxMemory/1e6)
	}
	if max(e.Width, e.Height) > longestSide {
		return fmt.Sprintf("%dx%d pixels: a side may have %d at most; cut or shrink it", e.Width, e.Height, longestSide)
	}
	return fmt.Sprintf("%dx%d pixels is more than the limit of %s; shrink it or raise MaxPixels",
		e.Width, e.Height, count(e.Limits.MaxPixels))
}

// Is makes errors.Is(err, ErrTooLarge) true.
func (e *LimitError) Is(target error) bool { return target == ErrTooLarge }

// count writes whole millions in words, as a person would say a limit.
func count(n int64) string {
	if n >= 1e6 && n%1e6 == 0 {
		return fmt.Sprintf("%d million", n/1e6)
	}
	return fmt.Sprint(n)
}

func fail(kind error, format string, args ...any) *Error {
	return &Error{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// named puts the file's name into an error of this package.
func named(err error, path string) error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{Path: path, Kind: e.Kind, Detail: e.Detail}
	}
	return err
}
