package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// copyImage puts a test image at a path.
func copyImage(t *testing.T, name, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	require.NoError(t, os.WriteFile(to, readFile(t, testImage(name)), 0o644))
}

// messy is a folder as people have it: two images, and all that is none.
func messy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "messy")
	copyImage(t, "face.png", filepath.Join(dir, "face.png"))
	copyImage(t, "grey.gif", filepath.Join(dir, "sub", "grey.gif"))
	for _, name := range []string{"film.mp4", "clip.MOV", "raw.CR3", "layers.psd", "notes.txt"} {
		writeFile(t, dir, name, []byte("no image"))
	}
	require.NoError(t, os.Symlink("/nowhere", filepath.Join(dir, "old.png")))
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "sub", "up")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe.png"), 0o644))
	return dir
}

// TestSkipped walks it with every command: what is left out is counted once, by kind, and a broken
// image besides.
func TestSkipped(t *testing.T) {
	tiny := tinyModel(t)
	const counts = "skipped 1 Photoshop, 1 RAW, 1 broken link, 1 special file, 2 videos, 1 other file"
	kinds := map[string]any{"Photoshop": 1.0, "RAW": 1.0, "broken link": 1.0, "special file": 1.0, "video": 2.0, "other": 1.0}
	for _, args := range [][]string{
		{"score", "--format", "json", "--text", "a"}, {"classify", "--format", "json", "--no-cache", "--label", "a", "--label", "b"},
		{"embed", "--out", "OUT"}, {"embed", "--out", "OUT", "--part-size", "1"}, {"index"}, {"search", "--format", "json", "a word"},
	} {
		for _, broken := range []bool{false, true} {
			dir, out := messy(t), t.TempDir()
			want, status := counts, 0
			if broken {
				writeFile(t, dir, "broken.jpg", []byte("\xff\xd8\xff"))
				want, status = want+", 1 unreadable", 1
			}
			line := slices.Clone(args)
			if at := slices.Index(line, "OUT"); at > 0 {
				line[at] = out
			}
			code, printed, errs := infer(t, "", append([]string{line[0], "--model", tiny}, append(line[1:], dir)...)...)
			assert.Equal(t, status, code, "%v: %s", args, errs)
			if slices.Contains(args, "--part-size") && broken {
				want = counts // its own line tells of those
			}
			assert.Contains(t, errs, want+"; --verbose lists them", args)
			assert.Equal(t, 1, strings.Count(errs, "skipped"), errs)
			if slices.Contains(args, "json") {
				var got map[string]any
				require.NoError(t, json.Unmarshal([]byte(printed), &got))
				assert.Equal(t, kinds, got["skipped"], args)
			}
			code, _, errs = infer(t, "", append([]string{line[0], "--model", tiny, "--verbose"}, append(line[1:], dir)...)...)
			assert.Contains(t, errs, "infer: skipped "+filepath.Join(dir, "film.mp4")+": video\n", args)
			if args[0] != "search" && args[0] != "index" { // which remember what is broken
				assert.Equal(t, status, code, args)
			}
		}
	}
}

// TestNothingReadable is the same error of the same status everywhere.
func TestNothingReadable(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	writeFile(t, dir, "film.mp4", nil)
	for _, args := range [][]string{{"score", "--text", "a"}, {"classify", "--label", "a"}, {"embed", "--out", filepath.Join(dir, ".out")}, {"index"}, {"search", "a word"}} {
		code, out, errs := infer(t, "", append([]string{args[0], "--model", tiny}, append(args[1:], dir)...)...)
		assert.Equal(t, 1, code, args)
		assert.Contains(t, errs, "holds no image that can be read: skipped 1 video", args)
		if args[0] != "search" {
			assert.Empty(t, out, args)
		}
	}
	code, _, errs := infer(t, "", "index", "--model", tiny, dir, filepath.Join(dir, "gone"), "--out", filepath.Join(dir, ".i"))
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "no such file")
}

