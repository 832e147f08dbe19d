package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/serve"
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

// Words are taught from images of the index alone, and stored where the server allows it.
func TestServeTeach(t *testing.T) {
	ctx := context.Background()
	m, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	dir := t.TempDir()
	emoji(t, dir, 40)
	code, _, errs := infer(t, "", "index", dir)
	require.Zero(t, code, errs)
	secret := writeFile(t, dir, "secret.txt", []byte("not for clients"))
	ix, err := index.Open(filepath.Join(dir, index.DirName))
	require.NoError(t, err)
	defer ix.Close()
	s := &shelf{Index: ix}
	query, err := m.EncodeTexts(ctx, "a grinning face")
	require.NoError(t, err)
	hits, err := s.Search(ctx, query[0], 10, serve.Filter{})
	require.NoError(t, err)

	lesson := serve.Lesson{Text: "a grinning face", Yes: []string{hits[4].Path}, No: []string{hits[0].Path}, Propose: 3}
	c, err := s.Teach(ctx, m, lesson, serve.Filter{})
	require.NoError(t, err)
	assert.Greater(t, clip.Cosine(c.Row, rowAt(t, ix, hits[4].Path)), clip.Cosine(c.Row, rowAt(t, ix, hits[0].Path)))
	assert.Zero(t, c.Version)
	require.Len(t, c.Proposals, 3)
	for _, p := range c.Proposals {
		assert.NotContains(t, []string{hits[0].Path, hits[4].Path}, p.Path, "what was judged is not asked again")
	}
	for _, path := range []string{secret, filepath.Join(dir, "none.png"), "/etc/passwd"} {
		_, err = s.Teach(ctx, m, serve.Lesson{Yes: []string{path}}, serve.Filter{})
		assert.ErrorIs(t, err, fs.ErrNotExist)
		assert.Contains(t, err.Error(), path)
	}
	lesson.Name = "grin"
	_, err = s.Teach(ctx, m, lesson, serve.Filter{})
	assert.ErrorIs(t, err, fs.ErrPermission)
	s.learns = true
	for version := 1; version <= 2; version++ {
		c, err = s.Teach(ctx, m, lesson, serve.Filter{})
		require.NoError(t, err)
		assert.Equal(t, version, c.Version)
	}
	lesson.Name = "two words"
	_, err = s.Teach(ctx, m, lesson, serve.Filter{})
	assert.ErrorIs(t, err, fs.ErrInvalid)

	require.NoError(t, os.Remove(hits[1].Path))
	require.NoError(t, s.Judge(ctx, m, query[0], hits))
	assert.Greater(t, hits[0].Probability, 0.0)
	assert.Zero(t, hits[1].Probability, "its file is gone")
}

func rowAt(t *testing.T, ix *index.Index, path string) []float32 {
	t.Helper()
	row, err := ix.Query(context.Background(), []index.Term{{Image: path, Weight: 1}}, nil)
	require.NoError(t, err)
	return row
}

// A search or lesson that cannot be is the client's fault, and said so; one image alone is found without a
// probability.
func TestServeLearnedRefusals(t *testing.T) {
	photos, one := photoFolder(t), photoFolder(t)
	require.NoError(t, os.Remove(filepath.Join(one, "racing_car.png")))
	code, _, errs := infer(t, "", "index", one)
	require.Zero(t, code, errs)
	dog := filepath.Join(photos, "dog.png")
	code, _, errs = infer(t, "", "learn", "rex", "--index", filepath.Join(photos, ".goclip"), "--yes", dog)
	require.Zero(t, code, errs)
	s := begin(t, "--index", filepath.Join(photos, ".goclip"), "--index", filepath.Join(one, ".goclip"))
	for _, c := range []struct {
		path, body string
		code       int
		says       string
	}{
		{"/v1/search", `{"text":"rex - rex"}`, 400, "the query's terms cancel each other out"},
		{"/v1/learn", `{"yes":["` + dog + `"],"no":["` + dog + `"]}`, 400, "is in yes and in no"},
		{"/v1/search", `{"text":"a dog","min_probability":0,"index":"` + filepath.Base(one) + `"}`, 200, "dog.png"},
		{"/v1/search", `{"text":"a dog","min_probability":0.1,"index":"` + filepath.Base(one) + `"}`, 400, "at least two images"},
	} {
		code, body := s.ask(t, "POST", c.path, []byte(c.body))
		assert.Equal(t, c.code, code, "%s: %s", c.body, body)
		assert.Contains(t, string(body), c.says)
		assert.NotContains(t, string(body), "invalid argument")
	}
	s.end(t)
	code, _, errs = infer(t, "", "search", "--min-probability", "0", "a dog", one)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "an index needs at least two images to tell probabilities")
}
