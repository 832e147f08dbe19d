package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
)

func TestConvert(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	rows := func(model string) []float32 {
		m, err := clip.Open(model, clip.OpenOptions{})
		require.NoError(t, err)
		out, err := m.Pictures(testPicture("face.png"))
		require.NoError(t, err)
		return out
	}
	for dtype, within := range map[string]float64{"float32": 0, "float16": 2e-3} {
		out := filepath.Join(dir, "made", dtype)
		code, stdout, errs := infer(t, "", "convert", "--to", "open_clip", "--dtype", dtype, tiny, out)
		require.Equal(t, 0, code, errs)
		assert.Empty(t, stdout)
		assert.InDeltaSlice(t, rows(tiny), rows(out), within)
		code, _, errs = infer(t, "", "convert", tiny, out)
		assert.Equal(t, 2, code)
		assert.Contains(t, oneLine(t, errs), "is there already; name another directory")
	}
	code, _, errs := infer(t, "", "convert", filepath.Join(dir, "none"), filepath.Join(dir, "made", "none"))
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "is neither a model directory, nor a file of weights, nor a built-in config")
	left, err := os.ReadDir(filepath.Join(dir, "made"))
	require.NoError(t, err)
	assert.Len(t, left, 2, "nothing half-written")
}
