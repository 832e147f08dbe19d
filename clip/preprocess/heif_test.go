package preprocess

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// heifGolden is a file in a format that a library of the system decodes, and the pixels of Pillow or its plugins,
// upright.
type heifGolden struct {
	Mode, Error  string
	Size         [2]int
	data, pixels []byte
}

func heifFiles(t testing.TB) map[string]*heifGolden { return zipped(t, "heif.zip") }

// zipped are the files of an archive of testdata, with the pixels that stand beside them.
func zipped(t testing.TB, archive string) (out map[string]*heifGolden) {
	z, err := zip.OpenReader(filepath.Join(goldenDir, archive))
	require.NoError(t, err)
	defer z.Close()
	read := func(name string) []byte {
		f, err := z.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the pixels of a file that Pillow refuses
		}
		require.NoError(t, err)
		data, err := io.ReadAll(f)
		require.NoError(t, err)
		return data
	}
	require.NoError(t, json.Unmarshal(read("told.json"), &out))
	for name, g := range out {
		g.data, g.pixels = read(name), read(name+".pixels")
	}
	return out
}

// distance is the largest and the mean difference of an image of the same size and mode.
func (g *heifGolden) distance(img *Image) (most int, mean float64) {
	most, _, _ = difference(g.pixels, img.Pix)
	for i, v := range g.pixels {
		mean += math.Abs(float64(v) - float64(img.Pix[i]))
	}
	return most, mean / float64(len(g.pixels))
}

func needHEIF(t testing.TB) {
	if !HasHEIF() {
		t.Skip("this system has no libheif (Debian: apt-get install libheif1)")
	}
}

// HEIC has pillow-heif's pixels, to one grey level. AVIF has those of another decoder and of
// another way from YCbCr to RGB than Pillow's: they are alike in the mean, and not at edges of
// colour.
func TestHEIFGivesPillowsPixels(t *testing.T) {
	needHEIF(t)
	for name, g := range heifFiles(t) {
		img, err := Decode(t.Context(), g.data, DefaultLimits)
		require.NoError(t, err, name)
		require.Equal(t, g.Size, [2]int{img.Height, img.Width}, name)
		mode := ModeRGB
		if strings.Contains(g.Mode, "A") {
			mode = ModeRGBA
		}
		require.Equal(t, mode, img.Mode, name)
		most, mean := g.distance(img)
		t.Logf("%s: largest difference %d, mean %.3f", name, most, mean)
		switch {
		case name == "deep.heic": // 10 bits, cut by different roundings
			assert.LessOrEqual(t, most, 2)
		case filepath.Ext(name) == ".heic":
			assert.LessOrEqual(t, most, 1, name)
		default:
			assert.LessOrEqual(t, mean, 0.7, name)
		}
		head, err := ReadHeader(g.data, Limits{Orient: true})
		require.NoError(t, err)
		assert.Equal(t, [2]int{img.Width, img.Height}, [2]int{head.Width, head.Height}, "%s is upright already", name)
	}
}

// checkLimits decodes an image beyond each limit, after its context's end, and cut to some lengths.
func checkLimits(t *testing.T, format string, data []byte, cuts ...int) {
	t.Helper()
	head, err := ReadHeader(data, DefaultLimits)
	require.NoError(t, err)
	assert.Equal(t, format, head.Format)
	_, err = Decode(t.Context(), data, Limits{MaxPixels: 1000})
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = Decode(t.Context(), data, Limits{MaxMemory: head.Memory - 1})
	require.ErrorIs(t, err, ErrTooLarge)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Decode(ended, data, DefaultLimits)
	require.ErrorIs(t, err, context.Canceled)
	for _, n := range cuts {
		img, err := Decode(t.Context(), data[:n], DefaultLimits)
		require.ErrorIs(t, err, ErrTruncated, "cut to %d bytes", n)
		assert.Nil(t, img)
		assert.NotContains(t, err.Error(), "\n")
	}
}

func TestHEIFKeepsTheLimits(t *testing.T) {
	needHEIF(t)
	data := heifFiles(t)["face.heic"].data
	checkLimits(t, "HEIC", data, len(data)/3, len(data)/2, len(data)-9)
}

// Without libheif, or with it switched off, the error says what the file is and what would read
// it.
func TestHEIFIsRefusedByName(t *testing.T) {
	data := heifFiles(t)["face.heic"].data
	_, err := Decode(t.Context(), data, Limits{NoSystem: true})
	require.ErrorIs(t, err, ErrUnsupported)
	assert.Contains(t, err.Error(), "HEIC is not read; convert it to PNG first")
	assert.Contains(t, refuse(isAVIF, data).Error(), "AVIF is not read; install libheif (Debian: apt-get install libheif1)")
	if !HasHEIF() {
		_, err := Decode(t.Context(), data, DefaultLimits)
		require.ErrorIs(t, err, ErrUnsupported)
		assert.Contains(t, err.Error(), "install libheif")
	}
}

// A program that never sees a HEIC file does not load libheif: it is found when it is needed, and
// nothing links to it.
func TestNothingLinksToLibheif(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs ldd")
	}
	program, err := filepath.Abs("/proc/self/exe")
	require.NoError(t, err)
	out, err := exec.Command("ldd", program).CombinedOutput()
	if err != nil {
		t.Skipf("ldd: %v", err)
	}
	assert.NotContains(t, string(out), "libheif")
}
