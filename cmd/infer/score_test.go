package main

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/models"
)

// features are what clip itself gives for images and texts, one at a time.
func features(t *testing.T, model string, pictures, texts []string) (m *clip.Model, images, words [][]float32) {
	t.Helper()
	m, err := clip.Open(t.Context(), model, nil)
	require.NoError(t, err)
	transform, err := m.Transform()
	require.NoError(t, err)
	for _, path := range pictures {
		pixels := make([]float32, transform.Len())
		require.NoError(t, transform.File(t.Context(), pixels, path))
		row, err := m.ImageFeatures(pixels, 1)
		require.NoError(t, err)
		images = append(images, row)
	}
	for _, text := range texts {
		row, err := m.EncodeTexts(t.Context(), text)
		require.NoError(t, err)
		words = append(words, row...)
	}
	return m, images, words
}

// TestScore checks the three formats against clip itself, with an image in the middle that cannot
// be read.
func TestScore(t *testing.T) {
	tiny := tinyModel(t)
	gone := filepath.Join(t.TempDir(), "gone.png")
	pictures := []string{testImage("face.png"), gone, testImage("cat_lossy.webp"), testImage("rgb_129x200.png")}
	texts := []string{"a cute dog", `comma, "quote" & <tag>`, "ein schönes Bild 🐶"}
	m, images, words := features(t, tiny, []string{pictures[0], pictures[2], pictures[3]}, texts)
	scale, err := m.Scale()
	require.NoError(t, err)
	var cosine, prob [][]float64
	for _, image := range images {
		var c, p []float64
		sum := 0.0
		for _, word := range words {
			dot := 0.0
			for i := range word {
				dot += float64(image[i]) * float64(word[i])
			}
			c, p = append(c, dot), append(p, math.Exp(scale*dot))
			sum += p[len(p)-1]
		}
		for i := range p {
			p[i] /= sum
		}
		cosine, prob = append(cosine, c), append(prob, p)
	}

	args := []string{"score", "--model", tiny, "--batch-size", "3"}
	for _, path := range pictures[:3] {
		args = append(args, "--image", path)
	}
	args = append(args, pictures[3], "--text", texts[0], "--texts", "-")
	stdin := texts[1] + "\r\n\n" + texts[2]

	code, out, errs := infer(t, stdin, append(args, "--format", "json")...)
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, strings.TrimPrefix(errs, "infer: --texts -: left out as blank: line 2\n")), gone+": no such file")
	var got scores
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Equal(t, tiny, got.Model)
	assert.InDelta(t, scale, got.LogitScale, 1e-9)
	assert.Equal(t, texts, got.Texts)
	require.Len(t, got.Images, 4)
	readable := []imageScore{got.Images[0], got.Images[2], got.Images[3]}
	for i, image := range readable {
		assert.InDeltaSlice(t, cosine[i], image.Cosine, 1e-5)
		assert.InDeltaSlice(t, prob[i], image.Prob, 1e-4)
		assert.Empty(t, image.Error)
	}
	var loose struct{ Images []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(out), &loose))
	assert.Len(t, loose.Images[1], 2, "a path and an error, nothing else")
	assert.Equal(t, gone, loose.Images[1]["path"])
	assert.Contains(t, loose.Images[1]["error"], "no such file")

	code, out, _ = infer(t, stdin, append(args, "--format", "csv")...)
	assert.Equal(t, 1, code)
	table, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(t, err)
	require.Len(t, table, 1+3*3+1)
	assert.Equal(t, []string{"path", "text", "cosine", "prob", "error"}, table[0])
	assert.Equal(t, []string{gone, "", "", ""}, table[4][:4])
	for i, line := range append(append([][]string(nil), table[1:4]...), table[5:]...) {
		assert.Equal(t, texts[i%3], line[1])
		p, err := strconv.ParseFloat(line[3], 64)
		require.NoError(t, err)
		assert.InDelta(t, prob[i/3][i%3], p, 1e-4)
	}

	code, out, _ = infer(t, stdin, append(args, "--format", "table")...)
	assert.Equal(t, 1, code)
	rows := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, rows, 5)
	assert.Contains(t, rows[2], "could not be read")
	fields := strings.Fields(rows[4])
	assert.Equal(t, pictures[3], fields[0])
	assert.Equal(t, strconv.FormatFloat(readable[2].Prob[0], 'f', 3, 64), fields[1])
}

