package main

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train/evaluate"
)

// folders writes n images of each of two classes that a random tower tells apart too.
func folders(t *testing.T, n int, classes ...string) string {
	t.Helper()
	dir := t.TempDir()
	for c, class := range classes {
		require.NoError(t, os.Mkdir(filepath.Join(dir, class), 0o755))
		for i := range n {
			img := image.NewRGBA(image.Rect(0, 0, 32, 32))
			for p := range 32 * 32 {
				img.SetRGBA(p%32, p/32, color.RGBA{R: uint8(250 * (1 - c%2)), G: uint8(p*i + p%32), B: uint8(250 * (c % 2)), A: 255})
			}
			f, err := os.Create(filepath.Join(dir, class, fmt.Sprintf("%d.png", i)))
			require.NoError(t, err)
			require.NoError(t, png.Encode(f, img))
			require.NoError(t, f.Close())
		}
	}
	return dir
}

func TestProbe(t *testing.T) {
	tiny := tinyModel(t)
	training, test := folders(t, 10, "blue", "red"), folders(t, 4, "blue", "red")
	code, out, errs := infer(t, "", "probe", "--model", tiny, "--format", "json", training, test)
	require.Equal(t, 0, code, errs)
	var r evaluate.ProbeResult
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	assert.Equal(t, 1.0, r.Top1)
	code, out, errs = infer(t, "", "probe", "--model", tiny, "--wd", "0.01", training, test)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, out, "top-1 1.0000")
	assert.Contains(t, out, "2 classes, 20 images to train on, 8 to test, weight decay 0.01")

	require.NoError(t, os.WriteFile(filepath.Join(test, "red", "broken.png"), []byte("\x89PNG\r\n\x1a\n"), 0o644))
	code, out, errs = infer(t, "", "probe", "--model", tiny, "--wd", "0", training, test)
	assert.Equal(t, 1, code)
	assert.Contains(t, out, "8 to test")
	assert.Contains(t, oneLine(t, errs), "broken.png: ")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{training, folders(t, 1, "blue", "green")}, 1, "have different folders: 2 and 2 classes"},
		{[]string{"--wd", "-2", training, test}, 2, "--wd -2"},
		{[]string{training, filepath.Join(t.TempDir(), "none")}, 1, "no such file"},
	} {
		code, _, errs := infer(t, "", append([]string{"probe", "--model", tiny}, c.args...)...)
		assert.Equal(t, c.code, code, errs)
		assert.Contains(t, oneLine(t, errs), c.says)
	}
}
