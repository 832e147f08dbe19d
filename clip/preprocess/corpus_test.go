package preprocess

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/goclip/goclip/internal/corpus"
)

// TestCorpus counts how all images of testdata/preprocess are read beside Pillow and its plugins. open_clip opens images with
// Pillow: what is equal here is equal there.
func TestCorpus(t *testing.T) {
	if !HasJPEGTurbo || !HasHEIF() || !HasJXL() || !HasJPEG2000() {
		t.Skip("needs libjpeg-turbo, libheif, libjxl and OpenJPEG")
	}
	tally := corpus.Tally{Beside: "Pillow"}
	kindOf := func(data []byte) string { return KindOf(data, "").Format }
	for _, f := range loadGoldens(t).Files {
		data := readGolden(t, "pictures/"+f.File)
		img, err := Decode(t.Context(), data, DefaultLimits)
		o := corpus.RefusedHere
		if err == nil {
			o = corpus.Differs
			if sha(img.Pix) == f.Bytes && sha(img.RGB().Pix) == f.RGB {
				o = corpus.Equal
			}
		}
		tally.Add(t, kindOf(data), f.File, o, "")
	}
	for _, f := range untidyFiles(t) {
		o, why := f.outcome(t)
		tally.Add(t, kindOf(f.data)+", untidy", f.File, o, why)
	}
	for _, archive := range []string{"heif.zip", "jxl.zip", "jp2.zip"} {
		for name, g := range zipped(t, archive) {
			img, err := Decode(t.Context(), g.data, DefaultLimits)
			o, why := corpus.Equal, ""
			switch {
			case err != nil && g.Error != "":
				o = corpus.BothRefuse
			case err != nil:
				o, why = corpus.RefusedHere, jp2Otherwise[name]
			case g.Error != "":
				o, why = corpus.OnlyHere, jp2Otherwise[name]
			case !slices.Equal(g.pixels, rgbOfPalette(img).Pix):
				o, why = corpus.Differs, cmp.Or(jp2Otherwise[name], otherRounding(name))
			}
			tally.Add(t, kindOf(g.data), name, o, why)
		}
	}
	assert.Greater(t, tally.Log(t), 600)
}

// otherRounding is why a file has other values than its Pillow plugin's, within the bounds of the tests of its format.
func otherRounding(name string) string {
	switch {
	case filepath.Ext(name) == ".avif":
		return "libheif's way from YCbCr to RGB, mean below 0.7"
	case name == "jpeg.jxl":
		return "the plugin rebuilds the JPEG, mean below 1"
	case filepath.Ext(name) == ".jxl" && !strings.Contains(name, "lossless"):
		return "another version of libjxl, at most 2"
	case filepath.Ext(name) == ".heic":
		return "another version of libheif, at most 1, or 2 of 10 bits"
	}
	return ""
}

// outcome is how a file is read beside Pillow, by the lists of untidy_test.go.
func (f *untidyFile) outcome(t *testing.T) (corpus.Outcome, string) {
	img, err := Decode(t.Context(), f.data, DefaultLimits)
	switch {
	case err != nil && f.Error != "":
		return corpus.BothRefuse, ""
	case err != nil:
		why, _ := reason(refusedHere, f.File)
		return corpus.RefusedHere, why
	case f.Error != "":
		why, _ := reason(readHere, f.File)
		return corpus.OnlyHere, why
	case f.File == "vp8x_alpha_unsaid.webp" && f.RGB == sha(img.Pix):
		return corpus.Differs, "Pillow has an alpha channel of full opacity"
	case f.Bytes != sha(img.Pix) || f.RGB != sha(img.RGB().Pix):
		why, _ := reason(otherHere, f.File)
		return corpus.Differs, why
	}
	return corpus.Equal, ""
}
