package preprocess

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pngHeaderOnly is a PNG that claims a size and holds no pixel.
func pngHeaderOnly(w, h int) []byte {
	ihdr := []byte("IHDR")
	ihdr = binary.BigEndian.AppendUint32(ihdr, uint32(w))
	ihdr = binary.BigEndian.AppendUint32(ihdr, uint32(h))
	ihdr = append(ihdr, 8, 2, 0, 0, 0)
	out := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n"), 13)
	out = append(out, ihdr...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(ihdr))
}

func bmpHeaderOnly(w, h int32) []byte {
	out := make([]byte, 60)
	copy(out, "BM")
	binary.LittleEndian.PutUint32(out[10:], 54)
	binary.LittleEndian.PutUint32(out[14:], 40)
	binary.LittleEndian.PutUint32(out[18:], uint32(w))
	binary.LittleEndian.PutUint32(out[22:], uint32(h))
	out[26], out[28] = 1, 24
	return out
}

func TestBadImages(t *testing.T) {
	for _, c := range []struct {
		name, data string
		kind       error
		says       string
	}{
		{"empty", "", ErrEmpty, "the file is empty"},
		{"short", "abc", ErrNotImage, "not an image: only 3 bytes"},
		{"text", strings.Repeat("A dog on grass.\n", 9), ErrNotImage, "not an image: the file is text"},
		{"html", "  <!DOCTYPE html><html><body>not found</body>", ErrNotImage, "HTML page"},
		{"zeros", strings.Repeat("\x00", 99), ErrNotImage, "all bytes are zero"},
		{"noise", "\x01\x9c\x00\xffsomething else entirely", ErrNotImage, "the first bytes are 01 9c 00 ff"},
		{"svg", `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>`, ErrUnsupported, "SVG is not read"},
		{"heic", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", ErrUnsupported, "HEIC is not read"},
		{"avif", "\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1", ErrUnsupported, "AVIF is not read"},
		{"video", "\x00\x00\x00\x1cftypisom\x00\x00\x00\x00isomiso2", ErrUnsupported, "video (MP4) is not read"},
		{"pdf", "%PDF-1.7 and so on", ErrUnsupported, "PDF is not read"},
		{"png signature alone", "\x89PNG\r\n\x1a\n and more", ErrTruncated, "truncated"},
		{"png without pixels", string(pngHeaderOnly(8, 8)), ErrTruncated, "truncated"},
		{"png of no size", string(pngHeaderOnly(0, 8)), ErrEmpty, "0x8 pixels"},
		{"png of 20000 pixels a side", string(pngHeaderOnly(20000, 20000)), ErrTooLarge,
			"20000x20000 pixels is more than the limit of 128 million; shrink it or raise MaxPixels"},
		{"png of 121 million claimed pixels", string(pngHeaderOnly(11000, 11000)), ErrTruncated, "truncated"},
		{"png of one endless row", string(pngHeaderOnly(1<<21, 1)), ErrTooLarge, "a side may have"},
		{"bmp of 30000 pixels a side", string(bmpHeaderOnly(30000, -30000)), ErrTooLarge, "30000x30000"},
		{"bmp without pixels", string(bmpHeaderOnly(1000, 1000)), ErrTruncated, "truncated"},
		{"jpeg marker alone", "\xff\xd8\xff\xe0\x00\x10JFIF\x00", ErrTruncated, "truncated"},
		{"webp without chunks", "RIFF\x04\x00\x00\x00WEBP", ErrTruncated, "truncated"},
		{"gif without frame", "GIF89a\x05\x00\x05\x00\x00\x00\x00;;;;;;;;;;;;", ErrEmpty, "no frame"},
		{"tiff without pages", "II*\x00\x00\x00\x00\x00\x00\x00", nil, "TIFF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, err := Decode(t.Context(), []byte(c.data), Limits{NoSystem: true})
			require.Error(t, err)
			assert.Nil(t, img)
			var e *Error
			require.ErrorAs(t, err, &e)
			if c.kind != nil {
				require.ErrorIs(t, err, c.kind)
			}
			assert.Contains(t, err.Error(), c.says)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

// Every image that is cut says so in one line.
func TestTruncatedImages(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenDir, "pictures", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		if !HasJPEGTurbo && strings.Contains(path, "arithmetic") {
			continue // not read at all
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, part := range []float64{0.2, 0.5, 0.8} {
			cut := data[:int(part*float64(len(data)))]
			img, err := Decode(t.Context(), cut, DefaultLimits)
			if name := filepath.Base(path); err == nil && (strings.HasPrefix(name, "animated.") || name == "rgb_1x1.png") {
				whole, err := Decode(t.Context(), data, DefaultLimits)
				require.NoError(t, err)
				assert.Equal(t, whole, img, "%s: the cut took nothing of the first frame's pixels", path)
				continue
			}
			require.ErrorIs(t, err, ErrTruncated, "%s cut to %v", path, part)
			assert.Nil(t, img)
			assert.NotContains(t, err.Error(), "\n")
		}
	}
}

// gifHeaderOnly claims a frame and holds one byte of it.
func gifHeaderOnly(w, h uint16) []byte {
	out := binary.LittleEndian.AppendUint16([]byte("GIF89a"), w)
	out = binary.LittleEndian.AppendUint16(out, h)
	out = append(out, 0x80, 0, 0, 0, 0, 0, 9, 9, 9, ',', 0, 0, 0, 0)
	out = binary.LittleEndian.AppendUint16(out, w)
	out = binary.LittleEndian.AppendUint16(out, h)
	return append(out, 0, 2, 1, 0x44, 0, ';')
}

// jpegHeaderOnly is a JPEG whose frame header claims another size than its scan holds.
func jpegHeaderOnly(t *testing.T, w, h uint16) []byte {
	data := bytes.Clone(readGolden(t, "pictures/cat_grey.jpg"))
	at := bytes.Index(data, []byte("\xff\xc0\x00\x0b\x08"))
	require.Positive(t, at)
	binary.BigEndian.PutUint16(data[at+5:], h)
	binary.BigEndian.PutUint16(data[at+7:], w)
	return data
}

// A header that claims more than the file can hold costs no memory.
func TestClaimedSizesAllocateNothing(t *testing.T) {
	for name, data := range map[string][]byte{
		"PNG beyond the limit": pngHeaderOnly(20000, 20000),
		"PNG":                  pngHeaderOnly(11000, 11000),
		"BMP":                  bmpHeaderOnly(11000, 11000),
		"GIF":                  gifHeaderOnly(11000, 11000),
		"JPEG":                 jpegHeaderOnly(t, 11000, 11000),
	} {
		if name == "JPEG" && !HasJPEGTurbo {
			continue // image/jpeg allocates its planes first
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode(t.Context(), data, DefaultLimits)
		runtime.ReadMemStats(&after)
		require.Error(t, err, name)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), name)
	}
}

func TestLimits(t *testing.T) {
	data := readGolden(t, "pictures/rgb_65x64.png")
	_, err := Decode(t.Context(), data, Limits{MaxPixels: 65 * 64})
	require.NoError(t, err)
	_, err = Decode(t.Context(), data, Limits{MaxPixels: 65*64 - 1})
	var limit *LimitError
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, [2]int{65, 64}, [2]int{limit.Width, limit.Height})
	_, err = Decode(t.Context(), data, Limits{MaxBytes: 100})
	require.ErrorIs(t, err, ErrTooLarge)
	assert.Contains(t, err.Error(), "raise MaxBytes")
	for _, name := range []string{"face_420.jpg", "face.gif", "cat_lossy.webp", "animated.webp", "lossless.webp",
		"rgb.bmp", "rgb_lzw.tif"} {
		_, err = Decode(t.Context(), readGolden(t, "pictures/"+name), Limits{MaxPixels: 1000})
		assert.ErrorIs(t, err, ErrTooLarge, name)
	}
}

func TestFilesAreNamedInErrors(t *testing.T) {
	tr, err := NewTransform(DefaultConfig(8))
	require.NoError(t, err)
	dst := make([]float32, tr.Len())
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.png")
	require.NoError(t, os.WriteFile(text, []byte("a list of things to buy"), 0o600))

	err = tr.File(t.Context(), dst, text)
	require.ErrorIs(t, err, ErrNotImage)
	assert.True(t, strings.HasPrefix(err.Error(), "preprocess: "+text+": not an image: "), err.Error())

	missing := filepath.Join(dir, "missing.png")
	err = tr.File(t.Context(), dst, missing)
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.Equal(t, "preprocess: "+missing+": no such file or directory", err.Error())

	require.ErrorIs(t, tr.File(t.Context(), dst, dir), ErrNotImage)
	_, err = DecodeFile(t.Context(), text, Limits{MaxBytes: 3})
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestHandMadeImages(t *testing.T) {
	tr, err := NewTransform(DefaultConfig(8))
	require.NoError(t, err)
	dst := make([]float32, tr.Len())
	for name, img := range map[string]*Image{
		"nil":        nil,
		"no pixels":  {Mode: ModeRGB},
		"few bytes":  {Width: 2, Height: 2, Mode: ModeRGB, Pix: make([]uint8, 11)},
		"strange":    {Width: 1, Height: 1, Mode: 77, Pix: make([]uint8, 1)},
		"no end":     {Width: 1 << 21, Height: 1, Mode: ModeL, Pix: make([]uint8, 1<<21)},
		"just right": {Width: 2, Height: 2, Mode: ModeP, Pix: []uint8{0, 1, 2, 255}, Palette: [][4]uint8{{9, 9, 9, 255}}},
	} {
		err := tr.Apply(dst, img)
		if name == "just right" {
			assert.NoError(t, err, name)
		} else {
			var e *Error
			assert.True(t, errors.As(err, &e), name)
		}
	}
	assert.Error(t, tr.Apply(dst[1:], &Image{Width: 1, Height: 1, Mode: ModeL, Pix: []uint8{1}}))
}

// An image of 20,000 pixels in one direction is inside the limits and works in every resize mode.
func TestLongImages(t *testing.T) {
	var buf bytes.Buffer
	require.NoError(t, png.Encode(&buf, image.NewGray(image.Rect(0, 0, 20000, 3))))
	for _, mode := range []string{Shortest, Longest, Squash} {
		cfg := DefaultConfig(32)
		cfg.ResizeMode = mode
		tr, err := NewTransform(cfg)
		require.NoError(t, err)
		dst := make([]float32, tr.Len())
		require.NoError(t, tr.Bytes(t.Context(), dst, buf.Bytes()))
		assert.InDelta(t, -OpenAIMean[0]/OpenAIStd[0], dst[0], 1e-6)
		require.NoError(t, tr.Apply(dst, &Image{Width: 1, Height: 1 << 20, Mode: ModeL, Pix: make([]uint8, 1<<20)}))
	}
}
