package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tree lists the files under dir with their contents, links followed; what is hidden counts.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			out[name] = string(readFile(t, path))
		}
		return err
	}))
	return out
}

// TestSortInto sorts images whose names are the same, beside files that are there already:
// nothing is replaced, and a second run changes nothing.
func TestSortInto(t *testing.T) {
	t.Setenv("GOCLIP_CACHE", t.TempDir())
	tiny := tinyModel(t)
	for _, copies := range []bool{false, true} {
		dir := t.TempDir()
		put := func(name, picture string) string {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			return writeFile(t, dir, name, readFile(t, testImage(picture)))
		}
		put("photos/1/x.png", "face.png")
		put("photos/2/x.png", "rgb_63x64.png")
		put("photos/3/x.png", "grey.png")
		put("photos/y", "face.png") // no extension: not walked, given by name
		writeFile(t, dir, "photos/bad.png", []byte("\x89PNG\r\n\x1a\n"))
		sorted := filepath.Join(dir, "photos", "sorted") // inside what is walked
		require.NoError(t, os.MkdirAll(filepath.Join(sorted, "only_one"), 0o755))
		writeFile(t, filepath.Join(sorted, "only_one"), "x.png", []byte("another's"))
		before := tree(t, filepath.Join(dir, "photos"))

		args := []string{"--model", tiny, "--label", "only/one", "--template", "{}", "--sort-into", sorted, filepath.Join(dir, "photos"), filepath.Join(dir, "photos", "y")}
		if copies {
			args = append(args, "--copy")
		}
		dry, errs := classifyJSON(t, 1, append(args, "--dry-run")...)
		assert.Contains(t, errs, "4 images would be ")
		assert.Equal(t, before, tree(t, filepath.Join(dir, "photos")))

		want := map[string]string{"only_one/x.png": "another's", "only_one/x (2).png": before["1/x.png"], "only_one/x (3).png": before["2/x.png"],
			"only_one/x (4).png": before["3/x.png"], "only_one/y": before["y"]}
		for run, says := range []string{"4 images linked into " + sorted + ", 0 were there", "0 images linked into " + sorted + ", 4 were there"} {
			if copies {
				says = strings.Replace(says, "linked", "copied", 1)
			}
			got, errs := classifyJSON(t, 1, args...)
			assert.Contains(t, errs, says)
			assert.Equal(t, want, tree(t, sorted), "run %d", run)
			require.Len(t, got.Images, 5, "what was sorted is not classified again")
			assert.Equal(t, dry.Images, got.Images, "as --dry-run said")
			for _, image := range got.Images {
				if image.Error != "" {
					assert.Empty(t, image.Sorted)
					continue
				}
				assert.Equal(t, readFile(t, string(image.Path)), readFile(t, string(image.Sorted)))
				info, err := os.Lstat(string(image.Sorted))
				require.NoError(t, err)
				assert.Equal(t, !copies, info.Mode()&fs.ModeSymlink != 0)
			}
		}
		after := tree(t, filepath.Join(dir, "photos"))
		for name, data := range before {
			assert.Equal(t, data, after[name], name)
		}
	}
}

// TestSortIntoFails has a class whose directory cannot be made: the others are sorted.
func TestSortIntoFails(t *testing.T) {
	c := classifyCmd{SortInto: t.TempDir()}
	writeFile(t, c.SortInto, "cat", []byte("in the way"))
	out := &classification{Labels: []string{"cat", "dog"}, Images: []imageClass{
		{Path: fileName(testImage("face.png")), Top: []prediction{{Label: "cat"}}}, {Path: fileName(testImage("grey.gif")), Top: []prediction{{Label: "dog"}}}}}
	var errs strings.Builder
	failed, err := c.sort(t.Context(), &streams{err: &errs}, out)
	require.NoError(t, err)
	assert.True(t, failed)
	assert.Contains(t, errs.String(), "face.png: mkdir")
	assert.Contains(t, errs.String(), "1 images linked")
	assert.Empty(t, out.Images[0].Sorted)
	assert.FileExists(t, string(out.Images[1].Sorted))
}

func TestFolderNames(t *testing.T) {
	long := strings.Repeat("ä", 300)
	got := folderNames([]string{"a/b", "a_b", "..", ".hidden", "line\nend", " dog ", "dog", long, long + "!", "keycap: *", "a\xffb"})
	for label, want := range map[string]string{"a/b": "a_b", "a_b": "a_b (2)", "..": "_.", ".hidden": "_hidden", "line\nend": "line_end",
		" dog ": "dog", "dog": "dog (2)", "keycap: *": "keycap: *", "a\xffb": "a_b (3)"} {
		assert.Equal(t, want, got[label], label)
	}
	assert.NotEqual(t, got[long], got[long+"!"])
	for label, name := range got {
		assert.LessOrEqual(t, len(name), 255)
		assert.NoError(t, os.Mkdir(filepath.Join(t.TempDir(), name), 0o755), label)
	}
}
