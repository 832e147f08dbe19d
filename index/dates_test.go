package index

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dated copies two images that were taken in July 2019 and one that does not tell into dir, as
// files of 2024.
func dated(t *testing.T, dir string) (list []File) {
	t.Helper()
	changed := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, name := range []string{"offset.jpg", "local.png", "none.jpg"} {
		data, err := os.ReadFile(exifImage(name))
		require.NoError(t, err)
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o644))
		require.NoError(t, os.Chtimes(path, changed, changed))
		f, err := Stat(path)
		require.NoError(t, err)
		list = append(list, f)
	}
	return list
}

// since are the names of the images from a year on and before the next.
func since(t *testing.T, at string, year int) (names []string) {
	t.Helper()
	hits, err := opened(t, at).Search(ctx, vector(0), 10, Filter{Since: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(year+1, 1, 1, 0, 0, 0, 0, time.UTC)})
	require.NoError(t, err)
	for _, h := range hits[0] {
		names = append(names, filepath.Base(h.Path))
		assert.Equal(t, year, h.Date.UTC().Year())
		assert.Equal(t, 2024, h.ModTime.UTC().Year())
	}
	return names
}

// A filter goes by when images were taken, and by the file's time where that is not known; also
// after packing.
func TestDates(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, DirName)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	for i, f := range dated(t, dir) {
		f.Taken = Taken(f.Path)
		require.NoError(t, w.Add(f, vector(i)))
		require.NoError(t, w.Add(f, vector(i))) // and a dead row
	}
	require.NoError(t, w.Commit())
	for range 2 {
		assert.ElementsMatch(t, []string{"offset.jpg", "local.png"}, since(t, at, 2019))
		assert.Equal(t, []string{"none.jpg"}, since(t, at, 2024))
		require.NoError(t, w.Compact(ctx, true))
	}
	c, err := w.Changes(ctx, []string{dir}, nil)
	require.NoError(t, err)
	assert.Equal(t, 3, c.Same)
	assert.Empty(t, c.Undated)
	require.NoError(t, w.Close())
}

// An index of version 1, which had no dates, is searched by the files' times; the next writer makes
// it one of the present version and is told whose dates are to be looked at, until they are.
func TestIndexOfVersionOne(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, DirName)
	w, err := OpenWriter(at, model)
	require.NoError(t, err)
	for i, f := range dated(t, dir) {
		require.NoError(t, w.Add(f, vector(i)))
	}
	require.NoError(t, w.Commit())
	_, err = w.db.Exec("ALTER TABLE pictures DROP COLUMN date; PRAGMA user_version = 1")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, os.Remove(codes.path(at, 1))) // nor were there codes

	assert.Empty(t, since(t, at, 2019))
	assert.Len(t, since(t, at, 2024), 3)
	groups, err := opened(t, at).Duplicates(ctx, 0.99, Filter{})
	require.NoError(t, err)
	assert.Empty(t, groups)

	reader := opened(t, at)
	w, err = OpenWriter(at, model)
	require.NoError(t, err)
	c, err := w.Changes(ctx, []string{dir}, nil)
	require.NoError(t, err)
	assert.Equal(t, 3, c.Same)
	assert.Empty(t, c.New)
	require.Len(t, c.Undated, 3)
	f := c.Undated[0]
	f.Taken = Taken(f.Path)
	require.NoError(t, w.Date(f))
	require.NoError(t, w.Add(imageFile(dir, 9), vector(9)))
	require.NoError(t, w.Close()) // which loses both
	assert.FileExists(t, codes.path(at, 1))

	w, err = OpenWriter(at, model)
	require.NoError(t, err)
	c, err = w.Changes(ctx, []string{dir}, nil)
	require.NoError(t, err)
	require.Len(t, c.Undated, 3, "a stop loses no date for good")
	for _, f := range c.Undated {
		f.Taken = Taken(f.Path)
		require.NoError(t, w.Date(f))
	}
	require.NoError(t, w.Commit())
	c, err = w.Changes(ctx, []string{dir}, nil)
	require.NoError(t, err)
	assert.Empty(t, c.Undated)
	require.NoError(t, w.Close())
	assert.ElementsMatch(t, []string{"offset.jpg", "local.png"}, since(t, at, 2019))
	assert.Equal(t, []string{"none.jpg"}, since(t, at, 2024))
	hits, err := reader.Search(ctx, vector(1), 1, Filter{})
	require.NoError(t, err, "a reader of before sees the new version")
	assert.Equal(t, 2019, hits[0][0].Date.Year())
	require.NoError(t, opened(t, at).Verify(ctx))
}

func TestIndexOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	at := filled(t, dir, 1)
	db, err := openDatabase(at, true)
	require.NoError(t, err)
	_, err = db.Exec("PRAGMA user_version = 5")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = OpenWriter(at, model)
	assert.ErrorContains(t, err, "is an index of version 5 and this goclip reads 1 to 4: it must be rebuilt")
	assert.ErrorIs(t, err, ErrVersion)
}
