package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
)

var errFound = errors.New("found")

// hasPairs reports whether a .txt stands beside an image somewhere in dir. The first folders that
// hold images decide, so that a large folder of classes is not walked to its end.
func hasPairs(ctx context.Context, dir string) (bool, error) {
	looked := 0
	err := WalkImages(ctx, dir, func(picture string) error {
		if _, err := os.Stat(captionFile(picture)); err == nil {
			return errFound
		}
		if looked++; looked == 1000 {
			return fs.SkipAll
		}
		return nil
	})
	return errors.Is(err, errFound), ctx.Err()
}

// openPairs reads a folder of images with a .txt of the same name beside each, in folders of any
// depth. What starts with a dot is left out.
func openPairs(ctx context.Context, dir string, o Options) (Index, error) {
	t := newTable(dir, o)
	t.dir = dir
	err := WalkImages(ctx, dir, func(picture string) error {
		f, size, err := preprocess.OpenRegular(captionFile(picture))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, preprocess.ErrNotRegular) {
			t.add(picture)
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		text, err := readCaption(io.NewSectionReader(f, 0, size), o.Encoding)
		if err != nil {
			return within(f.Name(), err)
		}
		if o.CaptionLines {
			t.add(picture, captionLines(text)...)
		} else {
			t.add(picture, text)
		}
		return nil
	})
	if err != nil {
		return nil, within("data", err)
	}
	if len(t.images) == 0 {
		return nil, fmt.Errorf("data: %s holds no image with a .txt of the same name beside it", dir)
	}
	t.at = nil
	return t, nil
}

func captionFile(picture string) string {
	return strings.TrimSuffix(picture, filepath.Ext(picture)) + ".txt"
}

// WalkImages visits the image files under dir, told by their extensions, in the order of their
// names. Files and folders that start with a dot are left out.
func WalkImages(ctx context.Context, dir string, visit func(path string) error) error {
	root := filepath.Clean(dir)
	return filepath.WalkDir(root+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && filepath.Clean(path) != root
		switch {
		case hidden && d.IsDir():
			return fs.SkipDir
		case hidden || d.IsDir() || !isImage(path):
			return nil
		}
		return visit(path)
	})
}
