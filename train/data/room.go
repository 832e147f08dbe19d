package data

import (
	"context"
	"errors"

	"golang.org/x/sync/semaphore"

	"github.com/goclip/goclip/clip/preprocess"
)

// What decoding may hold at one time, in bytes: each worker an image of the usual size, such as a
// photograph of 25 megapixels, and all of them together so much of larger ones, or one that is
// larger still.
const (
	usualImage  = 256 << 20
	largeImages = 1 << 30
)

// room is the memory that the large images of all workers share.
type room struct {
	usual, all int64
	taken      *semaphore.Weighted
}

func newRoom(usual, all int64) *room {
	return &room{usual: usual, all: all, taken: semaphore.NewWeighted(all)}
}

// decode decodes an image, a large one when there is room for it, in which case again gives it
// again. done gives the room back.
func (r *room) decode(ctx context.Context, image preprocess.Source, again func() (preprocess.Source, error), lim preprocess.Limits) (img *preprocess.Image, done func(), err error) {
	done = func() {}
	most := lim.MaxMemory
	if most == 0 {
		most = preprocess.DefaultLimits.MaxMemory
	}
	lim.MaxMemory = min(most, r.usual)
	img, err = image.Decode(ctx, lim)
	var over *preprocess.LimitError
	if !errors.As(err, &over) || over.Memory == 0 || over.Memory > most {
		return img, done, err
	}
	need := min(over.Memory, r.all)
	if err := r.taken.Acquire(ctx, need); err != nil {
		return nil, done, err
	}
	done = func() { r.taken.Release(need) }
	lim.MaxMemory = most
	if image, err = again(); err == nil {
		img, err = image.Decode(ctx, lim)
	}
	if err != nil {
		done()
		return nil, func() {}, err
	}
	return img, done, nil
}
