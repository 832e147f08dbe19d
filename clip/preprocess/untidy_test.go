package preprocess

import (
	"archive/zip"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// untidyFile is an image that breaks its format's rules, and what Pillow makes of it.
type untidyFile struct {
	File, Mode, Bytes, RGB, Error string
	Size                          [2]int
	data                          []byte
}

func untidyFiles(t testing.TB) (out []untidyFile) {
	require.NoError(t, json.Unmarshal(readGolden(t, "untidy.json"), &out))
	z, err := zip.OpenReader(filepath.Join(goldenDir, "untidy.zip"))
	require.NoError(t, err)
	defer z.Close()
	for i := range out {
		f, err := z.Open(out[i].File)
		require.NoError(t, err)
		out[i].data, err = io.ReadAll(f)
		require.NoError(t, err)
	}
	return out
}

// refusedHere are files that Pillow reads and this package does not, by the beginnings of their
// names.
var refusedHere = map[string]string{
	"float.tif": "Image has no mode for it", "int16.tif": "Image has no mode for it", "int32.tif": "Image has no mode for it",
	"lab.tif": "Image has no mode for it", "ycbcr": "Image has no mode for it", "palette_extra_2": "Image has no mode for it",
	"lzma.tif":       "needs another library",
	"strips_missing": "rows are missing: Pillow leaves them black", "tile_row_cut": "tiles are missing: Pillow leaves them black",
}

// readHere are files that Pillow refuses and this package reads.
var readHere = map[string]string{
	"bits1_3_fill2.tif": "reversed bits", "bits2_3_fill2.tif": "reversed bits", "bits4_3_fill2.tif": "reversed bits",
	"bits8_0_fill2.tif": "reversed bits",
	"grey16_mm_big.tif": "big-endian BigTIFF", "rgb_mm_big.tif": "big-endian BigTIFF", "tiles_mm_big.tif": "big-endian BigTIFF",
	"adobe_short.jpg":     "an APP14 segment of three letters",
	"moving_no_anim.webp": "the first frame is whole", "size_wrong.webp": "a RIFF size beyond the end",
	"two_pictures.webp": "the first is taken", "vp8x_twice.webp": "the first is taken",
	"planar_5_unsaid.tif": "planes that say nothing", "rgba16_0_ii_planar.tif": "planes that say nothing",
	"rgba16_0_mm_planar.tif": "planes that say nothing", "rgba8_0_ii_planar.tif": "planes that say nothing",
	"rgba8_0_mm_planar.tif": "planes that say nothing",
}

// otherHere are files that both read, with other pixels, for a fault of Pillow.
var otherHere = map[string]string{
	"local_ramp.gif":         "Pillow takes the colours of the screen, not those of the frame",
	"rgba16_2_ii_planar.tif": "Pillow reads planes of 16 bits as of 8", "rgba16_2_mm_planar.tif": "Pillow reads planes of 16 bits as of 8",
	"rgba16_None_ii_planar.tif": "Pillow reads planes of 16 bits as of 8", "rgba16_None_mm_planar.tif": "Pillow reads planes of 16 bits as of 8",
}

func reason(of map[string]string, name string) (string, bool) {
	for prefix, why := range of {
		if strings.HasPrefix(name, prefix) {
			return why, true
		}
	}
	return "", false
}

// Files that break the rules have Pillow's pixels, or are refused with a sentence; the differences
// are listed above.
func TestUntidyImagesAreReadAsPillowReadsThem(t *testing.T) {
	for _, f := range untidyFiles(t) {
		t.Run(f.File, func(t *testing.T) {
			if !HasJPEGTurbo && (strings.HasPrefix(f.File, "jpeg_") || filepath.Ext(f.File) == ".jpg") {
				t.Skip("image/jpeg has other pixels")
			}
			img, err := Decode(t.Context(), f.data, DefaultLimits)
			if _, listed := reason(refusedHere, f.File); listed {
				var e *Error
				require.ErrorAs(t, err, &e)
				require.Empty(t, f.Error, "Pillow refuses it too: take it off the list")
				return
			}
			if _, listed := reason(readHere, f.File); listed {
				require.NoError(t, err)
				require.NotEmpty(t, f.Error, "Pillow reads it too: take it off the list")
				return
			}
			if f.Error != "" {
				var e *Error
				require.ErrorAs(t, err, &e, "Pillow says %s", f.Error)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, f.Size, [2]int{img.Height, img.Width})
			if f.File == "vp8x_alpha_unsaid.webp" { // Pillow has an alpha channel of full opacity
				assert.Equal(t, ModeRGB, img.Mode)
				assert.Equal(t, f.RGB, sha(img.Pix))
				return
			}
			assert.Equal(t, f.Mode, img.Mode.String())
			if _, listed := reason(otherHere, f.File); listed {
				assert.NotEqual(t, f.RGB, sha(img.RGB().Pix), "the pixels are Pillow's: take it off the list")
				return
			}
			assert.Equal(t, f.Bytes, sha(img.Pix), "in the file's own mode")
			assert.Equal(t, f.RGB, sha(img.RGB().Pix), "in RGB")
		})
	}
}
