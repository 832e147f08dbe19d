package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDuplicatesPage(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join("..", "..", "data", "demo", "dog.png"))
	require.NoError(t, err)
	for _, name := range []string{`a "quoted" <dog>.png`, "b.png"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	page := filepath.Join(dir, "same.html")
	code, out, errs := infer(t, "", "search", "--duplicates", "--page", page, dir)
	require.Zero(t, code, errs)
	assert.Equal(t, 2, strings.Count(out, ".png"), "the list is printed as well")
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(html), "Images that are nearly the same: 1 groups")
	assert.Equal(t, 2, strings.Count(string(html), "data:image/png;base64,"))
	assert.Contains(t, string(html), "&lt;dog&gt;.png")
	assert.NotContains(t, string(html), "<dog>")
	for _, path := range []string{`a "quoted" <dog>.png`, "b.png"} {
		assert.FileExists(t, filepath.Join(dir, path))
	}

	code, _, errs = infer(t, "", "search", "--page", page, "dog", dir)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--page goes with --duplicates")
}
