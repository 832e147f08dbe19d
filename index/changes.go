package index

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
)

// Changes are what differs between an index, or its successor while there is a switch to another
// model, and the images on the disk.
type Changes struct {
	New      []File   // to be added: not in the index, or changed since
	Changed  int      // of New, those that were in the index
	Gone     []string // in the index and not on the disk, to be removed
	Same     int
	Undated  []File // of the same, those whose EXIF data were never looked at: the index was of version 1
	Skipped  []*Skipped
	Problems []error // directories and files that could not be looked at; what is below them is not Gone
}

// known is what the database has of a path.
type known struct {
	size, modified int64
	unreadable     bool
	undated        bool
	seen           bool
}

// Changes walks the paths and compares what it finds with the index by path, size and time of the
// last change. Gone are only images below the directories among paths.
func (w *Writer) Changes(ctx context.Context, paths, exclude []string) (c Changes, err error) {
	return w.compare(ctx, paths, exclude, 0)
}

// compare is Changes with so many frames of each video.
func (w *Writer) compare(ctx context.Context, paths, exclude []string, frames int) (c Changes, err error) {
	all := map[string]*known{}
	for _, path := range paths {
		if err := w.known(ctx, path, all); err != nil {
			return c, err
		}
	}
	films := newFilms(w.root, all, frames)
	var failed []string // as the database has paths
	for f, err := range Walk(paths, exclude) {
		if ctx.Err() != nil {
			return c, ctx.Err()
		}
		if films.is(f, err) {
			if err := films.add(ctx, f.Path, &c); err != nil {
				return c, err
			}
			continue
		}
		if skipped := (*Skipped)(nil); errors.As(err, &skipped) {
			c.Skipped = append(c.Skipped, skipped)
			if path, err := inside(w.root, f.Path); err == nil && all[path] != nil {
				all[path].seen = true // read elsewhere, or before a library was removed
			}
			continue
		}
		path, lost := inside(w.root, f.Path)
		if lost != nil {
			return c, lost
		}
		if err != nil {
			c.Problems, failed = append(c.Problems, err), append(failed, path)
			continue
		}
		k, was := all[path]
		if !was {
			all[path] = &known{seen: true}
		} else if k.seen { // two of the paths have it
			continue
		} else if k.seen = true; k.unchanged(f) {
			if !k.unreadable {
				c.Same++
			}
			if k.undated {
				c.Undated = append(c.Undated, f)
			}
			continue
		} else if !k.unreadable {
			c.Changed++
		}
		c.New = append(c.New, f)
	}
	for path, k := range all {
		if !k.seen && !slices.ContainsFunc(failed, func(at string) bool { return isWithin(path, at) }) {
			c.Gone = append(c.Gone, outside(w.root, path))
		}
	}
	return c, nil
}

// isWithin reports whether a path of the database is another one, or below it; a frame's is its video's.
func isWithin(path, at string) bool {
	if video, _, ok := preprocess.VideoFrame(path); ok {
		path = video
	}
	return path == at || at == "." && !filepath.IsAbs(path) || strings.HasPrefix(path, strings.TrimSuffix(at, "/")+"/")
}

// known reads what the index has of a file, or of what is below a directory.
func (w *Writer) known(ctx context.Context, path string, all map[string]*known) error {
	at, err := inside(w.root, path)
	if err != nil {
		return err
	}
	below, args := within(at)
	tables := []string{"date IS NULL FROM pictures WHERE", "FALSE FROM unreadable WHERE"}
	if w.next != nil {
		tables = []string{"FALSE FROM next_pictures WHERE slot IS NOT NULL AND", "FALSE FROM next_pictures WHERE slot IS NULL AND"}
	}
	for i, table := range tables {
		rows, err := w.db.QueryContext(ctx, fmt.Sprintf("SELECT path, size, modified, %s (path = ? OR %s)", table, below), append([]any{at}, args...)...)
		if err != nil {
			return broken(w.dir, err)
		}
		for rows.Next() {
			var path string
			k := &known{unreadable: i == 1}
			if err := rows.Scan(&path, &k.size, &k.modified, &k.undated); err != nil {
				rows.Close()
				return broken(w.dir, err)
			}
			all[path] = k
		}
		if err := rows.Err(); err != nil {
			return broken(w.dir, err)
		}
	}
	return nil
}
