package preprocess

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func jp2Files(t testing.TB) map[string]*heifGolden { return zipped(t, "jp2.zip") }

func needJPEG2000(t testing.TB) {
	if !HasJPEG2000() {
		t.Skip("this system has no OpenJPEG (Debian: apt-get install libopenjp2-7)")
	}
}

// jp2Otherwise are the files that are not read as Pillow reads them.
var jp2Otherwise = map[string]string{
	"subsampled.jp2":       "components of several sizes",
	"ycc.jp2":              "colours in YCC",
	"other_components.jp2": "its header contradicts its codestream",
	"rgb12_white.jp2":      "white of more than 8 bits is black in Pillow",
	"palette_twice.jp2":    "Pillow takes a colour that is twice in the palette as one entry",
}

// rgbOfPalette is how the goldens have an image with a palette.
func rgbOfPalette(img *Image) *Image {
	if img.Mode == ModeP {
		return img.RGB()
	}
	return img
}

// JPEG 2000 has Pillow's pixels, also where it is packed with losses, but for the list above.
func TestJPEG2000GivesPillowsPixels(t *testing.T) {
	needJPEG2000(t)
	for name, g := range jp2Files(t) {
		img, err := Decode(t.Context(), g.data, DefaultLimits)
		switch why := jp2Otherwise[name]; {
		case g.Error != "":
			var e *Error
			require.ErrorAs(t, err, &e, "%s: Pillow says %s", name, g.Error)
			assert.NotContains(t, err.Error(), "\n", name)
		case why != "" && err == nil:
			assert.NotEqual(t, g.pixels, rgbOfPalette(img).Pix, "%s: the pixels are Pillow's: take it off the list", name)
		case why == "":
			require.NoError(t, err, name)
			require.Equal(t, g.Size, [2]int{img.Height, img.Width}, name)
			require.Equal(t, g.Mode, img.Mode.String(), name)
			assert.True(t, slices.Equal(g.pixels, rgbOfPalette(img).Pix), name)
			head, err := ReadHeader(g.data, DefaultLimits)
			require.NoError(t, err)
			assert.Equal(t, "JPEG 2000", head.Format)
			assert.Equal(t, [2]int{img.Width, img.Height}, [2]int{head.Width, head.Height}, name)
		}
	}
	white, err := Decode(t.Context(), jp2Files(t)["rgb12_white.jp2"].data, DefaultLimits)
	require.NoError(t, err)
	assert.Equal(t, bytes.Repeat([]byte{255}, len(white.Pix)), white.Pix)
}

func TestJPEG2000KeepsTheLimits(t *testing.T) {
	needJPEG2000(t)
	data := jp2Files(t)["face.jp2"].data
	checkLimits(t, "JPEG 2000", data, 12, 60, len(data)/2, len(data)-9)
	_, err := Decode(t.Context(), data, Limits{NoSystem: true})
	require.ErrorIs(t, err, ErrUnsupported)
	assert.Contains(t, err.Error(), "JPEG 2000 is not read; convert it to PNG first")
	assert.Contains(t, refuse(isJP2, data).Error(), "JPEG 2000 is not read; install OpenJPEG (Debian: apt-get install libopenjp2-7)")
}

// jp2Codestream is a frame without pixels: a SIZ segment, a COD segment and one empty tile-part.
func jp2Codestream(w, h, tile, layers int, precinct byte) []byte {
	big := binary.BigEndian
	siz := big.AppendUint16([]byte{0xff, 0x4f, 0xff, 0x51}, 38+9)
	siz = big.AppendUint16(siz, 0)
	for _, v := range []int{w, h, 0, 0, tile, tile, 0, 0} {
		siz = big.AppendUint32(siz, uint32(v))
	}
	siz = append(big.AppendUint16(siz, 3), 7, 1, 1, 7, 1, 1, 7, 1, 1)
	cod := append(big.AppendUint16([]byte{0xff, 0x52, 0, 13, 1, 0}, uint16(layers)), 0, 0, 4, 4, 0, 1, precinct)
	sot := append(big.AppendUint32([]byte{0xff, 0x90, 0, 10, 0, 0}, 14), 0, 1, 0xff, 0x93)
	return slices.Concat(siz, cod, sot, []byte{0xff, 0xd9})
}

// What OpenJPEG would allocate by the header alone is refused before it sees the data.
func TestJPEG2000HeadersThatPromiseMuch(t *testing.T) {
	_, err := readJP2Header(jp2Codestream(64, 64, 64, 1, 0x88))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		data []byte
		kind error
	}{
		"a precinct for each pixel": {jp2Codestream(8000, 8000, 8000, 1, 0), ErrCorrupt}, // packets that the file has no room for
		"65,535 layers":             {jp2Codestream(64, 64, 64, 65535, 0x88), ErrCorrupt},
		"too many tiles":            {jp2Codestream(8000, 8000, 16, 1, 0x88), ErrCorrupt},
		"no layer":                  {jp2Codestream(64, 64, 64, 0, 0x88), ErrCorrupt},
		"no pixel":                  {jp2Codestream(0, 64, 64, 1, 0x88), ErrCorrupt},
		"a hidden coding style":     {bytes.Replace(jp2Codestream(64, 64, 64, 1, 0x88), []byte{0xff, 0x52}, []byte{0xff, 0x7f}, 1), ErrUnsupported},
	} {
		_, err := readJP2Header(c.data)
		require.ErrorIs(t, err, c.kind, name)
	}
	h, err := readJP2Header(append(jp2Codestream(4000, 4000, 4000, 1, 0), make([]byte, 8<<20)...))
	require.NoError(t, err)
	assert.Greater(t, h.memory, int64(20e9), "a precinct and a code block for each pixel")
	h, err = readJP2Header(jp2Codestream(1<<30, 1<<30, 1<<30, 1, 0x88))
	require.NoError(t, err, "the size is refused by the limits")
	assert.Equal(t, 1<<30, h.siz.width)
}
