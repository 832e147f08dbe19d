package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
)

// noEncoder is for examples that the index holds.
func noEncoder(context.Context) (clip.Encoder, error) {
	return clip.Encoder{}, errors.New("the model was asked for")
}

// realFile is a file on the disk with a time of its own.
func realFile(t *testing.T, dir string, n int) File {
	t.Helper()
	path := filepath.Join(dir, fmt.Sprintf("%d.png", n))
	require.NoError(t, os.WriteFile(path, make([]byte, 100+n), 0o644))
	f, err := Stat(path)
	require.NoError(t, err)
	return f
}

// taught is an index of files, since examples are found by their size and time.
func taught(t *testing.T, n int) (ix *Index, dir string, files []File) {
	t.Helper()
	dir = t.TempDir()
	w, err := OpenWriter(filepath.Join(dir, DirName), model)
	require.NoError(t, err)
	for i := range n {
		f := realFile(t, dir, i)
		files = append(files, f)
		require.NoError(t, w.Add(f, vector(i)))
	}
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	return opened(t, filepath.Join(dir, DirName)), dir, files
}

func TestLearn(t *testing.T) {
	ix, dir, files := taught(t, 40)
	c, err := ix.Learn(ctx, Lesson{Name: "rex", Yes: []string{files[3].Path}, No: []string{files[5].Path}}, noEncoder)
	require.NoError(t, err)
	assert.Equal(t, 1, c.Version)
	assert.Equal(t, []string{"3.png", "5.png"}, []string{c.Examples[0].Path, c.Examples[1].Path})

	terms, err := ix.Resolve(ctx, []Term{{Text: "rex", Weight: 2}, {Text: "a dog", Weight: 1}})
	require.NoError(t, err)
	assert.Equal(t, []Term{{Concept: "rex@1", Weight: 2}, {Text: "a dog", Weight: 1}}, terms)
	row, err := ix.Query(ctx, terms[:1], noEncoder)
	require.NoError(t, err)
	assert.InDeltaSlice(t, c.Row, row, 1e-6)
	hits, err := ix.Search(ctx, row, 40, Filter{})
	require.NoError(t, err)
	assert.Equal(t, files[3].Path, hits[0][0].Path)

	second, err := ix.Learn(ctx, Lesson{Name: "rex", Yes: []string{files[5].Path}}, noEncoder)
	require.NoError(t, err)
	yes, no := second.Count()
	assert.Equal(t, [3]int{2, 2, 0}, [3]int{second.Version, yes, no}, "what is judged again counts as judged last")
	first, err := ix.Concept(ctx, "rex@1")
	require.NoError(t, err)
	assert.Equal(t, c, first)
	newest, err := ix.Concept(ctx, "rex")
	require.NoError(t, err)
	assert.Equal(t, second, newest)

	proposed, err := ix.Propose(ctx, second, 4, Filter{})
	require.NoError(t, err)
	require.Len(t, proposed, 4)
	assert.NotContains(t, paths(proposed), files[3].Path)
	assert.NotContains(t, paths(proposed), files[5].Path)

	list, err := ix.Concepts(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, Destroy(filepath.Join(dir, DirName)))
	filled(t, dir, 40)
	again := opened(t, filepath.Join(dir, DirName))
	_, err = again.Concept(ctx, "rex")
	assert.NoError(t, err, "a rebuilt index still has what was learned")
	require.NoError(t, again.RemoveConcept(ctx, "rex"))
	assert.ErrorIs(t, again.RemoveConcept(ctx, "rex"), ErrNoConcept)
}

// TestLearnAtOnce has many learn the same word: each becomes a version.
func TestLearnAtOnce(t *testing.T) {
	ix, _, files := taught(t, 12)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := ix.Learn(ctx, Lesson{Name: "rex", Yes: []string{files[i].Path}}, noEncoder)
			assert.NoError(t, err)
		})
	}
	all.Wait()
	c, err := ix.Concept(ctx, "rex")
	require.NoError(t, err)
	assert.Equal(t, 8, c.Version)
}

func TestLearnOfAnotherModel(t *testing.T) {
	ix, dir, files := taught(t, 12)
	_, err := ix.Learn(ctx, Lesson{Name: "rex", Yes: []string{files[1].Path}}, noEncoder)
	require.NoError(t, err)
	at := filepath.Join(dir, DirName)
	require.NoError(t, Destroy(at))
	other := model
	other.Weights = "cc"
	w, err := OpenWriter(at, other)
	require.NoError(t, err)
	for i, f := range files {
		require.NoError(t, w.Add(f, vector(100+i)))
	}
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	ix = opened(t, at)
	_, err = ix.Query(ctx, []Term{{Concept: "rex", Weight: 1}}, noEncoder)
	assert.ErrorIs(t, err, ErrConceptModel)
	c, err := ix.Learn(ctx, Lesson{Name: "rex"}, noEncoder)
	require.NoError(t, err)
	assert.InDeltaSlice(t, vector(101), c.Examples[0].Row, 1e-6, "the example has the new model's row")
	_, err = ix.Query(ctx, []Term{{Concept: "rex", Weight: 1}}, noEncoder)
	assert.NoError(t, err)
}

func TestLearnRefuses(t *testing.T) {
	ix, _, files := taught(t, 3)
	for _, c := range []struct {
		lesson Lesson
		says   string
	}{
		{Lesson{Name: "two words", Yes: []string{files[0].Path}}, "must be one word"},
		{Lesson{Name: "rex"}, "has no image that shows it"},
		{Lesson{Name: "rex", No: []string{files[0].Path}}, "has no image that shows it"},
		{Lesson{Name: "rex", Yes: []string{files[0].Path}, No: []string{files[0].Path}}, "both an example and a counterexample"},
		{Lesson{Name: "rex", Yes: []string{"/nowhere.png"}}, "the model was asked for"},
	} {
		_, err := ix.Learn(ctx, c.lesson, noEncoder)
		assert.ErrorContains(t, err, c.says)
	}
	list, err := ix.Concepts(ctx)
	require.NoError(t, err)
	assert.Empty(t, list)
	_, err = ix.Concept(ctx, "rex@x")
	assert.ErrorIs(t, err, ErrNoConcept)
}
