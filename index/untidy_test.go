package index

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestUnreadableForNow takes a file away before it is read, and puts it back as it was: only what is
// no image is remembered as one.
func TestUnreadableForNow(t *testing.T) {
	m, dir := smallModel(t, 1), t.TempDir()
	at, face, bad := filepath.Join(dir, DirName), filepath.Join(dir, "face.png"), filepath.Join(dir, "bad.png")
	place(t, face, "face.png")
	require.NoError(t, os.WriteFile(bad, []byte("no image"), 0o644))
	away := filepath.Join(t.TempDir(), "face.png")
	r, err := Update(ctx, at, m, &UpdateOptions{Found: func(int) { require.NoError(t, os.Rename(face, away)) }})
	require.NoError(t, err)
	assert.Equal(t, []int{0, 2}, []int{r.Added, r.Unreadable})
	require.NoError(t, os.Rename(away, face))
	r, err = Update(ctx, at, m, nil)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 0, 1}, []int{r.Added, r.Unreadable, r.New})
	holding(t, at, m, face)
}

// TestUpright indexes an image that says it lies on its side. An index stays as it was made.
func TestUpright(t *testing.T) {
	m, dir := smallModel(t, 1), t.TempDir()
	jpeg, err := os.ReadFile(filepath.Join("..", "testdata", "preprocess", "pictures", "face_420.jpg"))
	require.NoError(t, err)
	exif := "Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
	lying := filepath.Join(dir, "lying.jpg")
	require.NoError(t, os.WriteFile(lying, slices.Concat(jpeg[:2], []byte{0xff, 0xe1, 0, byte(len(exif) + 2)}, []byte(exif), jpeg[2:]), 0o644))
	at, other := filepath.Join(dir, DirName), filepath.Join(t.TempDir(), "index")
	_, err = Update(ctx, other, m, &UpdateOptions{Paths: []string{dir}, NoOrient: true})
	require.NoError(t, err)
	holding(t, other, m, lying)
	_, err = Update(ctx, at, m, nil)
	require.NoError(t, err)
	row := func(at string) []float32 {
		f, err := Stat(lying)
		require.NoError(t, err)
		row, ok, err := opened(t, at).Vector(ctx, f)
		require.NoError(t, err)
		require.True(t, ok)
		return row
	}
	assert.NotEqual(t, row(other), row(at))

	_, err = Update(ctx, at, nil, &UpdateOptions{NoOrient: true})
	assert.ErrorContains(t, err, "NoOrient is for a new index, or with Rebuild")
	require.NoError(t, os.Chtimes(lying, time.Unix(5, 0), time.Unix(5, 0)))
	_, err = Update(ctx, other, m, &UpdateOptions{Paths: []string{dir}})
	require.NoError(t, err)
	holding(t, other, m, lying)
	_, err = Update(ctx, at, m, &UpdateOptions{NoOrient: true, Rebuild: true})
	require.NoError(t, err)
	assert.Equal(t, row(other), row(at))
}
