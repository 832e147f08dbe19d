package index

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goclip/goclip/clip/preprocess"
)

// File is a file that may be an image.
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

// Skipped is a file that a walk leaves out, as the error that it yields.
type Skipped struct {
	Path string
	Kind string // "RAW", "video", "HEIC" where it is not read here; "broken link", "special file", "other"
}

func (s *Skipped) Error() string { return s.Path + ": skipped: " + s.Kind }

// Stat returns the file of a path; of a frame, that of its video.
func Stat(path string) (f File, err error) {
	file := path
	if video, _, ok := preprocess.VideoFrame(path); ok {
		file = video
	}
	info, err := os.Stat(file)
	if err != nil {
		return f, err
	}
	if !info.Mode().IsRegular() {
		return f, fmt.Errorf("%s is not a file", path)
	}
	return File{Path: path, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// Walk yields the images of paths. A directory is walked: hidden files and directories and those
// that exclude names are left out, links to directories are not followed, and what is not an image
// that can be read here, as far as its name tells, is a [*Skipped]. A file of paths is taken
// whatever its name. Any other error goes with the path that could not be read, and the walk continues.
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
			case d.IsDir(), strings.HasPrefix(name, "."):
				return nil
			}
		}
		f := File{Path: path}
		var info fs.FileInfo
		if err == nil {
			info, err = os.Stat(path)
			switch {
			case err != nil && d.Type()&fs.ModeSymlink != 0:
				err = &Skipped{path, "broken link"}
			case errors.Is(err, fs.ErrNotExist), err == nil && info.IsDir(): // removed meanwhile, or a link to a directory
				return nil
			case err == nil && !info.Mode().IsRegular():
				err = &Skipped{path, "special file"}
			case err == nil:
				if kind := preprocess.KindOf(nil, path); !kind.Readable {
					err = &Skipped{path, cmp.Or(kind.Name, "other")}
				}
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
