package main

import (
	"archive/tar"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// emoji writes the first n images of the held-out hand into dir, and gives their names by their
// captions.
func emoji(t testing.TB, dir string, n int) map[string]string {
	t.Helper()
	byCaption := map[string]string{}
	for _, shard := range []string{"openmoji-eval-00000.tar", "openmoji-eval-00001.tar"} {
		f, err := os.Open(filepath.Join("..", "..", "data", shard))
		require.NoError(t, err)
		defer f.Close()
		for r := tar.NewReader(f); len(byCaption) < n; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			data, err := io.ReadAll(r)
			require.NoError(t, err)
			if name, ok := strings.CutSuffix(h.Name, ".txt"); ok {
				byCaption[strings.TrimSpace(string(data))] = name + ".png"
			} else {
				require.NoError(t, os.WriteFile(filepath.Join(dir, h.Name), data, 0o644))
			}
		}
	}
	return byCaption
}

// TestSearchFindsEmoji has the built-in model find the held-out hand's images by their names.
func TestSearchFindsEmoji(t *testing.T) {
	dir := t.TempDir()
	byCaption := emoji(t, dir, 150)
	code, out, errs := infer(t, "", "search", "-f", "-t", "5", "watermelon", dir)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "infer: indexing ")
	assert.Len(t, strings.Fields(out), 5)
	found := 0
	for _, caption := range slices.Sorted(maps.Keys(byCaption))[:60] {
		name := byCaption[caption]
		code, out, errs := infer(t, "", "search", "-f", "-t", "5", "--index", filepath.Join(dir, ".goclip"), "--text", caption)
		require.Equal(t, 0, code, errs)
		assert.Empty(t, errs)
		if strings.Contains(out, filepath.Join(dir, name)+"\n") {
			found++
		}
	}
	t.Logf("%d of 60 images were among the first 5 of 150", found)
	assert.Greater(t, found, 20, "chance is 2 of 60")
}

// TestSearchFolder goes rclip's way: the folder is indexed when it is searched, and again when it
// has changed.
func TestSearchFolder(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	require.NoError(t, os.Mkdir(sub, 0o755))
	emoji(t, sub, 30)
	all := names(t, sub)
	dog := writeFile(t, dir, "dog.png", readFile(t, filepath.Join("..", "..", "data", "demo", "dog.png")))
	car := writeFile(t, dir, "car.png", readFile(t, filepath.Join("..", "..", "data", "demo", "racing_car.png")))
	bad := writeFile(t, dir, "bad.png", []byte("no image"))

	code, out, errs := infer(t, "", "search", "--format", "json", "-t", "2", "a dog", dir)
	require.Equal(t, 1, code, "an image could not be read")
	assert.Contains(t, errs, "bad.png")
	assert.Contains(t, errs, "32 images added")
	var r result
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.Len(t, r.Results, 2)
	assert.EqualValues(t, dog, r.Results[0].Path)
	assert.Equal(t, "emoji-64", r.Model)

	code, out, errs = infer(t, "", "search", "-f", "-t1", "a fast car", dir)
	assert.Equal(t, 0, code)
	assert.Equal(t, car+"\n", out)
	assert.Empty(t, errs, "nothing is new, and what cannot be read is told once")

	// A copy is found by the image and as its duplicate; the index holds the vector, so no model is
	// needed.
	twin := writeFile(t, sub, "twin.png", append(readFile(t, dog), 0))
	code, out, _ = infer(t, "", "search", "--format", "csv", "-t", "2", dog, dir)
	assert.Equal(t, 0, code)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(t, err)
	assert.Equal(t, []string{"score", "path", "size", "modified", "date"}, rows[0])
	assert.ElementsMatch(t, []string{dog, twin}, []string{rows[1][1], rows[2][1]})
	code, out, _ = infer(t, "", "search", "-n", "--duplicates", "-f", "--threshold", "0.9999", dir)
	assert.Equal(t, 0, code)
	assert.Equal(t, dog+"\n", out, "all but the largest of each group")

	// Below the index's directory only that part is searched and pruned.
	require.NoError(t, os.Remove(twin))
	require.NoError(t, os.Remove(car))
	code, out, errs = infer(t, "", "search", "-f", "-t", "100", "a dog", sub)
	assert.Equal(t, 0, code)
	assert.Contains(t, errs, "1 removed")
	assert.Len(t, strings.Fields(out), len(all))
	assert.NotContains(t, out, "dog.png")
	assert.NoDirExists(t, filepath.Join(sub, ".goclip"))
	_, out, errs = infer(t, "", "search", "-f", "-n", "-t", "1", "a fast car", dir)
	assert.Equal(t, car+"\n", out, "-n looks at the index alone")
	assert.Empty(t, errs)

	// The query's arithmetic: what is like a dog and not like this dog is not this dog.
	_, out, _ = infer(t, "", "search", "-f", "-t", "100", "a dog", "-", "2:"+dog, dir)
	lines := strings.Fields(out)
	assert.Equal(t, dog, lines[len(lines)-1])

	old := time.Now().AddDate(0, 0, -10)
	require.NoError(t, os.Chtimes(dog, old, old))
	for _, c := range []struct {
		flags string
		has   bool
	}{
		{"--since 5d", false}, {"--until 5d", true}, {"--min-size 1B --max-size 1MB", true}, {"--min-size 1MB", false},
		{"--folder " + sub, false}, {"--folder " + dir, true},
	} {
		_, out, errs := infer(t, "", append([]string{"search", "-f", "-t", "100", "a dog", dir}, strings.Fields(c.flags)...)...)
		assert.Equal(t, c.has, strings.Contains(out, dog), "%s %s", c.flags, errs)
	}
	require.FileExists(t, bad)
}

