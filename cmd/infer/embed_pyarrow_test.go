package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEmbedPyArrow reads parts with NumPy and pyarrow, where they are.
func TestEmbedPyArrow(t *testing.T) {
	python := filepath.Join("..", "..", "build", "venv", "bin", "python")
	if exec.Command(python, "-c", "import numpy, pyarrow").Run() != nil {
		t.Skip("build/venv has no Python with pyarrow")
	}
	tiny, dir := tinyModel(t), t.TempDir()
	byCaption := emoji(t, dir, 5)
	table := "title,filepath\n"
	for caption, name := range byCaption {
		table += fmt.Sprintf("%q,%s\n", caption, name)
	}
	writeFile(t, dir, "table.csv", []byte(table))
	out := filepath.Join(dir, "out")
	code, _, errs := infer(t, "", "embed", "--model", tiny, "--out", out, "--data", filepath.Join(dir, "table.csv"), "--csv-separator", ",", "--captions", "--part-size", "2")
	require.Zero(t, code, errs)
	text, err := exec.Command(python, filepath.Join("..", "..", "testdata", "embed", "read_parts.py"), out).Output()
	require.NoError(t, err)
	type array struct {
		DType string      `json:"dtype"`
		Rows  [][]float32 `json:"rows"`
	}
	var got struct {
		Types    map[string]string `json:"types"`
		Metadata []struct {
			Row           int
			Path          string `json:"image_path"`
			Caption       string
			Width, Height int
		} `json:"metadata"`
		Images array `json:"img_emb"`
		Texts  array `json:"text_emb"`
	}
	require.NoError(t, json.Unmarshal(text, &got))
	assert.Equal(t, map[string]string{"row": "int64", "image_path": "string", "caption": "string", "width": "int32", "height": "int32"}, got.Types)
	assert.Equal(t, []string{"float32", "float32"}, []string{got.Images.DType, got.Texts.DType})
	var paths, captions []string
	for i, row := range got.Metadata {
		assert.Equal(t, i%2, row.Row)
		assert.Equal(t, byCaption[row.Caption], row.Path)
		assert.Equal(t, []int{64, 64}, []int{row.Width, row.Height})
		paths, captions = append(paths, filepath.Join(dir, row.Path)), append(captions, row.Caption)
	}
	_, images, words := features(t, tiny, paths, captions)
	near(t, images, got.Images.Rows)
	near(t, words, got.Texts.Rows)
}
