package preprocess

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestConvert holds images that Go decoded against the same files decoded here.
func TestConvert(t *testing.T) {
	for name, mode := range map[string]Mode{"rgb_63x64.png": ModeRGB, "rgba_64x90.png": ModeRGBA, "grey.png": ModeL, "palette4.png": ModeRGB} {
		data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "preprocess", "pictures", name))
		require.NoError(t, err)
		img, err := png.Decode(bytes.NewReader(data))
		require.NoError(t, err)
		want, err := Decode(t.Context(), data, DefaultLimits)
		require.NoError(t, err)
		got, err := Convert(img)
		require.NoError(t, err)
		assert.Equal(t, mode, got.Mode, name)
		assert.Equal(t, want.RGB(), got.RGB(), name)
		require.NoError(t, got.check())
	}

	photo := image.NewNRGBA(image.Rect(0, 0, 32, 16))
	for i := range photo.Pix {
		photo.Pix[i] = uint8(255 - i%200*(1-i%4/3))
	}
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, photo, nil))
	img, err := jpeg.Decode(&b)
	require.NoError(t, err)
	got, err := Convert(img) // YCbCr
	require.NoError(t, err)
	r, g, bl, _ := img.At(7, 5).RGBA()
	assert.Equal(t, []uint8{uint8(r >> 8), uint8(g >> 8), uint8(bl >> 8)}, got.Pix[3*(5*32+7):][:3])

	t.Run("a part of an image", func(t *testing.T) {
		for _, whole := range []interface {
			image.Image
			SubImage(image.Rectangle) image.Image
		}{photo, image.NewGray(photo.Rect), image.NewGray16(photo.Rect), image.NewRGBA(photo.Rect)} {
			part := whole.SubImage(image.Rect(3, 2, 10, 7))
			got, err := Convert(part)
			require.NoError(t, err)
			assert.Equal(t, [2]int{7, 5}, [2]int{got.Width, got.Height})
			require.NoError(t, got.check())
			want := color.NRGBAModel.Convert(part.At(4, 3)).(color.NRGBA)
			at := 3 * (1*7 + 1)
			assert.Equal(t, []uint8{want.R, want.G, want.B}, got.RGB().Pix[at:at+3])
		}
	})
	for _, none := range []image.Image{nil, image.NewGray(image.Rect(0, 0, 0, 5)), image.NewUniform(color.Black)} {
		_, err := Convert(none)
		assert.Error(t, err)
	}
}
