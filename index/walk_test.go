package index

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWalk compares the index with the disk.
func TestWalk(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.png", "b.JPG", "text.txt", ".hidden.png", "sub/c.webp", "sub/deep/d.gif", ".git/e.png", "node_modules/f.png", "skip/g.png", "a.d/h.png"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(name), 0o644))
	}
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "sub", "loop")))
	require.NoError(t, os.Symlink("gone", filepath.Join(dir, "nowhere.png")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "film.MP4"), nil, 0o644))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "sub", "pipe.png"), 0o644))
	at := filepath.Join(dir, DirName)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	defer w.Close()
	exclude := append([]string{"skip"}, Excluded...)
	names := func(files []File) (list []string) {
		for _, f := range files {
			rel, _ := filepath.Rel(dir, f.Path)
			list = append(list, rel)
		}
		slices.Sort(list)
		return list
	}
	c, err := w.Changes(ctx, []string{dir}, exclude)
	require.NoError(t, err)
	assert.Equal(t, []string{"a.d/h.png", "a.png", "b.JPG", "sub/c.webp", "sub/deep/d.gif"}, names(c.New))
	assert.Empty(t, c.Problems)
	var skipped []string
	for _, s := range c.Skipped {
		rel, _ := filepath.Rel(dir, s.Path)
		skipped = append(skipped, rel+": "+s.Kind)
	}
	assert.ElementsMatch(t, []string{"text.txt: other", "nowhere.png: broken link", "film.MP4: video", "sub/pipe.png: special file"}, skipped)
	for i, f := range c.New {
		if f.Path == filepath.Join(dir, "b.JPG") {
			require.NoError(t, w.Unreadable(f, fs.ErrInvalid))
		} else {
			require.NoError(t, w.Add(f, vector(i)))
		}
	}
	require.NoError(t, w.Commit())
	c, err = w.Changes(ctx, []string{dir}, exclude)
	require.NoError(t, err)
	assert.Equal(t, Changes{Same: 4, Skipped: c.Skipped}, c, "what could not be read is not tried again")

	require.NoError(t, os.Remove(filepath.Join(dir, "a.png")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b.JPG"), []byte("changed"), 0o644))
	require.NoError(t, os.Chtimes(filepath.Join(dir, "sub/c.webp"), time.Time{}, time.Unix(5, 0)))
	c, err = w.Changes(ctx, []string{dir, filepath.Join(dir, "sub")}, exclude)
	require.NoError(t, err)
	assert.Equal(t, []string{"b.JPG", "sub/c.webp"}, names(c.New))
	assert.Equal(t, 1, c.Changed)
	assert.Equal(t, []string{filepath.Join(dir, "a.png")}, c.Gone)
	c, err = w.Changes(ctx, []string{filepath.Join(dir, "sub")}, exclude)
	require.NoError(t, err)
	assert.Empty(t, c.Gone, "of another directory nothing is known")
	c, err = w.Changes(ctx, []string{filepath.Join(dir, "nothing")}, exclude)
	require.NoError(t, err)
	assert.Len(t, c.Problems, 1)

	hits, err := opened(t, at).Search(ctx, vector(0), 9, Filter{Folder: filepath.Join(dir, "sub")})
	require.NoError(t, err)
	assert.Len(t, hits[0], 2, "a.d is not below a, and sub/deep is below sub")
	hits, err = opened(t, at).Search(ctx, vector(0), 9, Filter{Folder: dir})
	require.NoError(t, err)
	assert.Len(t, hits[0], 4)
}

// What could not be looked at stays in the index, however its path is spelled.
func TestUnreachableIsNotGone(t *testing.T) {
	m, dir := smallModel(t, 1), t.TempDir()
	for _, sub := range []string{"a", "b"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
		place(t, filepath.Join(dir, sub, "face.png"), "face.png")
	}
	t.Chdir(dir)
	for _, at := range []string{"INDEX", DirName} {
		_, err := Update(ctx, at, m, &UpdateOptions{Paths: []string{"a", "b"}})
		require.NoError(t, err)
		require.NoError(t, os.Rename("b", "unmounted"))
		for _, b := range []string{"b", "./b/", filepath.Join(dir, "b"), "b/face.png"} {
			r, err := Update(ctx, at, m, &UpdateOptions{Paths: []string{"a", b}})
			require.NoError(t, err)
			assert.Equal(t, []int{0, 1}, []int{r.Removed, r.Problems}, "%s: %s", at, b)
		}
		require.NoError(t, os.Rename("unmounted", "b"))
		r, err := Update(ctx, at, m, &UpdateOptions{Paths: []string{"a", "b"}})
		require.NoError(t, err)
		assert.Equal(t, []int{0, 2}, []int{r.Added, r.Same}, at)
	}
}
