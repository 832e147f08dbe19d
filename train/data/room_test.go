package data

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/goclip/goclip/clip/preprocess"
)

// TestRoom has large images decoded as there is room for them, the usual ones at once, and none
// that is over the limit.
func TestRoom(t *testing.T) {
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, image.NewNRGBA(image.Rect(0, 0, 64, 64))))
	source := preprocess.FromBytes(file.Bytes())
	again := func() (preprocess.Source, error) { return source, nil }
	most := func(r *room) int64 {
		var now, most atomic.Int64
		var group errgroup.Group
		for range 8 {
			group.Go(func() error {
				_, done, err := r.decode(context.Background(), source, again, preprocess.Limits{})
				if err != nil {
					return err
				}
				defer done()
				defer now.Add(-1)
				for n := now.Add(1); ; {
					if was := most.Load(); n <= was || most.CompareAndSwap(was, n) {
						break
					}
				}
				time.Sleep(10 * time.Millisecond)
				return nil
			})
		}
		require.NoError(t, group.Wait())
		return most.Load()
	}
	assert.EqualValues(t, 1, most(newRoom(1, 1)), "one that is larger than all the room has it alone")
	assert.Greater(t, most(newRoom(1<<20, 1)), int64(1))

	_, _, err := newRoom(1, 1).decode(context.Background(), source, again, preprocess.Limits{MaxMemory: 2})
	var over *preprocess.LimitError
	require.ErrorAs(t, err, &over)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err = newRoom(1, 1).decode(ctx, source, again, preprocess.Limits{})
	assert.ErrorIs(t, err, context.Canceled)
}