// TestFileNames has names that break lines, terminals and UTF-8.
func TestFileNames(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	names := []string{"caf\xe9.png", "two\nlines.png", "\x1b[31mred.png", `"quoted".png`, "고양이.png"}
	for _, name := range names {
		copyImage(t, "face.png", filepath.Join(dir, name))
	}
	at := func(name string) string { return filepath.Join(dir, name) }

	code, out, errs := infer(t, "", "score", "--model", tiny, "--text", "a", "--text", "b", "--format", "json", at(names[0]), at(names[1]))
	require.Equal(t, 0, code, errs)
	assert.Contains(t, out, `/caf\udce9.png"`, "as os.fsdecode and json.dumps have it")
	assert.Contains(t, out, `/two\u000alines.png"`)
	assert.True(t, json.Valid([]byte(out)))

	code, out, _ = infer(t, "", "score", "--model", tiny, "--text", "a", "--text", "b", dir)
	require.Equal(t, 0, code)
	assert.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 6, "a line each, and the header")
	for _, want := range []string{`/caf\xe9.png"`, `/two\nlines.png"`, `/\x1b[31mred.png"`, "/고양이.png "} {
		assert.Contains(t, out, want)
	}
	assert.NotContains(t, out, "\x1b")

	code, _, errs = infer(t, "", "score", "--model", tiny, "--text", "a", at("gone\x1b\xff.png"))
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, `gone\x1b\xff.png: no such file`)

	code, out, errs = infer(t, "", "search", "--model", tiny, "-f", "-0", "a", dir)
	require.Equal(t, 0, code, errs)
	var found []string
	for path := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		found = append(found, strings.TrimPrefix(path, dir+"/"))
	}
	assert.ElementsMatch(t, names, found)

	code, _, errs = infer(t, strings.Join([]string{at(names[0]), at(names[1])}, "\x00"), "embed", "--model", tiny, "--image-list", "-", "-0", "--out", at("out"))
	require.Equal(t, 0, code, errs)
	assert.Contains(t, string(readFile(t, at("out/images.jsonl"))), `lines.png"`)
	folders := t.TempDir()
	for _, class := range []string{"cat", "\x1b[31mdog"} { // as an archive from elsewhere may have them
		copyImage(t, "face.png", filepath.Join(folders, class, "face.png"))
	}
	code, out, errs = infer(t, "", "classify", "--model", tiny, "--template", "{}", "--labels-from-dirs", folders)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, out, `"\x1b[31mdog"`)
	assert.NotContains(t, out, "\x1b")
	code, out, errs = infer(t, "a\ttab\nred\x1b[31m\n", "score", "--model", tiny, "--texts", "-", at(names[4]))
	require.Equal(t, 0, code, errs)
	assert.Contains(t, out, `"a\ttab"  "red\x1b[31m"`)
	code, _, errs = infer(t, "", "search", "--model", tiny, "-0", "a", dir)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--null goes with --filepath-only")
}

// TestQueries gives a query what people give.
func TestQueries(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	copyImage(t, "face.png", filepath.Join(dir, "beach", "face.png"))
	copyImage(t, "grey.gif", filepath.Join(dir, "grey.gif"))
	t.Chdir(dir)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{""}, 2, "a term of the query is empty"},
		{[]string{"", "beach"}, 2, "a term of the query is empty"},
		{[]string{"  "}, 2, "a term of the query is empty"},
		{[]string{"beach"}, 2, `beach is a directory: give the words before it, as in infer search "a dog" beach; --text beach searches for the word`},
		{[]string{"beach", "."}, 0, ""},
		{[]string{"--text", "beach"}, 0, ""},
		{[]string{"a dog", "--since", "2024"}, 0, ""},
		{[]string{"a dog", "--since", "2024-05", "--until", "2031"}, 0, ""},
		{[]string{"a dog", "--since", "24"}, 2, "--since 24: must be a day (2024-06-01), a month (2024-06), a year (2024)"},
		{[]string{"a dog", "--since", "2024-13"}, 2, "--since 2024-13"},
	} {
		code, _, errs := infer(t, "", append([]string{"search", "--model", tiny}, c.args...)...)
		assert.Equal(t, c.code, code, "%q: %s", c.args, errs)
		assert.Contains(t, errs, c.says, "%q", c.args)
	}
	code, out, errs := infer(t, "", "search", "--model", tiny, "--format", "json", "-t", "1", "grey.gif")
	require.Equal(t, 0, code, errs)
	assert.Contains(t, out, `"image":"grey.gif"`, "an image's name is that image, not words")
	assert.Contains(t, out, `"score":1`)
}

// TestLabelsFiles reads labels as other systems write them.
func TestLabelsFiles(t *testing.T) {
	tiny, dir, face := tinyModel(t), t.TempDir(), testImage("face.png")
	utf16 := []byte{0xff, 0xfe}
	for _, c := range "dog\r\ncat\r\n" {
		utf16 = append(utf16, byte(c), 0)
	}
	for name, content := range map[string][]byte{"mark": []byte("\ufeffdog\ncat\n"), "utf-16": utf16, "mac": []byte("dog\rcat\r"), "blank": []byte("dog\n\n \ncat\n\n\n")} {
		code, out, errs := infer(t, "", "classify", "--model", tiny, "--no-cache", "--format", "json", "--labels", writeFile(t, dir, name, content), face)
		require.Equal(t, 0, code, errs)
		assert.Contains(t, out, `"labels":["dog","cat"]`, name)
		assert.Equal(t, name == "blank", strings.Contains(errs, "left out as blank: line 2, 3"), errs)
	}
	code, _, errs := infer(t, "", "classify", "--model", tiny, "--labels", writeFile(t, dir, "cp1252", []byte("dog\ncaf\xe9\n")), face)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "cp1252: line 2: the byte 0xe9 is not UTF-8; save it as UTF-8")
}

