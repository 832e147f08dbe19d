package index

import (
	"context"
	"database/sql"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRebuilt has a reader stay open while the index is destroyed and made again: it finds what is in
// the new one, and nothing that was removed. With another model it says that it must be opened again.
func TestRebuilt(t *testing.T) {
	dir := t.TempDir()
	at := filled(t, dir, 5)
	ix := opened(t, at)
	_, err := ix.Search(ctx, vector(4), 5, Filter{})
	require.NoError(t, err)
	require.NoError(t, Destroy(at))
	_, err = ix.Search(ctx, vector(4), 5, Filter{})
	require.ErrorIs(t, err, os.ErrNotExist)
	filled(t, dir, 4)
	hits, err := ix.Search(ctx, vector(4), 5, Filter{})
	require.NoError(t, err)
	assert.Len(t, hits[0], 4)
	assert.NotContains(t, paths(hits[0]), imageFile(dir, 4).Path)
	_, ok, err := ix.Vector(ctx, imageFile(dir, 4))
	require.NoError(t, err)
	assert.False(t, ok)
	require.NoError(t, ix.Verify(ctx))

	require.NoError(t, Destroy(at))
	other := model
	other.Name, other.Weights = "two", "cc"
	w, err := OpenWriter(at, other)
	require.NoError(t, err)
	require.NoError(t, w.Add(imageFile(dir, 7), vector(7)))
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	_, err = ix.Search(ctx, vector(7), 1, Filter{})
	assert.ErrorIs(t, err, ErrSwitched)
	assert.ErrorContains(t, err, "must be opened again: two in place of one")
	_, _, err = ix.Vector(ctx, imageFile(dir, 7))
	assert.ErrorIs(t, err, ErrSwitched)
	info, err := ix.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, "two", info.Model.Name)
	hits, err = opened(t, at).Search(ctx, vector(7), 1, Filter{})
	require.NoError(t, err)
	assert.Len(t, hits[0], 1)
}

// TestOverwritten copies other bytes over the files of an index that is being searched, as cp does,
// and continues when the right ones are back.
func TestOverwritten(t *testing.T) {
	at, elsewhere := filled(t, t.TempDir(), 300), t.TempDir()
	other := filled(t, elsewhere, 10)
	w, err := OpenWriter(other, model)
	require.NoError(t, err)
	for i := range 290 {
		require.NoError(t, w.Add(imageFile(elsewhere, 10+i), vector(1000+i)))
	}
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	for _, c := range []struct {
		l          layout
		says, away string
	}{
		{singles, "has changed: the index is damaged and must be rebuilt", "there is no such file"},
		{codes, "are not those of its vectors", ""},
	} {
		ix := opened(t, at)
		search := func() error {
			hits, err := ix.Search(ctx, vector(150), 1, Filter{})
			if err == nil {
				assert.Equal(t, "150.png", hits[0][0].Path[len(hits[0][0].Path)-7:])
			}
			return err
		}
		require.NoError(t, search())
		path := c.l.path(at, 1)
		right, err := os.ReadFile(path)
		require.NoError(t, err)
		wrong, err := os.ReadFile(c.l.path(other, 1))
		require.NoError(t, err)
		require.Len(t, wrong, len(right))
		require.NoError(t, os.WriteFile(path, wrong, 0o644))
		require.ErrorContains(t, search(), c.says)
		require.ErrorContains(t, search(), c.says, "and again")
		require.NoError(t, os.WriteFile(path, right, 0o644))
		require.NoError(t, search())
	}
	path := singles.path(at, 1)
	ix := opened(t, at)
	require.NoError(t, os.Truncate(path, 1000))
	_, err = ix.Search(ctx, vector(150), 1, Filter{})
	require.ErrorContains(t, err, "300 images take 28864 bytes and it has 1000")
	require.ErrorIs(t, err, ErrDamaged)
}

// However many ask at once, few hold what they have read from the database while one after the other searches.
func TestFewReadersAtOnce(t *testing.T) {
	ix := opened(t, filled(t, t.TempDir(), 20))
	ix.turn <- struct{}{}
	var all sync.WaitGroup
	for range 5 * readersAtOnce {
		all.Go(func() {
			hits, err := ix.Search(ctx, vector(3), 1, Filter{MinSize: 1})
			if assert.NoError(t, err) {
				assert.Len(t, hits[0], 1)
			}
		})
	}
	stats := func() sql.DBStats { return ix.file.Stats() }
	require.Eventually(t, func() bool { return stats().InUse+int(stats().WaitCount) >= 5*readersAtOnce }, 10*time.Second, time.Millisecond)
	assert.LessOrEqual(t, stats().OpenConnections, readersAtOnce)
	gone, leave := context.WithCancel(ctx)
	leave()
	_, err := ix.Search(gone, vector(3), 1, Filter{})
	assert.ErrorIs(t, err, context.Canceled)
	<-ix.turn
	all.Wait()
}
