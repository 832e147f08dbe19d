package main

import (
	"context"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/index"
)

// sampled is how many images of a list are looked at to tell what it holds.
const sampled = 8

// photographs reports whether most images of a list are photographs. A few are looked at, spread over
// the list; those that cannot be read do not count.
func photographs(ctx context.Context, paths []string) bool {
	n, yes, readable := min(sampled, len(paths)), 0, 0
	for i := range n {
		is, ok := photograph(ctx, paths[i*len(paths)/n])
		if ok {
			readable++
		}
		if is {
			yes++
		}
	}
	return 2*yes > readable
}

// An image without a camera's data is a photograph by its size and colours. Of fifteen photographs of
// scikit-image, scikit-learn and SciPy the nine large ones in colour pass; of twelve drawings, plots
// and images of screens, and of the emoji, none does (flat at least 0.55, or too small).
const (
	photographSide    = 200 // pixels of the shorter side, at least
	photographColours = 512 // of 32,768 that are distinguished, at least
	photographFlat    = 0.5 // of the pixels equal their left neighbour, at most
)

// photograph looks at one image; ok says that it could be read.
func photograph(ctx context.Context, path string) (is, ok bool) {
	data, err := preprocess.ReadFile(ctx, path, preprocess.DefaultLimits)
	if err != nil {
		return false, false
	}
	kind := preprocess.KindOf(data[:min(len(data), 512)], path)
	header, err := preprocess.ReadHeader(data, preprocess.Limits{})
	switch {
	case err != nil:
		return false, false
	case kind.Name == "RAW", kind.Name == "HEIC", !index.Taken(path).IsZero():
		return true, true
	case min(header.Width, header.Height) < photographSide:
		return false, true
	}
	img, err := preprocess.Decode(ctx, data, preprocess.Limits{JPEGScale: 2})
	if err != nil {
		return false, false
	}
	return looksTaken(img), true
}

// looksTaken judges by the pixels: a drawing has few colours and large flat parts.
func looksTaken(img *preprocess.Image) bool {
	switch img.Mode {
	case preprocess.ModeRGBA, preprocess.ModeLA, preprocess.ModeP: // no camera's
		return false
	}
	pix := img.RGB().Pix
	var seen [1 << 15]bool
	colours, flat := 0, 0
	for i := 0; i < len(pix); i += 3 {
		p := pix[i : i+3 : i+3]
		c := int(p[0]>>3)<<10 | int(p[1]>>3)<<5 | int(p[2]>>3)
		if !seen[c] {
			seen[c] = true
			colours++
		}
		if i%(3*img.Width) != 0 && [3]byte(p) == [3]byte(pix[i-3:]) {
			flat++
		}
	}
	return colours >= photographColours && float64(flat) <= photographFlat*float64(len(pix)/3)
}