// bomb is a PNG's header that claims a size and holds no pixel.
func bomb(w, h uint32) []byte {
	chunk := binary.BigEndian.AppendUint32([]byte("IHDR"), w)
	chunk = append(binary.BigEndian.AppendUint32(chunk, h), 8, 2, 0, 0, 0)
	out := append(binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n"), 13), chunk...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(chunk))
}

// TestImages scores images of every kind in one command: each bad one has its line, the others
// their scores.
func TestImages(t *testing.T) {
	dir := t.TempDir()
	face := readFile(t, testImage("face.png"))
	photo := readFile(t, testImage("face_420.jpg"))
	good := []string{"rgb_1x1.png", "cup_cmyk.jpg", "grey16.png", "rgb16.png", "palette.png", "animated.gif", "animated.webp",
		"png_named.jpg", "rgb_1x500.png", "bit.tif", "rgba.bmp", "grey_alpha.png"}
	heic := "HEIC is not read"
	if preprocess.HasHEIF() {
		heic = "the HEIC or AVIF data cannot be read"
	}
	bad := []struct{ path, says string }{
		{writeFile(t, dir, "cut.png", face[:len(face)/2]), "truncated"},
		{writeFile(t, dir, "cut.jpg", photo[:len(photo)/2]), "truncated"},
		{writeFile(t, dir, "empty.png", nil), "the file is empty"},
		{writeFile(t, dir, "wide.png", bomb(20000, 20000)), "20000x20000 pixels is more than the limit"},
		{writeFile(t, dir, "long.png", bomb(1<<31-1, 1)), "long.png"},
		{writeFile(t, dir, "none.png", bomb(0, 5)), "0x5 pixels"},
		{writeFile(t, dir, "words.jpg", []byte(strings.Repeat("not an image at all\n", 5))), "the file is text"},
		{writeFile(t, dir, "phone.heic", []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")), heic},
		{filepath.Join(dir, "gone.png"), "no such file"},
		{filepath.Join(dir, "a\nb.png"), "no such file"},
	}
	args := []string{"score", "--model", tinyModel(t), "--text", "a", "--text", "b", "--batch-size", "4", "--format", "json"}
	var paths []string
	for i := range max(len(good), len(bad)) {
		if i < len(good) {
			paths = append(paths, testImage(good[i]))
		}
		if i < len(bad) {
			paths = append(paths, bad[i].path)
		}
	}
	code, out, errs := infer(t, "", append(args, paths...)...)
	assert.Equal(t, 1, code)
	told := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
	require.Len(t, told, len(bad), errs)
	for i, b := range bad {
		assert.Contains(t, told[i], b.says)
		assert.Contains(t, told[i], strings.ReplaceAll(b.path, "\n", "; "))
	}
	var got scores
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Len(t, got.Images, len(paths))
	failed := 0
	for i, image := range got.Images {
		assert.EqualValues(t, paths[i], image.Path)
		if image.Error == "" {
			assert.InDelta(t, 1, image.Prob[0]+image.Prob[1], 1e-9)
		} else {
			failed++
		}
	}
	assert.Equal(t, len(bad), failed)

	code, _, errs = infer(t, "", append(args, testImage(good[0]))...)
	assert.Equal(t, 0, code)
	assert.Empty(t, errs)
}

func TestLongText(t *testing.T) {
	long := strings.Repeat("word ", 40)
	code, out, errs := infer(t, "", "score", "--model", tinyModel(t), "--image", testImage("face.png"), "--text", long, "--text", "", "--text=-20 %", "--format", "json")
	assert.Equal(t, 0, code)
	assert.Contains(t, oneLine(t, errs), "is longer than the model's 16 tokens: its end is cut off")
	var got scores
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Equal(t, []string{long, "", "-20 %"}, got.Texts)
}

func TestTokenize(t *testing.T) {
	tiny := tinyModel(t)
	m, err := clip.Open(t.Context(), tiny, nil)
	require.NoError(t, err)
	lines := []string{"a dog", "", "ein Bär 🐻", strings.Repeat("word ", 40), "\xff\xfe"}
	code, out, errs := infer(t, strings.Join(lines, "\n"), "tokenize", "--model", tiny)
	assert.Equal(t, 0, code)
	assert.Contains(t, oneLine(t, errs), "16 tokens")
	rows := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, rows, len(lines))
	for i, line := range lines {
		var ids []int64
		require.NoError(t, json.Unmarshal([]byte(rows[i]), &ids))
		tokens, err := m.Tokenizer(t.Context())
		require.NoError(t, err)
		want, _ := tokens.Tokenize(line, 16)
		assert.Equal(t, want, ids)
	}
	require.NoError(t, os.Remove(filepath.Join(tiny, clip.WeightsFile)))
	code, again, errs := infer(t, strings.Join(lines, "\n"), "tokenize", "--model", tiny)
	assert.Equal(t, 0, code, errs)
	assert.Equal(t, out, again, "ids need no weights")
	code, _, errs = infer(t, "a dog\n"+string(bytes.Repeat([]byte("x"), 2<<20)), "tokenize", "--model", tiny)
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "stdin: a line is longer than")

	shipped, err := clip.OpenFS(t.Context(), models.FS(), models.Default, nil)
	require.NoError(t, err)
	tokens, err := shipped.Tokenizer(t.Context())
	require.NoError(t, err)
	code, out, errs = infer(t, "a dog", "tokenize")
	assert.Equal(t, 0, code, errs)
	var ids []int64
	require.NoError(t, json.Unmarshal([]byte(out), &ids))
	want, _ := tokens.Tokenize("a dog", shipped.ContextLength())
	assert.Equal(t, want, ids)
}
