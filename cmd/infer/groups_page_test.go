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
	code, out, errs := infer(t, "", "search", "--duplicates", "--html", page, dir)
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

	code, _, errs = infer(t, "", "search", "--html", page, "dog", dir)
	require.Zero(t, code, errs)
	html, err = os.ReadFile(page)
	require.NoError(t, err)
	assert.NotContains(t, string(html), "nearly the same", "found images, without --duplicates")
}

func TestCluster(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"dog.png", "racing_car.png"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "data", "demo", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "copy_of_"+name), data, 0o644))
	}
	code, _, errs := infer(t, "", "index", dir)
	require.Zero(t, code, errs)
	page := filepath.Join(dir, "groups.html")
	code, out, errs := infer(t, "", "cluster", "--index", filepath.Join(dir, ".goclip"), "--clusters", "2", "--html", page, "--format", "csv")
	require.Zero(t, code, errs)
	group := map[string]string{}
	for line := range strings.Lines(out) {
		cells := strings.Split(line, ",")
		group[filepath.Base(cells[2])] = cells[0]
	}
	assert.Equal(t, group["dog.png"], group["copy_of_dog.png"])
	assert.Equal(t, group["racing_car.png"], group["copy_of_racing_car.png"])
	assert.NotEqual(t, group["dog.png"], group["racing_car.png"])
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(html), "Images that are alike: 2 groups")

	code, _, errs = infer(t, "", "cluster", "--clusters", "-1")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--clusters -1: must be between 1 and")
	code, _, errs = infer(t, "", "cluster", "--index", t.TempDir())
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "is not an index")
}
