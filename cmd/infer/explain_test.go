package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
)

// dogPage is a white PNG of 512 x 512 pixels with the demo's dog in its lower right quarter.
func dogPage(t *testing.T) string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "data", "demo", "dog.png"))
	require.NoError(t, err)
	defer f.Close()
	dog, err := png.Decode(f)
	require.NoError(t, err)
	img := image.NewRGBA(image.Rect(0, 0, 512, 512))
	draw.Draw(img, img.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(img, image.Rect(256, 256, 512, 512), dog, image.Point{}, draw.Src)
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	path := filepath.Join(t.TempDir(), "page.png")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	return path
}

func TestExplain(t *testing.T) {
	path := dogPage(t)
	out := filepath.Join(t.TempDir(), "overlay.png")
	code, stdout, stderr := infer(t, "", "explain", "--image", path, "--text", "a dog", "--out", out, "--format", "json")
	require.Zero(t, code, stderr)
	var e explained
	require.NoError(t, json.Unmarshal([]byte(stdout), &e))
	assert.Equal(t, "windows", e.Method)
	assert.Equal(t, [4]float64{0, 0, 512, 512}, e.Region)
	assert.Greater(t, e.Map[18][18], e.Map[5][5])
	f, err := os.Open(out)
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	assert.Equal(t, image.Pt(512, 512), img.Bounds().Size())
	white := func(x, y int) uint32 { r, _, _, _ := img.At(x, y).RGBA(); return r >> 8 }
	assert.Greater(t, white(270, 270), white(10, 10), "what does not speak for the text is darker")

	code, stdout, stderr = infer(t, "", "explain", "--image", path, "--text", "a dog", "--method", "gradient")
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "of 512x512 pixels")
}

// An image that lies on its side is explained, and its overlay drawn, upright.
func TestExplainTurnsUpright(t *testing.T) {
	out := filepath.Join(t.TempDir(), "overlay.png")
	for _, c := range []struct {
		flags []string
		size  [2]int
	}{{nil, [2]int{14, 21}}, {[]string{"--no-orient"}, [2]int{21, 14}}} {
		args := append([]string{"explain", "--image", testImage("orientation6.jpg"), "--text", "waves", "--method", "values", "--out", out, "--format", "json"}, c.flags...)
		code, stdout, stderr := infer(t, "", args...)
		require.Zero(t, code, stderr)
		var e explained
		require.NoError(t, json.Unmarshal([]byte(stdout), &e))
		assert.Equal(t, c.size, e.Size)
		overlay, err := os.ReadFile(out)
		require.NoError(t, err)
		drawn, err := png.DecodeConfig(bytes.NewReader(overlay))
		require.NoError(t, err)
		assert.Equal(t, c.size, [2]int{drawn.Width, drawn.Height})
	}
}

func TestExplainRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--text", "x"}, 2, "--image"},
		{[]string{"--image", "x.png"}, 2, "--text"},
		{[]string{"--image", "x.png", "--text", "x", "--method", "magic"}, 2, "--method"},
		{[]string{"--image", "/nowhere.png", "--text", "x"}, 1, "/nowhere.png"},
	} {
		code, stdout, stderr := infer(t, "", append([]string{"explain"}, c.args...)...)
		assert.Equal(t, c.code, code, stderr)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, c.says)
	}
}

func TestOverlay(t *testing.T) {
	img := &preprocess.Image{Width: 4, Height: 2, Mode: preprocess.ModeRGB, Pix: bytes.Repeat([]byte{200, 100, 0}, 8)}
	e := &clip.Explanation{Map: [][]float64{{0, 1}}, Size: [2]int{4, 2}, Region: [4]float64{1, 0, 3, 2}}
	data, err := overlayPNG(img, e)
	require.NoError(t, err)
	out, err := png.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	dark := color.NRGBA{24, 24, 24, 255} // a fifth of its grey, 118
	want := []color.NRGBA{dark, dark, {200, 100, 0, 255}, dark}
	for x, c := range want {
		assert.Equal(t, c, color.NRGBAModel.Convert(out.At(x, 1)), "%d: beside the region, low, high, beside", x)
	}
}
