package preprocess

import (
	"bytes"
	"context"
	"errors"
	"image"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSource gives the same pixels, to the bit, whichever way a file comes, and the size of the
// file's image.
func TestSource(t *testing.T) {
	path := filepath.Join("..", "..", "testdata", "preprocess", "pictures", "face_420.jpg")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	transform, err := NewTransform(DefaultConfig(32))
	require.NoError(t, err)
	want := make([]float32, transform.Len())
	width, height, err := transform.Sized(t.Context(), want, data, "")
	require.NoError(t, err)
	whole, err := Decode(t.Context(), data, DefaultLimits)
	require.NoError(t, err)
	for name, s := range map[string]Source{
		"file": FromFile(path), "bytes": FromBytes(data), "reader": FromReader(iotest.OneByteReader(bytes.NewReader(data))),
		"func": FromFunc("x", func(context.Context) ([]byte, error) { return data, nil }),
	} {
		got := make([]float32, transform.Len())
		w, h, err := transform.Source(t.Context(), got, s)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
		assert.Equal(t, []int{width, height}, []int{w, h}, name)
		if name == "reader" { // which can be read once
			_, err = s.Decode(t.Context(), DefaultLimits)
			assert.ErrorIs(t, err, ErrEmpty)
			continue
		}
		img, err := s.Decode(t.Context(), DefaultLimits)
		require.NoError(t, err, name)
		assert.Equal(t, whole, img, name)
		content, err := s.Bytes(t.Context(), DefaultLimits)
		require.NoError(t, err, name)
		assert.Equal(t, data, content, name)
	}

	drawn := image.NewGray(image.Rect(2, 3, 12, 10))
	copy(drawn.Pix, data)
	plain, err := Convert(drawn)
	require.NoError(t, err)
	require.NoError(t, transform.Apply(want, plain))
	got := make([]float32, transform.Len())
	w, h, err := transform.Source(t.Context(), got, FromImage(drawn))
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, []int{10, 7}, []int{w, h})
	img, err := FromImage(drawn).Decode(t.Context(), Limits{})
	require.NoError(t, err)
	assert.Equal(t, plain, img)
}

func TestSourceRefusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.png")
	require.NoError(t, os.WriteFile(file, []byte("not an image at all"), 0o644))
	drawn := FromImage(image.NewGray(image.Rect(0, 0, 8, 8)))
	broken := errors.New("the store is down")
	small := Limits{MaxPixels: 63, MaxBytes: 10}
	transform, err := NewTransform(DefaultConfig(8))
	require.NoError(t, err)
	transform = transform.WithLimits(small)
	for _, c := range []struct {
		name string
		s    Source
		is   error
		says string
	}{
		{"zero", Source{}, ErrEmpty, "no image was given"},
		{"nil", FromImage(nil), ErrEmpty, "no image was given"},
		{"no file", FromFile(filepath.Join(dir, "none.png")), fs.ErrNotExist, "none.png"},
		{"long file", FromFile(file), ErrTooLarge, file + ": a file of 19 bytes is more than the limit of 10"},
		{"long bytes", FromBytes(make([]byte, 11)), ErrTooLarge, "a file of 11 bytes is more than the limit of 10"},
		{"long reader", FromReader(bytes.NewReader(make([]byte, 1000))), ErrTooLarge, "a file of 11 bytes is more than the limit of 10"},
		{"long func", FromFunc("s.tar:a", func(context.Context) ([]byte, error) { return make([]byte, 30), nil }), ErrTooLarge, "s.tar:a: a file of 30 bytes"},
		{"bad reader", FromReader(iotest.ErrReader(broken)), broken, "the image could not be read: the store is down"},
		{"bad func", FromFunc("", func(context.Context) ([]byte, error) { return nil, broken }), broken, "the store is down"},
		{"no image", FromFunc("s.tar:b", func(context.Context) ([]byte, error) { return []byte("text"), nil }), ErrNotImage, "preprocess: s.tar:b: "},
		{"large image", drawn, ErrTooLarge, "8x8 pixels is more than the limit of 63"},
	} {
		_, err := c.s.Decode(t.Context(), small)
		assert.ErrorIs(t, err, c.is, c.name)
		assert.ErrorContains(t, err, c.says, c.name)
		if c.name == "long reader" || c.name == "bad reader" {
			continue
		}
		_, _, err = transform.Source(t.Context(), make([]float32, transform.Len()), c.s)
		assert.ErrorIs(t, err, c.is, c.name)
		assert.ErrorContains(t, err, c.says, c.name)
	}
	_, err = drawn.Bytes(t.Context(), DefaultLimits)
	assert.ErrorIs(t, err, ErrUnsupported)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, s := range []Source{FromFile(file), drawn} {
		_, err := s.Decode(ended, DefaultLimits)
		assert.ErrorIs(t, err, context.Canceled)
		_, _, err = transform.Source(ended, make([]float32, transform.Len()), s)
		assert.ErrorIs(t, err, context.Canceled)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { panic("no more paper") }

// TestSourceOfBrokenValues: what a caller's own image or reader does wrong is an error of that image. Sources are read in
// goroutines of their own, where a panic would end the process.
func TestSourceOfBrokenValues(t *testing.T) {
	transform, err := NewTransform(DefaultConfig(32))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		source Source
		says   string
	}{
		"no reader":      {FromReader(nil), "no image was given"},
		"nil image":      {FromImage((*image.RGBA)(nil)), "the *image.RGBA is nil or broken"},
		"too few pixels": {FromImage(&image.NRGBA{Rect: image.Rect(0, 0, 8, 8)}), "the *image.NRGBA is nil or broken"},
		"reader panics":  {FromReader(brokenReader{}), "brokenReader panicked: no more paper"},
		"func panics":    {FromFunc("x.png", func(context.Context) ([]byte, error) { panic("no more paper") }), "x.png: reading it panicked: no more paper"},
	} {
		_, _, err := transform.Source(t.Context(), make([]float32, transform.Len()), c.source)
		assert.ErrorContains(t, err, c.says, name)
		_, err = c.source.Decode(t.Context(), DefaultLimits)
		assert.ErrorContains(t, err, c.says, name)
	}

	r, w := io.Pipe() // nobody writes into it
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	_, err = FromReader(r).Decode(ctx, DefaultLimits)
	assert.ErrorIs(t, err, context.Canceled)
}
