package preprocess

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// manyScans is a grey progressive JPEG whose last scan comes n times.
func manyScans(w, h, n int) []byte {
	segment := func(marker byte, body ...byte) []byte {
		out := binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(body)+2))
		return append(out, body...)
	}
	table := func(kind, symbol byte) []byte { // one code, of one bit
		return segment(0xc4, append(append([]byte{kind, 1}, make([]byte, 15)...), symbol)...)
	}
	out := append([]byte{0xff, 0xd8}, segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)...)...)
	out = append(out, segment(0xc2, 8, byte(h>>8), byte(h), byte(w>>8), byte(w), 1, 1, 0x11, 0)...)
	out = append(append(out, table(0, 0)...), table(0x10, 0xe0)...)
	blocks := (w + 7) / 8 * ((h + 7) / 8)
	out = append(out, segment(0xda, 1, 1, 0, 0, 0, 0)...)
	out = append(out, make([]byte, (blocks+7)/8)...)
	var scan []byte // runs of 16384 blocks without coefficients: a zero, and 14 zeros more
	bits := 15 * ((blocks + 16383) / 16384)
	scan = append(segment(0xda, 1, 1, 0, 1, 63, 0), make([]byte, (bits+7)/8)...)
	return append(append(out, bytes.Repeat(scan, n)...), 0xff, 0xd9)
}

func TestJPEGOfManyScans(t *testing.T) {
	for _, c := range []struct {
		w, h, scans int
		refused     bool
	}{{7000, 7000, 1000, true}, {7000, 7000, 100, true}, {64, 64, 499, false}, {64, 64, 500, true}, {700, 700, 100, false}} {
		data := manyScans(c.w, c.h, c.scans)
		img, err := Decode(t.Context(), data, DefaultLimits)
		if !c.refused {
			require.NoError(t, err, "%+v", c)
			assert.Equal(t, ModeL, img.Mode)
			continue
		}
		require.ErrorIs(t, err, ErrTooLarge, "%+v", c)
		assert.Contains(t, err.Error(), "scans")
		_, err = ReadHeader(data, DefaultLimits)
		require.ErrorIs(t, err, ErrTooLarge, "%+v", c)
	}
}

// endsAfter is a context that ends when it has been asked often enough.
type endsAfter struct {
	context.Context
	left atomic.Int64
}

func (c *endsAfter) Err() error {
	if c.left.Add(-1) < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// Every decoder that works row by row, or part by part, asks its context as it goes.
func TestDecodingStopsWhenItsContextEnds(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range []string{"face.png", "interlaced.png", "face.gif", "rgb.bmp", "rgb_lzw.tif", "face_420.jpg",
		"cat_progressive.jpg", "cat_lossy.webp", "lossless.webp"} {
		data := readGolden(t, "pictures/"+name)
		img, err := Decode(ended, data, DefaultLimits)
		require.ErrorIs(t, err, context.Canceled, name)
		assert.Nil(t, img)
		if filepath.Ext(name) == ".jpg" || filepath.Ext(name) == ".webp" {
			continue
		}
		late := &endsAfter{Context: t.Context()}
		late.left.Store(9)
		img, err = Decode(late, data, DefaultLimits)
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		assert.Nil(t, img)
	}
}

// A PNG of a million chunks without content is read once, and is stopped among them.
func TestPNGOfManyChunks(t *testing.T) {
	data := readGolden(t, "pictures/face.png")
	at := bytes.Index(data, []byte("IDAT")) - 4
	for _, id := range []string{"abCd", "IDAT"} {
		empty := append(append([]byte{0, 0, 0, 0}, id...), 0, 0, 0, 0)
		binary.BigEndian.PutUint32(empty[8:], crc32.ChecksumIEEE([]byte(id)))
		many := slices.Concat(data[:at], bytes.Repeat(empty, 1e6), data[at:])
		img, err := Decode(t.Context(), many, DefaultLimits)
		require.NoError(t, err, id)
		want, err := Decode(t.Context(), data, DefaultLimits)
		require.NoError(t, err)
		assert.Equal(t, want.Pix, img.Pix, id)
		late := &endsAfter{Context: t.Context()}
		late.left.Store(3)
		_, err = Decode(late, many, DefaultLimits)
		require.ErrorIs(t, err, context.DeadlineExceeded, id)
	}
}

func TestProgressiveJPEGStopsBetweenScans(t *testing.T) {
	if !HasJPEGTurbo {
		t.Skip("image/jpeg stops where it reads")
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := part{plan: func(w, _ int) (scale, from, to int) {
		cancel() // when the header was read; the scans take much longer than the call that stops them
		return 1, 0, w
	}}
	img, err := Decode(ctx, manyScans(9000, 9000, 19), Limits{part: &p})
	require.ErrorIs(t, err, context.Canceled)
	assert.Nil(t, img)
}

// What ReadHeader says that decoding holds is more than all that it allocates, whatever is freed in
// between.
func TestMemoryIsToldBeforeItIsTaken(t *testing.T) {
	check := func(name string, data []byte, lim Limits) {
		head, err := ReadHeader(data, lim)
		if err != nil {
			_, err := Decode(t.Context(), data, lim)
			require.Error(t, err, name)
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		img, err := Decode(t.Context(), data, lim)
		runtime.ReadMemStats(&after)
		if err == nil {
			assert.Equal(t, [2]int{head.Width, head.Height}, [2]int{img.Width, img.Height}, name)
		}
		if HasJPEGTurbo || head.Format != "JPEG" {
			assert.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(head.Memory)+64<<10, name)
		}
	}
	files, err := filepath.Glob(filepath.Join(goldenDir, "pictures", "*"))
	require.NoError(t, err)
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		check(path, data, DefaultLimits)
		check(path, data, Limits{Orient: true})
	}
	for _, f := range untidyFiles(t) {
		check(f.File, f.data, DefaultLimits)
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, name := range []string{"cat_progressive.jpg", "rgb16.png", "grey16.tif", "cat_lossy.webp", "face.gif", "rgb.bmp"} {
		data := readGolden(t, "pictures/"+name)
		head, err := ReadHeader(data, DefaultLimits)
		require.NoError(t, err)
		_, err = Decode(t.Context(), data, Limits{MaxMemory: head.Memory})
		require.NoError(t, err, name)
		_, err = Decode(t.Context(), data, Limits{MaxMemory: head.Memory - 1})
		var limit *LimitError
		require.ErrorAs(t, err, &limit, name)
		require.ErrorIs(t, err, ErrTooLarge)
		assert.Equal(t, head.Memory, limit.Memory)
		assert.True(t, strings.HasSuffix(err.Error(), "raise MaxMemory"), err.Error())
	}
}

// A 16-bit image of 50 megapixels takes the bytes of its result and little more.
func TestSixteenBitsTakeNoMoreThanTheirResult(t *testing.T) {
	const side = 7071
	data := pngHeaderOnly(side, side)
	data[24], data[25] = 16, pngRGBA
	head, err := ReadHeader(data, DefaultLimits)
	require.NoError(t, err)
	assert.InDelta(t, 4*side*side, head.Memory, 1<<20)
	tiff := tiffOf(nil, [3]uint32{256, 4, side}, [3]uint32{257, 4, side}, [3]uint32{258, 3, 16}, [3]uint32{259, 3, 1},
		[3]uint32{262, 3, 2}, [3]uint32{277, 3, 3})
	head, err = ReadHeader(tiff, DefaultLimits)
	require.NoError(t, err)
	assert.InDelta(t, 3*side*side, head.Memory, 1<<20)
}
