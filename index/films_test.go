package index

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
)

// TestFilms indexes frames of a video, which stay while the file is the same, and go with it.
func TestFilms(t *testing.T) {
	if !preprocess.HasFFmpeg() {
		t.Skip("this machine has no ffmpeg (Debian: apt-get install ffmpeg)")
	}
	m, dir := smallModel(t, 1), t.TempDir()
	at, face, film, bad := filepath.Join(dir, DirName), filepath.Join(dir, "face.png"), filepath.Join(dir, "film.mkv"), filepath.Join(dir, "bad.mp4")
	place(t, face, "face.png")
	require.NoError(t, os.WriteFile(bad, []byte("no film"), 0o644))
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=4", film).CombinedOutput()
	require.NoError(t, err, string(out))
	update := func(frames int) (Result, []string) {
		t.Helper()
		var skipped []string
		r, err := Update(ctx, at, m, &UpdateOptions{Frames: frames, Skipped: func(s *Skipped) { skipped = append(skipped, s.Path) }})
		require.NoError(t, err)
		return r, skipped
	}
	r, skipped := update(0)
	assert.Equal(t, []int{1, 0}, []int{r.Added, r.Unreadable})
	assert.Equal(t, []string{bad, film}, skipped)
	r, skipped = update(2)
	assert.Equal(t, []int{2, 1, 1}, []int{r.Added, r.Unreadable, r.Same})
	assert.Empty(t, skipped)
	holding(t, at, m, face, film+"#t=1", film+"#t=3")
	r, _ = update(2)
	assert.Equal(t, []int{0, 0, 3, 0}, []int{r.Added, r.Removed, r.Same, r.New})
	r, skipped = update(0) // what is known stays
	assert.Equal(t, []int{0, 0, 3}, []int{r.Added, r.Removed, r.Same})
	assert.Equal(t, []string{bad}, skipped)
	found := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir())
	r, _ = update(4) // also where nothing reads it now
	assert.Equal(t, []int{0, 0, 3}, []int{r.Added, r.Removed, r.Same})
	t.Setenv("PATH", found)
	r, _ = update(1)
	assert.Equal(t, []int{1, 2, 1}, []int{r.Added, r.Removed, r.Same})
	holding(t, at, m, face, film+"#t=2")
	require.NoError(t, os.Chtimes(film, time.Time{}, time.Unix(1e9, 0)))
	r, _ = update(1)
	assert.Equal(t, []int{0, 1, 0, 1}, []int{r.Added, r.Changed, r.Removed, r.Same})
	require.NoError(t, os.Remove(film))
	r, _ = update(0)
	assert.Equal(t, []int{0, 1, 1}, []int{r.Added, r.Removed, r.Same})
	holding(t, at, m, face)
}
