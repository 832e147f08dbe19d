package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
)

// TestPrecision embeds texts of many lengths and an image in each precision: the rows stand in the
// order of the texts, whatever their lengths, and are near those that the library gives one by one.
func TestPrecision(t *testing.T) {
	texts := []string{"dog", strings.Repeat("a long text about a dog and a car ", 3), "racing car", "", "a", "the dog face of the moon"}
	texts[3] = "sun"
	dir, shipped := t.TempDir(), filepath.Join("..", "..", "models", "emoji-64")
	list := writeFile(t, dir, "texts.txt", []byte(strings.Join(texts, "\n")))
	m, err := clip.Open(t.Context(), shipped, nil)
	require.NoError(t, err)
	for precision, least := range map[string]float64{"fp32": 1 - 1e-6, "fp32-strict": 1 - 1e-6, "bf16": 0.999, "int8": 0.995} {
		out := filepath.Join(dir, precision)
		code, _, errs := infer(t, "", "embed", "--model", shipped, "--precision", precision, "--texts", list, "--batch-size", "2",
			"--images", filepath.Join("..", "..", "data", "demo", "dog.png"), "--out", out)
		require.Zero(t, code, errs)
		rows := readNpy(t, filepath.Join(out, "text_features.npy"))
		require.Len(t, rows, len(texts))
		for i, text := range texts {
			want, err := m.EncodeTexts(t.Context(), text)
			require.NoError(t, err)
			assert.Greater(t, clip.Cosine(want[0], rows[i]), least, "%s: %q", precision, text)
		}
		want, err := m.EncodeImages(t.Context(), clip.FromFile(filepath.Join("..", "..", "data", "demo", "dog.png")))
		require.NoError(t, err)
		assert.Greater(t, clip.Cosine(want[0], readNpy(t, filepath.Join(out, "image_features.npy"))[0]), least, precision)
	}
}
