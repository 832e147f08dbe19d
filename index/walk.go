package index

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is a file that may be a picture.
type File struct {
	Path    string
	Size    int64
	ModTime time.Time
	Taken   time.Time // as [Taken] has it, for a Writer; zero where it was not asked, or the file does not tell
}

// date is the one that filters go by.
func (f File) date() int64 {
	if f.Taken.IsZero() {
		return f.ModTime.UnixNano()
	}
	return f.Taken.UnixNano()
}

// Excluded are the directories that a walk leaves out unless told otherwise, besides hidden ones:
// thumbnails of Synology's disks, and packages of npm.
var Excluded = []string{"@eaDir", "node_modules"}

// extensions are those of the formats that package preprocess decodes.
var extensions = []string{".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}

// Stat is the file of a path.
func Stat(path string) (f File, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return f, err
	}
	if !info.Mode().IsRegular() {
		return f, fmt.Errorf("%s is not a file", path)
	}
	return File{Path: path, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// Walk yields the pictures of paths. A directory is walked: hidden files and directories, those
// that exclude names, and files whose extension is no picture's are left out, links to directories
// are not followed. A file is taken whatever its name. An error goes with the path that could not
// be read, and the walk goes on.
func Walk(paths, exclude []string) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for _, path := range paths {
			if info, err := os.Stat(path); err != nil || !info.IsDir() {
				f, err := Stat(path)
				f.Path = path
				if !yield(f, err) {
					return
				}
			} else if walk(path, exclude, yield) != nil {
				return
			}
		}
	}
}

func walk(root string, exclude []string, yield func(File, error) bool) error {
	root = filepath.Clean(root)
	stop := errors.New("stop")
	return filepath.WalkDir(root+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error { // a link to a directory is followed here
		path = filepath.Clean(path)
		if err == nil {
			switch name := filepath.Base(path); {
			case path == root:
				return nil
			case d.IsDir() && (strings.HasPrefix(name, ".") || slices.Contains(exclude, name)):
				return fs.SkipDir
			case d.IsDir(), strings.HasPrefix(name, "."), !slices.Contains(extensions, strings.ToLower(filepath.Ext(name))):
				return nil
			}
		}
		f := File{Path: path}
		var info fs.FileInfo
		if err == nil {
			info, err = os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() { // removed meanwhile, a link to nowhere, a pipe
				return nil
			}
		}
		if err == nil {
			f.Size, f.ModTime = info.Size(), info.ModTime()
		}
		if !yield(f, err) {
			return stop
		}
		return nil
	})
}
