package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/index"
)

func TestServeLearned(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	for _, name := range []string{"dog.png", "racing_car.png"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "data", "demo", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	at := filepath.Join(dir, index.DirName)
	code, _, errs := infer(t, "", "index", dir)
	require.Zero(t, code, errs)
	code, _, errs = infer(t, "", "learn", "rex", "--index", at, "--yes", filepath.Join(dir, "dog.png"))
	require.Zero(t, code, errs)
	ix, err := index.Open(at)
	require.NoError(t, err)
	defer ix.Close()
	s := &shelf{Index: ix}
	var asked []string
	encode := func(texts ...string) ([][]float32, error) {
		asked = append(asked, texts...)
		row := make([]float32, 128)
		row[0] = 1
		return [][]float32{row}, nil
	}
	rex, err := ix.Concept(ctx, "rex")
	require.NoError(t, err)
	row, err := s.Learned(ctx, "rex", encode)
	require.NoError(t, err)
	assert.InDeltaSlice(t, rex.Row, row, 1e-6)
	assert.Empty(t, asked)

	row, err = s.Learned(ctx, "2:rex + beach - /etc/passwd", encode)
	require.NoError(t, err)
	assert.Len(t, row, 128)
	assert.Equal(t, []string{"beach", "/etc/passwd"}, asked, "a path is a text")

	for _, plain := range []string{"a dog", "beach + sun", "rex and a dog", "", "+"} {
		row, err = s.Learned(ctx, plain, encode)
		require.NoError(t, err)
		assert.Nil(t, row, plain)
	}
	_, err = s.Learned(ctx, "rex + beach", func(...string) ([][]float32, error) { return nil, errors.New("the model is gone") })
	assert.EqualError(t, err, "the model is gone")
}
