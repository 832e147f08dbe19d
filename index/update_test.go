package index

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

// smallModel is random; seeds make different ones of the same shape.
func smallModel(t *testing.T, seed uint64) *clip.Model {
	t.Helper()
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":2,"width":64,"head_width":32,"patch_size":8},
		"text_cfg":{"context_length":16,"vocab_size":49408,"width":8,"heads":2,"layers":2}}`))
	require.NoError(t, err)
	m, err := clip.New(c, seed)
	require.NoError(t, err)
	return m
}

// place puts a test image at path, with a byte behind it that makes it another file.
func place(t *testing.T, path, name string, more ...byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "preprocess", "pictures", name))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(data, more...), 0o644))
}

// holding asserts what an index holds, and that the vectors are the model's.
func holding(t *testing.T, at string, m *clip.Model, paths ...string) {
	t.Helper()
	ix, err := Open(at)
	require.NoError(t, err)
	defer ix.Close()
	require.NoError(t, ix.Verify(ctx))
	info, err := ix.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, len(paths), info.Images)
	for _, path := range paths {
		f, err := Stat(path)
		require.NoError(t, err)
		row, ok, err := ix.Vector(ctx, f)
		require.NoError(t, err)
		require.True(t, ok, path)
		want, err := m.EncodeImages(ctx, clip.FromFile(path))
		require.NoError(t, err)
		assert.InDeltaSlice(t, want[0], row, 1e-5, path)
	}
}

// TestUpdate makes an index of a directory, and follows what changes in it, with the model opened
// only when it is needed.
func TestUpdate(t *testing.T) {
	m, dir := smallModel(t, 1), t.TempDir()
	_, err := m.EncodeTexts(ctx, "warm")
	require.NoError(t, err)
	before := settled.Count(torch.LiveTensors)
	at := filepath.Join(dir, DirName)
	face, grey, bad := filepath.Join(dir, "a face.png"), filepath.Join(dir, "b.gif"), filepath.Join(dir, "c.png")
	place(t, face, "face.png")
	place(t, grey, "grey.gif")
	require.NoError(t, os.WriteFile(bad, []byte("no image"), 0o644))
	var encoded, added, removed []string
	found := 0
	o := UpdateOptions{
		Found: func(n int) { found = n },
		Encoded: func(path string, err error) {
			encoded = append(encoded, path)
			if path == bad {
				assert.ErrorIs(t, err, preprocess.ErrNotImage)
				assert.ErrorAs(t, err, new(*clip.ImageError))
			} else {
				assert.NoError(t, err)
			}
		},
		Committed: func(r, a []string) error { removed, added = append(removed, r...), append(added, a...); return nil },
	}
	r, err := Update(ctx, at, m, &o)
	require.NoError(t, err)
	r.Took = 0
	assert.Equal(t, Result{Added: 2, Unreadable: 1, New: 3}, r)
	assert.Equal(t, 3, found)
	assert.Equal(t, []string{face, grey, bad}, encoded)
	assert.Equal(t, []string{face, grey}, added)
	holding(t, at, m, face, grey)

	// Nothing is new: no model is wanted, and the bad file is not tried again.
	r, err = Update(ctx, at, nil, nil)
	require.NoError(t, err)
	r.Took = 0
	assert.Equal(t, Result{Same: 2}, r)

	place(t, face, "face.png", 1)
	require.NoError(t, os.Remove(grey))
	_, err = Update(ctx, at, nil, nil)
	assert.ErrorContains(t, err, "neither a model nor UpdateOptions.Open was given")
	opens := 0
	o.Open = func(_ context.Context, known Model) (*clip.Model, error) {
		opens++
		assert.Equal(t, 16, known.EmbedDim)
		return m, nil
	}
	o.KeepMissing, added = true, nil
	r, err = Update(ctx, at, nil, &o)
	require.NoError(t, err)
	r.Took = 0
	assert.Equal(t, Result{Changed: 1, New: 1}, r)
	assert.Equal(t, []string{face}, added)
	assert.Empty(t, removed)
	o.KeepMissing = false
	r, err = Update(ctx, at, nil, &o)
	require.NoError(t, err)
	assert.Equal(t, 1, r.Removed)
	assert.Equal(t, []string{grey}, removed)
	assert.Equal(t, 1, opens, "an image that is gone needs no model")
	holding(t, at, m, face)
	assert.Equal(t, before, torch.LiveTensors())
}

// TestUpdateStopped ends the context in the middle: what was encoded is in the index, and the next
// update continues.
func TestUpdateStopped(t *testing.T) {
	m, dir := smallModel(t, 1), t.TempDir()
	at := filepath.Join(dir, DirName)
	var paths []string
	for i := range 12 {
		paths = append(paths, filepath.Join(dir, string(rune('a'+i))+".png"))
		place(t, paths[i], "face.png", byte(i))
	}
	ending, end := context.WithCancel(ctx)
	n := 0
	r, err := Update(ending, at, m, &UpdateOptions{BatchSize: 1, Encoded: func(string, error) {
		if n++; n == 4 {
			end()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 12, r.New)
	assert.GreaterOrEqual(t, r.Added, 4)
	assert.Less(t, r.Added, 12)
	holding(t, at, m, paths[:r.Added]...)
	rest, err := Update(ctx, at, m, nil)
	require.NoError(t, err)
	assert.Equal(t, 12-r.Added, rest.Added)
	holding(t, at, m, paths...)

	place(t, paths[0], "face.png", 100)
	broken := errors.New("the pipe is broken")
	_, err = Update(ctx, at, m, &UpdateOptions{Committed: func(_, _ []string) error { return broken }})
	assert.ErrorIs(t, err, broken)
}

func TestUpdateErrors(t *testing.T) {
	m, other, dir := smallModel(t, 1), smallModel(t, 2), t.TempDir()
	at := filepath.Join(dir, DirName)
	face := filepath.Join(dir, "face.png")
	place(t, face, "face.png")
	gone := filepath.Join(dir, "gone")
	problems := 0
	r, err := Update(ctx, at, m, &UpdateOptions{Paths: []string{dir, gone}, Problem: func(err error) {
		problems++
		assert.ErrorIs(t, err, fs.ErrNotExist)
	}})
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1, 1}, []int{r.Added, r.Problems, problems})

	_, err = Update(ctx, at, other, nil)
	assert.ErrorIs(t, err, ErrModel)
	place(t, face, "face.png", 1)
	_, err = Update(ctx, at, nil, &UpdateOptions{Open: func(context.Context, Model) (*clip.Model, error) { return other, nil }})
	assert.ErrorIs(t, err, ErrModel)
	w, err := OpenWriter(at, opened(t, at).modelNow(t))
	require.NoError(t, err)
	_, err = Update(ctx, at, m, nil)
	assert.ErrorIs(t, err, ErrLocked)
	require.NoError(t, w.Close())
	r, err = Update(ctx, at, other, &UpdateOptions{Rebuild: true})
	require.NoError(t, err)
	assert.Equal(t, 1, r.Added)
	holding(t, at, other, face)

	for says, c := range map[string]struct {
		at string
		o  UpdateOptions
	}{
		"has no directory around it: Paths must say": {filepath.Join(dir, "index"), UpdateOptions{}},
		"BatchSize -1, CommitEvery 0":                {at, UpdateOptions{BatchSize: -1}},
		`the engine "qdrant" must be`:                {at, UpdateOptions{Engine: "qdrant"}},
	} {
		_, err := Update(ctx, c.at, m, &c.o)
		assert.ErrorContains(t, err, says)
	}
	assert.NoDirExists(t, filepath.Join(dir, "index"))
	_, err = Update(ctx, filepath.Join(t.TempDir(), DirName), nil, nil)
	assert.ErrorContains(t, err, "UpdateOptions.Open", "a new index needs its model")
}

func (ix *Index) modelNow(t *testing.T) Model {
	t.Helper()
	info, err := ix.Info(ctx)
	require.NoError(t, err)
	return info.Model
}

// TestQuery makes vectors of queries: an image of the index needs no model, words and other images
// want it once.
func TestQuery(t *testing.T) {
	m, dir := smallModel(t, 1), t.TempDir()
	at := filepath.Join(dir, DirName)
	face := filepath.Join(dir, "face.png")
	place(t, face, "face.png")
	_, err := Update(ctx, at, m, nil)
	require.NoError(t, err)
	grey := filepath.Join(t.TempDir(), "grey.gif")
	place(t, grey, "grey.gif")
	ix := opened(t, at)
	asked, cut := 0, []string{}
	encoder := func(context.Context) (clip.Encoder, error) {
		asked++
		return clip.Encoder{Model: m, Raw: true, Cut: func(_ int, text string) { cut = append(cut, text) }}, nil
	}
	row, err := ix.Query(ctx, []Term{{Image: face, Weight: 2}}, encoder)
	require.NoError(t, err)
	assert.Zero(t, asked)
	images, err := m.EncodeImages(ctx, clip.FromFile(face), clip.FromFile(grey))
	require.NoError(t, err)
	assert.InDeltaSlice(t, images[0], row, 1e-5)

	long := "a text that is longer than sixteen tokens because it goes on and on and on and on and on"
	terms := []Term{{Image: face, Weight: 1}, {Image: grey, Weight: -0.5}, {Text: long, Weight: 1}}
	row, err = ix.Query(ctx, terms, encoder)
	require.NoError(t, err)
	assert.Equal(t, 1, asked)
	assert.Equal(t, []string{long}, cut)
	words, err := m.EncodeTexts(ctx, long)
	require.NoError(t, err)
	want, err := Combine(terms, slices.Concat(images, words))
	require.NoError(t, err)
	assert.InDeltaSlice(t, want, row, 1e-5)

	_, err = ix.Query(ctx, []Term{{Image: filepath.Join(dir, "gone.png"), Weight: 1}}, encoder)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = ix.Query(ctx, []Term{{Text: "a", Weight: 1}}, func(context.Context) (clip.Encoder, error) { return clip.Encoder{}, fs.ErrPermission })
	assert.ErrorIs(t, err, fs.ErrPermission)
}

// TestIdentifyNames keeps a name as clip.Open takes it, and makes a path one that holds in any
// directory.
func TestIdentifyNames(t *testing.T) {
	m := smallModel(t, 1)
	dir := filepath.Join(t.TempDir(), "small")
	require.NoError(t, m.Save(dir))
	t.Chdir(filepath.Dir(dir))
	m, err := clip.Open(ctx, "small", &clip.OpenOptions{ContextLength: 12})
	require.NoError(t, err)
	id, err := Identify(m, nil)
	require.NoError(t, err)
	assert.Equal(t, dir, id.Name)
	again, err := clip.Open(ctx, id.Name, id.Options())
	require.NoError(t, err)
	same, err := Identify(again, id.Files)
	require.NoError(t, err)
	assert.Equal(t, id, same)
	for _, name := range []string{"ViT-B-32:openai", "ViT-B/32__laion2b_s34b_b79k", "hf-hub:org/name@main", "org/name"} {
		m.Name = name
		id, err := Identify(m, id.Files)
		require.NoError(t, err)
		assert.Equal(t, name, id.Name)
	}
	shipped, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	id, err = Identify(shipped, nil)
	require.NoError(t, err)
	assert.Equal(t, models.Default, id.Name)
	sum, err := sumInside(shipped)
	require.NoError(t, err)
	assert.Equal(t, sum, shipped.StateSum, "what models/%s/state.sha256 says", models.Default)
	require.NoError(t, shipped.Cast(torch.BFloat16)) // as on a GPU
	converted, err := Identify(shipped, nil)
	require.NoError(t, err)
	assert.Equal(t, id, converted, "an index serves searches in every precision")
}
