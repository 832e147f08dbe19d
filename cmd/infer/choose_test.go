package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cached puts a file where infer pull puts the weights of a published model.
func cached(t *testing.T, cache, model, tag, file string) {
	t.Helper()
	dir := filepath.Join(cache, model, tag)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	writeFile(t, dir, file, []byte("weights"))
}

// TestChoose names the model where no flag does.
func TestChoose(t *testing.T) {
	photo, drawing := testImage("face_420.jpg"), filepath.Join("..", "..", "data", "demo", "dog.png")
	cache := t.TempDir()
	t.Setenv("GOCLIP_CACHE", cache)
	choose := func(f modelFlags, pictures ...string) (string, string) {
		var errs bytes.Buffer
		require.NoError(t, f.choose(t.Context(), &streams{in: &bytes.Buffer{}, err: &errs}, pictures))
		return f.Model, errs.String()
	}
	model, says := choose(modelFlags{}, photo, photo, drawing)
	assert.Equal(t, "emoji-64", model)
	assert.Contains(t, oneLine(t, says), "these are photographs, and the built-in model emoji-64 knows emoji")
	assert.Contains(t, says, "infer pull ViT-B-32:laion2b_s34b_b79k fetches one")
	model, says = choose(modelFlags{}, drawing, drawing, photo)
	assert.Equal(t, []string{"emoji-64", ""}, []string{model, says})

	cached(t, cache, "ViT-B-32", "laion2b_s34b_b79k", "open_clip_model.safetensors")
	model, says = choose(modelFlags{}, drawing)
	assert.Equal(t, "ViT-B-32:laion2b_s34b_b79k", model)
	assert.Contains(t, oneLine(t, says), "the model is ViT-B-32:laion2b_s34b_b79k, the best for photographs on this machine; --model names another")
	cached(t, cache, "ViT-L-14", "openai", "ViT-L-14.pt")
	model, _ = choose(modelFlags{}, photo)
	assert.Equal(t, "ViT-L-14:openai", model)

	t.Setenv(modelVariable, "ViT-B-16:openai")
	model, says = choose(modelFlags{}, photo)
	assert.Equal(t, "ViT-B-16:openai", model)
	assert.Contains(t, oneLine(t, says), "the model is ViT-B-16:openai, by GOCLIP_MODEL")
	model, says = choose(modelFlags{Model: "emoji-64"}, photo)
	assert.Equal(t, []string{"emoji-64", ""}, []string{model, says}, "a flag wins, and needs no word")
	model, _ = choose(modelFlags{Pretrained: "weights.pt"}, photo)
	assert.Empty(t, model)
}

// TestChooseOnATerminal asks with one key.
func TestChooseOnATerminal(t *testing.T) {
	t.Setenv("GOCLIP_CACHE", t.TempDir())
	for key, want := range map[string]string{"y": "ViT-B-32:laion2b_s34b_b79k", "n": "emoji-64", "\r": "emoji-64", "\x03": ""} {
		master, slave := terminal(t)
		type chosen struct {
			model string
			err   error
		}
		done := make(chan chosen)
		go func() {
			var f modelFlags
			err := f.choose(t.Context(), &streams{in: slave, err: slave}, []string{testImage("face_420.jpg")})
			done <- chosen{f.Model, err}
		}()
		var seen []byte
		for !bytes.Contains(seen, []byte("[y/N]")) {
			b := make([]byte, 256)
			n, err := master.Read(b)
			require.NoError(t, err)
			seen = append(seen, b[:n]...)
		}
		assert.Contains(t, string(seen), "Fetch ViT-B-32:laion2b_s34b_b79k (605.2 MB)?")
		_, err := master.WriteString(key)
		require.NoError(t, err)
		got := <-done
		if key == "\x03" {
			assert.Error(t, got.err)
		} else {
			assert.NoError(t, got.err)
			assert.Equal(t, want, got.model, "%q", key)
		}
	}
}

// TestPhotograph tells the emoji, and the plots of the documentation, from a photograph.
func TestPhotograph(t *testing.T) {
	is, ok := photograph(t.Context(), testImage("face_420.jpg"))
	assert.True(t, is && ok)
	for _, exif := range []string{"local.jpg", "local.webp", "local.png"} { // small, with a camera's date
		is, ok := photograph(t.Context(), filepath.Join("..", "..", "testdata", "exif", exif))
		assert.True(t, is && ok, exif)
	}
	drawings, err := filepath.Glob("../../docs/*.png")
	require.NoError(t, err)
	for _, path := range append(drawings, testImage("face.png"), "../../data/demo/dog.png", testImage("grey.gif")) {
		is, ok := photograph(t.Context(), path)
		assert.True(t, ok, path)
		assert.False(t, is, path)
	}
	is, ok = photograph(t.Context(), "gone.png")
	assert.False(t, is || ok)

	f, err := os.Open("../../data/unseen-emoji.tar")
	require.NoError(t, err)
	defer f.Close()
	dir, n := t.TempDir(), 0
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if !slices.Contains([]string{".png", ".webp", ".jpg"}, filepath.Ext(h.Name)) {
			continue
		}
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		is, ok := photograph(t.Context(), writeFile(t, dir, "emoji", data))
		assert.True(t, ok && !is, h.Name)
		n++
	}
	assert.Greater(t, n, 10)
}

// TestForeignScript names scripts of which the model has seen no captions.
func TestForeignScript(t *testing.T) {
	for text, want := range map[string]string{"a cat": "", "고양이": "Hangul", "한 cat": "", "猫": "Chinese characters", "ねこ": "Japanese", "кошка": "Cyrillic",
		"café": "", "🐱": "", "": "", "α particle": "", "γάτα": "Greek", "2024": ""} {
		assert.Equal(t, want, foreignScript(text), text)
	}
	code, _, errs := infer(t, "", "score", "--text", "고양이", "--text", "개", testImage("grey.gif"))
	require.Equal(t, 0, code, errs)
	assert.Contains(t, oneLine(t, errs), `"고양이" is written in Hangul, and emoji-64 was trained on English; infer pull xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k`)
}
