package index

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSwitch takes an index to another model in several sittings, while it is searched and brought
// up to date with its own.
func TestSwitch(t *testing.T) {
	first, second, third := smallModel(t, 1), smallModel(t, 2), smallModel(t, 3)
	dir, away := t.TempDir(), t.TempDir()
	at := filepath.Join(dir, "index")
	var all []string
	for i := range 8 {
		all = append(all, filepath.Join(dir, string(rune('a'+i))+".png"))
		place(t, all[i], "face.png", byte(i))
	}
	other := filepath.Join(away, "z.png")
	place(t, other, "grey.gif")
	bad := filepath.Join(dir, "bad.png")
	require.NoError(t, os.WriteFile(bad, []byte("no image"), 0o644))
	o := &UpdateOptions{Paths: []string{dir, away}, BatchSize: 1, CommitEvery: 1}
	_, err := Update(ctx, at, first, o)
	require.NoError(t, err)
	reader := opened(t, at)
	next := func() (encoded int) {
		t.Helper()
		info, err := reader.Info(ctx)
		require.NoError(t, err)
		if info.Next == nil {
			return -1
		}
		return info.Encoded
	}
	assert.Equal(t, -1, next())

	o.Paths = []string{dir}
	_, err = Update(ctx, at, second, o)
	require.ErrorIs(t, err, ErrModel, "without Switch")
	o.Switch = true
	stopAfter := func(n int) context.Context {
		ending, end := context.WithCancel(ctx)
		o.Encoded = func(string, error) {
			if n--; n == 0 {
				end()
			}
		}
		return ending
	}
	r, err := Update(stopAfter(4), at, second, o)
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, r.Switched)
	assert.Equal(t, 10, r.New, "those elsewhere, too")
	done := next()
	assert.GreaterOrEqual(t, done, 3)
	assert.Less(t, done, 9)
	holding(t, at, first, append(all[:8:8], other)...)

	_, err = Update(stopAfter(1), at, third, o)
	require.ErrorIs(t, err, context.Canceled)
	assert.Less(t, next(), done, "one for another model begins again")
	_, err = Update(stopAfter(5), at, second, o)
	require.ErrorIs(t, err, context.Canceled)

	require.NoError(t, os.Remove(all[0])) // the index continues with its model
	place(t, all[1], "face.png", 100)
	r, err = Update(ctx, at, first, o)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1}, []int{r.Changed, r.Removed})
	holding(t, at, first, append(all[1:8:8], other)...)
	assert.GreaterOrEqual(t, next(), 2)

	require.NoError(t, os.Rename(other, other+".away"))
	o.Encoded = nil
	r, err = Update(ctx, at, second, o)
	require.ErrorIs(t, err, ErrWaiting)
	require.ErrorContains(t, err, "1 images have no embedding of")
	require.ErrorContains(t, err, other)
	assert.Equal(t, 7, next())
	require.NoError(t, os.Rename(other+".away", other))
	holding(t, at, first, append(all[1:8:8], other)...)

	r, err = Update(ctx, at, second, o)
	require.NoError(t, err)
	assert.True(t, r.Switched)
	assert.Equal(t, 1, r.New, "the others were there")
	holding(t, at, second, append(all[1:8:8], other)...)
	_, err = reader.Search(ctx, make([]float32, 16), 1, Filter{})
	require.ErrorIs(t, err, ErrSwitched)
	assert.Equal(t, -1, next())
	r, err = Update(ctx, at, second, o)
	require.NoError(t, err)
	assert.Equal(t, []int{0, 7}, []int{r.New, r.Same}, "the bad file is remembered")
	entries, err := filepath.Glob(filepath.Join(at, "*-*"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, filepath.Base(e))
	}
	assert.NotContains(t, names, "vectors-1.f32")
}

// TestRebuildBeside has a rebuild leave the index searchable until its end, and begin again after a
// stop.
func TestRebuildBeside(t *testing.T) {
	m, dir := smallModel(t, 1), t.TempDir()
	at := filepath.Join(dir, DirName)
	a, b := filepath.Join(dir, "a.png"), filepath.Join(dir, "b.png")
	place(t, a, "face.png")
	place(t, b, "face.png", 1)
	_, err := Update(ctx, at, m, nil)
	require.NoError(t, err)
	reader := opened(t, at)
	require.NoError(t, os.Remove(b))
	found := func() int {
		t.Helper()
		hits, err := reader.Search(ctx, append(make([]float32, 15), 1), 5, Filter{})
		require.NoError(t, err)
		return len(hits[0])
	}
	for range 2 {
		ending, end := context.WithCancel(ctx)
		_, err = Update(ending, at, m, &UpdateOptions{Rebuild: true, Encoded: func(string, error) { end() }})
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 1, found(), "what was removed is not found")
		holding(t, at, m, a)
	}
	r, err := Update(ctx, at, nil, nil) // forgets the rebuild
	require.NoError(t, err)
	assert.Equal(t, 1, r.Same)
	info, err := reader.Info(ctx)
	require.NoError(t, err)
	assert.Nil(t, info.Next)
	r, err = Update(ctx, at, m, &UpdateOptions{Rebuild: true})
	require.NoError(t, err)
	assert.True(t, r.Switched)
	assert.Equal(t, 1, r.Added)
	assert.Equal(t, 1, found())
	holding(t, at, m, a)
}