// TestIndex goes the contract's way, with its own --out and another model.
func TestIndex(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	emoji(t, dir, 10)
	out := filepath.Join(t.TempDir(), "index")
	bad := writeFile(t, dir, "bad.png", []byte("no image"))
	n := len(names(t, dir)) - 1
	code, lines, errs := infer(t, "", "index", "--model", tiny, "--out", out, "--verbose", dir)
	assert.Equal(t, 1, code, "an image could not be read")
	assert.Contains(t, errs, bad)
	assert.Equal(t, n, strings.Count(lines, "+ "+dir))
	code, _, errs = infer(t, "", "index", "--model", tiny, "--out", out, dir)
	assert.Equal(t, 0, code, "and is not tried again")
	assert.Contains(t, errs, "0 images added, 0 changed, 0 removed")

	code, found, errs := infer(t, "", "search", "--index", out, "--text", "a dog", "--top", "3")
	require.Equal(t, 0, code, errs)
	assert.Equal(t, 4, strings.Count(found, "\n"))
	code, found, errs = infer(t, "", "search", "--index", out, "--image", testImage("face.png"), "-f", "-t1")
	require.Equal(t, 0, code, errs)
	assert.Equal(t, 1, strings.Count(found, "\n"))

	// A search with another model is refused, and the same one elsewhere is the same.
	code, _, errs = infer(t, "", "search", "--index", out, "--model", "emoji-64", "--text", "a dog")
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "the index was made with the model "+tiny+": its features have 16 numbers, those of emoji-64 128; search with that model, or rebuild the index; infer index --model does that, and searches continue meanwhile")
	code, _, errs = infer(t, "", "index", "--out", out, dir)
	assert.Equal(t, 0, code, "it keeps its model")
	assert.Contains(t, oneLine(t, errs), "0 images added, 0 changed, 0 removed, ")
	moved := filepath.Join(t.TempDir(), "moved")
	require.NoError(t, os.Rename(tiny, moved))
	code, _, errs = infer(t, "", "search", "--index", out, "--text", "a dog")
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "--model names it where it lies now")
	code, _, errs = infer(t, "", "search", "--index", out, "--model", moved, "--text", "a dog")
	assert.Equal(t, 0, code, errs)

	code, _, errs = infer(t, "", "index", "--out", out, "--rebuild", "--model", moved, "--exclude-dir", "x", dir)
	assert.Equal(t, 1, code, "the bad image is tried again")
	assert.Contains(t, errs, "images added")
	code, _, errs = infer(t, "", "index", "--out", out, "--model", "emoji-64", dir)
	assert.Equal(t, 1, code, "the bad image is tried again")
	assert.Contains(t, errs, "every image has an embedding of emoji-64, which searches use from now on")
	code, found, errs = infer(t, "", "index", "--out", out, "--verify")
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, found, "every checksum right; model emoji-64")
}

func TestSearchCommandLine(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, dir, "file", nil)
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"search", 2, "no query"},
		{"search a DIR -t 0", 2, "--top 0: must be between 1 and"},
		{"search a b DIR", 2, "only one directory may follow the query"},
		{"search a b", 2, "b is not a directory; a query of several words needs quotation marks"},
		{"search a - DIR DIR", 1, "there is no index in DIR or above it: file does not exist; without -n infer search makes one"},
		{"search a +", 2, "ends with an operator"},
		{"search --index DIR a DIR", 2, "both name images; drop one"},
		{"search --index DIR a", 1, "DIR is not an index: it has no pictures.db: file does not exist; infer index makes one"},
		{"search a DIR --since yesterday", 2, "--since yesterday: must be a day (2024-06-01)"},
		{"search a DIR --min-size big", 2, "--min-size big: must be a number of bytes"},
		{"search a DIR --format xml", 2, "--format must be one of"},
		{"search --duplicates --threshold 2 --index DIR", 1, "is not an index"},
		{"index --out " + file + "/x DIR", 1, "file is a file, not a directory"},
		{"index DIR/a DIR/b", 2, "--out is missing"},
		{"index " + file, 2, "--out is missing"},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))
			if args[0] == "search" {
				args = append(args, "-n")
			}
			code, out, errs := infer(t, "", args...)
			assert.Equal(t, c.code, code, errs)
			assert.Empty(t, out)
			assert.Contains(t, oneLine(t, errs), strings.ReplaceAll(c.says, "DIR", dir))
		})
	}
	assert.Equal(t, []string{"file"}, names(t, dir))
}

// TestSearchDates goes by when an image was taken, by its EXIF data, and by the file's time
// without.
func TestSearchDates(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"offset.jpg", "none.jpg"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), readFile(t, filepath.Join("..", "..", "testdata", "exif", name)), 0o644))
	}
	for _, c := range []struct{ args, want string }{
		{"--since 2019-07-13 --until 2019-07-16", "offset.jpg"},
		{"--since 2024-01-01", "none.jpg"},
		{"--until 2019-07-13", ""},
	} {
		code, out, errs := infer(t, "", append([]string{"search", "-f", "red", dir}, strings.Fields(c.args)...)...)
		require.Equal(t, 0, code, errs)
		if c.want == "" {
			assert.Empty(t, out)
		} else {
			assert.Equal(t, filepath.Join(dir, c.want)+"\n", out)
		}
	}
	code, out, errs := infer(t, "", "search", "--format", "json", "--until", "2019-07-16", "red", dir)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, out, `"date":"2019-07-14T14:20:30Z"`)
}
