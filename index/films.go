package index

import (
	"context"
	"errors"

	"github.com/goclip/goclip/clip/preprocess"
)

// films are the videos of a walk, whose frames an index holds as [preprocess.VideoFrames] names
// them.
type films struct {
	root   string
	n      int // frames of each video; 0: those of videos that the index knows alone
	ffmpeg bool
	all    map[string]*known
	frames map[string][]string // paths of the index, by the video's
}

func newFilms(root string, all map[string]*known, n int) *films {
	f := &films{root: root, n: n, all: all, frames: map[string][]string{}}
	f.ffmpeg = n > 0 && preprocess.HasFFmpeg()
	for path := range all {
		if video, _, ok := preprocess.VideoFrame(outside(root, path)); ok {
			f.frames[video] = append(f.frames[video], path)
		}
	}
	return f
}

// is reports whether what a walk yields is a video whose frames are taken, or known.
func (f *films) is(file File, err error) bool {
	left := (*Skipped)(nil)
	if err != nil && !(errors.As(err, &left) && left.Kind == "video") || preprocess.KindOf(nil, file.Path).Name != "video" {
		return false
	}
	return f.ffmpeg || len(f.frames[file.Path]) > 0
}

// add looks at a video. Its frames stay while neither the file nor their number changes. A video that
// cannot be read is listed by its own path, and then reported with the unreadable images.
func (f *films) add(ctx context.Context, video string, c *Changes) error {
	now, err := Stat(video)
	if err != nil {
		return nil // it was removed meanwhile
	}
	path, err := inside(f.root, video)
	if err != nil {
		return err
	}
	if k := f.all[path]; k != nil && k.unreadable && k.unchanged(now) {
		k.seen = true
		return nil
	}
	before, same := f.frames[video], 0
	for _, frame := range before {
		if k := f.all[frame]; k.seen { // two of the paths have it
			return nil
		} else if k.unchanged(now) {
			same++
		}
	}
	if same == len(before) && (same == f.n || !f.ffmpeg) {
		for _, frame := range before {
			f.all[frame].seen = true
			if !f.all[frame].unreadable {
				c.Same++
			}
		}
		return nil
	}
	if !f.ffmpeg { // the former frames stay until they can be taken again
		for _, frame := range before {
			f.all[frame].seen = true
		}
		return nil
	}
	list, err := preprocess.VideoFrames(ctx, video, f.n)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		list = []string{video}
	}
	for _, frame := range list {
		file := File{Path: frame, Size: now.Size, ModTime: now.ModTime}
		path, err := inside(f.root, frame)
		if err != nil {
			return err
		}
		k := f.all[path]
		switch {
		case k == nil:
			f.all[path] = &known{seen: true}
		case k.unchanged(now):
			k.seen = true
			if !k.unreadable {
				c.Same++
			}
			continue
		default:
			if k.seen = true; !k.unreadable {
				c.Changed++
			}
		}
		c.New = append(c.New, file)
	}
	return nil
}

// unchanged reports whether a file is the one that the database has.
func (k *known) unchanged(f File) bool { return k.size == f.Size && k.modified == f.ModTime.UnixNano() }
