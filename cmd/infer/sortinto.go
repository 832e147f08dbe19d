package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goclip/goclip/internal/disk"
)

// sort puts the images into the directories of their classes and notes where. It tells of what it
// could not put there and continues.
func (c *classifyCmd) sort(ctx context.Context, io *streams, out *classification) (failed bool, err error) {
	folders := folderNames(out.Labels)
	s := sorter{copies: c.Copy, dry: c.DryRun, taken: map[string]string{}}
	for i := range out.Images {
		image := &out.Images[i]
		if len(image.Top) == 0 {
			continue
		}
		if ctx.Err() != nil {
			return failed, interrupted(fmt.Sprintf("interrupted; %d of %d images are in %s, and the same command resumes there", s.made+s.there, len(out.Images), c.SortInto))
		}
		to, err := s.place(string(image.Path), filepath.Join(c.SortInto, folders[image.Top[0].Label]))
		if err != nil {
			failed, to = true, ""
			fmt.Fprintln(io.err, message(fmt.Errorf("--sort-into: %s: %w", image.Path, disk.Plain(err))))
		}
		image.Sorted = fileName(to)
	}
	verb := "linked into"
	if c.Copy {
		verb = "copied into"
	}
	if c.DryRun {
		verb = "would be " + verb
	}
	fmt.Fprintf(io.err, "infer: %d images %s %s, %d were there\n", s.made, verb, c.SortInto, s.there)
	return failed, nil
}

// folderNames gives each class a directory's name of its own: what no name can hold becomes _.
func folderNames(labels []string) map[string]string {
	names, taken := map[string]string{}, map[string]bool{}
	for _, label := range labels {
		clean := strings.Map(func(r rune) rune {
			if r == '/' || r == '\\' || r < ' ' || r == 0x7f {
				return '_'
			}
			return r
		}, strings.ToValidUTF8(strings.TrimSpace(label), "_"))
		if strings.HasPrefix(clean, ".") { // ., .., and what would be hidden
			clean = "_" + clean[1:]
		}
		for len(clean) > 200 { // a file system's 255 bytes, with room for a number
			clean = strings.ToValidUTF8(clean[:200], "")
		}
		name := clean
		for n := 2; taken[name]; n++ {
			name = numbered(clean, "", n)
		}
		names[label], taken[name] = name, true
	}
	return names
}

func numbered(stem, ext string, n int) string { return stem + " (" + strconv.Itoa(n) + ")" + ext }

// sorter puts images into directories.
type sorter struct {
	copies, dry bool
	taken       map[string]string // what was put, or with dry would have been: the source of each path
	made, there int
}

// place puts the image at path into dir and gives its path there. It takes the first name that is
// free: NAME.EXT, NAME (2).EXT, ... One that is there already, from an earlier run, stays.
func (s *sorter) place(path, dir string) (string, error) {
	source, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if !s.dry {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	base := filepath.Base(path)
	ext := filepath.Ext(base)
	for n := 1; ; n++ {
		to := filepath.Join(dir, base)
		if n > 1 {
			to = filepath.Join(dir, numbered(strings.TrimSuffix(base, ext), ext, n))
		}
		if from, ok := s.taken[to]; ok {
			if from == source {
				return to, nil // the image was given twice
			}
			continue
		}
		switch err := s.put(source, to); {
		case err == nil:
			s.made++
		case !errors.Is(err, fs.ErrExist):
			return "", err
		case s.same(source, to):
			s.there++
		default:
			continue
		}
		s.taken[to] = source
		return to, nil
	}
}

// put makes the link or the copy. fs.ErrExist is inside the error for a name that is not free: the
// system decides, so that two programs at once lose nothing.
func (s *sorter) put(source, to string) error {
	if s.dry {
		if _, err := os.Lstat(to); err == nil {
			return fs.ErrExist
		}
		return nil
	}
	if !s.copies {
		return os.Symlink(source, to)
	}
	if _, err := os.Lstat(to); err == nil {
		return fs.ErrExist // before the bytes are copied for nothing
	}
	return copyFile(source, to)
}

// same reports whether to is what an earlier run made of source.
func (s *sorter) same(source, to string) bool {
	if !s.copies {
		target, err := os.Readlink(to)
		return err == nil && target == source
	}
	a, errA := os.Stat(source)
	b, errB := os.Lstat(to)
	if errA != nil || errB != nil || !b.Mode().IsRegular() || a.Size() != b.Size() {
		return false
	}
	x, errX := os.ReadFile(source)
	y, errY := os.ReadFile(to)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// copyFile copies under a temporary name, which then becomes to unless to is there.
func copyFile(source, to string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), ".goclip-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, in)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chtimes(tmp.Name(), info.ModTime(), info.ModTime())
	}
	if err != nil {
		return err
	}
	err = os.Link(tmp.Name(), to) // fails where to is there; a rename would not
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(to); err == nil { // a file system without hard links
		return fs.ErrExist
	}
	return os.Rename(tmp.Name(), to)
}