// TestOneLabel prints the cosine in place of a probability of 1.
func TestOneLabel(t *testing.T) {
	tiny, face := tinyModel(t), testImage("face.png")
	_, out, _ := infer(t, "", "score", "--model", tiny, "--text", "a", "--format", "csv", face)
	cosine, err := strconv.ParseFloat(strings.Split(strings.Split(out, "\n")[1], ",")[2], 64)
	require.NoError(t, err)
	want := strconv.FormatFloat(cosine, 'f', 3, 64)
	code, out, errs := infer(t, "", "score", "--model", tiny, "--text", "a", face)
	assert.Equal(t, 0, code)
	assert.Contains(t, out, "face.png  "+want)
	assert.Contains(t, oneLine(t, errs), "one text alone gives a cosine; a probability needs two")
	code, out, errs = infer(t, "", "classify", "--model", tiny, "--no-cache", "--template", "{}", "--label", "a", face)
	assert.Equal(t, 0, code)
	assert.Contains(t, out, "a "+want)
	assert.Contains(t, oneLine(t, errs), "one label alone gives a cosine; a probability needs two")
}

// TestBlankLines keeps a row for every line of --texts.
func TestBlankLines(t *testing.T) {
	tiny, out := tinyModel(t), t.TempDir()
	code, _, errs := infer(t, "a\n\nb\n\n", "embed", "--model", tiny, "--texts", "-", "--out", out)
	require.Equal(t, 0, code, errs)
	assert.Equal(t, `{"row":0,"text":"a"}`+"\n"+`{"row":1,"text":""}`+"\n"+`{"row":2,"text":"b"}`+"\n"+`{"row":3,"text":""}`+"\n", string(readFile(t, filepath.Join(out, "texts.jsonl"))))
	assert.Len(t, readFile(t, filepath.Join(out, "text_features.npy")), 128+4*4*16)
}

// TestNotFinite spoils one weight of a model: every command fails with its name and writes nothing.
func TestNotFinite(t *testing.T) {
	c, err := tower.ParseConfig([]byte(tinyConfig))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	for key, p := range m.Parameters() {
		if key == "visual.proj" || key == "text_projection" {
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) { s.Alias(p).Fill(math.NaN()) }))
		}
	}
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	require.NoError(t, m.Save(bad))
	copyImage(t, "face.png", filepath.Join(dir, "photos", "face.png"))
	photos, out := filepath.Join(dir, "photos"), filepath.Join(dir, "out")
	for _, args := range [][]string{
		{"score", "--model", bad, "--text", "a", photos}, {"classify", "--model", bad, "--no-cache", "--label", "a", "--label", "b", photos},
		{"embed", "--model", bad, "--out", out, photos}, {"embed", "--model", bad, "--out", out, "--texts", "TEXTS"}, {"index", "--model", bad, "--out", filepath.Join(dir, "index"), photos},
		{"search", "--model", bad, "a", photos}, {"convert", bad, filepath.Join(dir, "converted")}, {"interpolate", bad, bad, filepath.Join(dir, "between")},
	} {
		if at := slices.Index(args, "TEXTS"); at > 0 {
			args[at] = writeFile(t, dir, "texts", []byte("a\n"))
		}
		code, printed, errs := infer(t, "", args...)
		assert.Equal(t, 1, code, args)
		assert.Empty(t, printed, args)
		assert.Regexp(t, "the tensor (visual.proj|text_projection) holds NaN or infinite numbers", errs, args)
	}
	for _, path := range []string{"out/image_features.npy", "out/text_features.npy", "converted", "between"} {
		assert.NoFileExists(t, filepath.Join(dir, path))
		assert.NoDirExists(t, filepath.Join(dir, path))
	}
	for _, args := range [][]string{{"--index", filepath.Join(dir, "index")}, {"--index", filepath.Join(photos, ".goclip")}} {
		code, printed, _ := infer(t, "", append([]string{"index", "--verify", "--out"}, args[1])...)
		if code == 0 {
			assert.Contains(t, printed, " 0 images")
		}
	}
}
