package data_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// tree writes files under a new directory; a name that ends in / is a folder.
func tree(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if name[len(name)-1] == '/' {
			require.NoError(t, os.MkdirAll(path, 0o755))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, content, 0o644))
	}
	return dir
}

func greyPNG(t testing.TB, value uint8) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 4, 4))
	for i := range img.Pix {
		img.Pix[i] = value
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	return b.Bytes()
}

func TestOpenFolders(t *testing.T) {
	elsewhere := tree(t, map[string][]byte{"z.png": {9}, "deep/er/a.webp": {8}})
	dir := tree(t, map[string][]byte{
		"tiger cat/b.JPEG": {1}, "tiger cat/a.jpg": {2}, "tiger cat/notes.txt": {3}, "tiger cat/._a.jpg": {4}, "tiger cat/noext": {5},
		"Ant/1/x.png": {6}, "Ant/.thumbnails/x.png": {7}, ".ipynb_checkpoints/": nil, "readme.md": {0},
	})
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, "linked")))
	f, err := data.OpenFolders(t.Context(), dir)
	require.NoError(t, err)
	assert.Equal(t, []string{"Ant", "linked", "tiger cat"}, f.Classes())
	type sample struct {
		key   string
		class int
		first byte
	}
	var got []sample
	for i := range f.Len() {
		b, err := fileOf(t, f, i)
		require.NoError(t, err)
		key, err := filepath.Rel(dir, f.Key(i))
		require.NoError(t, err)
		got = append(got, sample{key, f.Class(i), b[0]})
		assert.Equal(t, []string{f.Classes()[f.Class(i)]}, f.Captions(i))
	}
	assert.Equal(t, []sample{{"Ant/1/x.png", 0, 6}, {"linked/deep/er/a.webp", 1, 8}, {"linked/z.png", 1, 9}, {"tiger cat/a.jpg", 2, 2}, {"tiger cat/b.JPEG", 2, 1}}, got)
}

func TestOpenFoldersRefusals(t *testing.T) {
	for want, dir := range map[string]string{
		"holds no folder; each class must be a folder of images":    tree(t, map[string][]byte{"a.png": {1}}),
		"holds one folder, dog: there must be at least two classes": tree(t, map[string][]byte{"dog/a.png": {1}}),
		"cat holds no image: .jpg, .png, .webp, .gif, .bmp and ":    tree(t, map[string][]byte{"dog/a.png": {1}, "cat/a.txt": {1}}),
		"no such file or directory":                                 filepath.Join(t.TempDir(), "none"),
		"not a directory":                                           filepath.Join(tree(t, map[string][]byte{"a.png": {1}}), "a.png"),
	} {
		_, err := data.OpenFolders(t.Context(), dir)
		assert.ErrorContains(t, err, want)
	}
}

// TestSkipBad leaves unreadable images out of their batches, down to an empty one, and lists each
// once.
func TestSkipBad(t *testing.T) {
	files := map[string][]byte{}
	for i := range 11 {
		files[fmt.Sprintf("%c/%02d.png", 'a'+i%2, i)] = greyPNG(t, uint8(10*i))
	}
	for _, bad := range []string{"a/04.png", "a/06.png", "a/08.png", "b/01.png"} {
		files[bad] = files[bad][:20]
	}
	set, err := data.OpenFolders(t.Context(), tree(t, files)) // a: 00 02 04 06 08 10, b: 01 03 05 07 09
	require.NoError(t, err)
	loader, err := data.NewLoader(set, &data.LoaderOptions{BatchSize: 3, Workers: 2, SkipBad: true, Pixels: 1,
		Transform: func(dst []float32, img *preprocess.Image, _ *rand.Rand) error {
			dst[0] = float32(img.Pix[0])
			return nil
		}})
	require.NoError(t, err)
	for range 2 {
		var samples [][]int
		var pixels [][]float32
		for b, err := range loader.Epoch(context.Background(), 0, 0) {
			require.NoError(t, err)
			assert.Equal(t, b.N, len(b.Samples))
			assert.Empty(t, b.Tokens)
			samples = append(samples, append([]int{}, b.Samples...))
			pixels = append(pixels, append([]float32{}, b.Pixels...))
		}
		assert.Equal(t, [][]int{{0, 1}, {5}, {7, 8}, {9, 10}}, samples)
		assert.Equal(t, [][]float32{{0, 20}, {100}, {30, 50}, {70, 90}}, pixels)
	}
	assert.Len(t, loader.Bad(), 4)

	loader, err = data.NewLoader(set, &data.LoaderOptions{BatchSize: 3, Workers: 2, SkipBad: true, Pixels: 1,
		Transform: func([]float32, *preprocess.Image, *rand.Rand) error { return assert.AnError }})
	require.NoError(t, err)
	for b, err := range loader.Epoch(context.Background(), 0, 0) {
		if err != nil {
			assert.ErrorContains(t, err, "more than 10 samples cannot be read")
			break
		}
		assert.Zero(t, b.N)
		assert.Empty(t, b.Pixels)
	}
	assert.Len(t, loader.Bad(), 11)
}
