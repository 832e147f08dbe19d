package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
)

// TestFrames gives a video beside an image to the commands that take both.
func TestFrames(t *testing.T) {
	if !preprocess.HasFFmpeg() {
		t.Skip("this machine has no ffmpeg (Debian: apt-get install ffmpeg)")
	}
	tiny, dir, out := tinyModel(t), t.TempDir(), t.TempDir()
	copyImage(t, "face.png", filepath.Join(dir, "face.png"))
	film := filepath.Join(dir, "film.mkv")
	said, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=4", film).CombinedOutput()
	require.NoError(t, err, string(said))
	frames := []string{film + "#t=1", film + "#t=3"}

	code, printed, errs := infer(t, "", "search", "--model", tiny, "--frames", "2", "--format", "json", "a word", dir)
	require.Equal(t, 0, code, errs)
	assert.NotContains(t, errs, "skipped")
	var got struct {
		Results []struct {
			Path, Video string
			Time        *float64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(printed), &got))
	require.Len(t, got.Results, 3)
	times := map[string]float64{}
	for _, r := range got.Results {
		if r.Time != nil {
			assert.Equal(t, film, r.Video)
			times[r.Path] = *r.Time
		}
	}
	assert.Equal(t, map[string]float64{frames[0]: 1, frames[1]: 3}, times)
	code, printed, _ = infer(t, "", "search", "-f", "a word", dir)
	assert.Equal(t, 0, code)
	assert.Equal(t, 1, strings.Count(printed, "film.mkv\n"), "a video once: %s", printed)
	page := filepath.Join(out, "page.html")
	code, printed, errs = infer(t, "", "search", "--html", page, "a word", dir)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, printed, frames[0]+"\n")
	assert.Contains(t, string(readFile(t, page)), "film.mkv#t=3\"", "a link to the second")
	assert.Equal(t, 3, strings.Count(string(readFile(t, page)), `src="data:image`))

	for _, args := range [][]string{{"score", "--text", "a"}, {"classify", "--no-cache", "--label", "a", "--label", "b"}} {
		code, printed, errs = infer(t, "", append([]string{args[0], "--model", tiny, "--frames", "2", "--format", "json"}, append(args[1:], dir)...)...)
		require.Equal(t, 0, code, errs)
		for _, frame := range frames {
			assert.Contains(t, printed, `"path":"`+frame+`"`, args)
		}
	}
	code, _, errs = infer(t, "", "embed", "--model", tiny, "--frames", "2", "--out", out, dir)
	require.Equal(t, 0, code, errs)
	assert.Equal(t, 3, strings.Count(string(readFile(t, filepath.Join(out, "images.jsonl"))), "\n"))
	code, _, errs = infer(t, "", "classify", "--model", tiny, "--frames", "2", "--label", "a", "--sort-into", out, dir)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "a frame is no file")
	code, _, errs = infer(t, "", "score", "--model", tiny, "--frames", "-2", "--text", "a", dir)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--frames -2: must be between 1 and")

	t.Setenv("PATH", out)
	code, _, errs = infer(t, "", "score", "--model", tiny, "--frames", "2", "--text", "a", dir)
	assert.Equal(t, 0, code)
	assert.Contains(t, errs, "--frames: this machine has no ffmpeg")
	assert.Contains(t, errs, "skipped 1 video")
}
