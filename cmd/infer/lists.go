package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/train/data"
)

// listImages are the images of paths, a directory being walked. Any other path stands for
// itself: one that does not exist is reported in its place. What a walk leaves out is counted in
// skipped. Of each video, frames are listed. take leaves out what it is false for; nil takes all.
func listImages(ctx context.Context, paths []string, frames framesFlag, skipped *skips, take func(path string) bool) (pictures []string, err error) {
	films := frames.Frames > 0 && preprocess.HasFFmpeg()
	film := func(path string) bool {
		if !films || preprocess.KindOf(nil, path).Name != "video" || take != nil && !take(path) {
			return false
		}
		list, err := preprocess.VideoFrames(ctx, path, frames.Frames)
		if err != nil {
			list = []string{path} // which reading it will tell of
		}
		pictures = append(pictures, list...)
		return true
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && film(path) {
			continue
		}
		if err != nil || !info.IsDir() {
			pictures = append(pictures, path)
			continue
		}
		before := len(pictures)
		for f, err := range index.Walk([]string{path}, index.Excluded) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			var left *index.Skipped
			switch {
			case errors.As(err, &left):
				if left.Kind != "video" || !film(left.Path) {
					skipped.add(left.Path, left.Kind)
				}
			case err != nil:
				skipped.problem(err)
			case take == nil || take(f.Path):
				pictures = append(pictures, f.Path)
			}
		}
		if len(pictures) == before {
			return nil, noImages(path, skipped)
		}
	}
	return pictures, nil
}

// noImages is the error of a directory in which nothing can be read.
func noImages(dir string, skipped *skips) error {
	text := quoted(dir) + " holds no image that can be read"
	if left := skipped.text(0); left != "" {
		text += ": skipped " + left
	}
	return errors.New(text)
}

// warnCut is a clip.Encoder's Cut: it tells of each text.
func warnCut(m *clip.Model, errs io.Writer) func(i int, text string) {
	return func(_ int, text string) {
		fmt.Fprintf(errs, "infer: the text %q is longer than the model's %d tokens: its end is cut off\n", text, m.ContextLength())
	}
}

// readLines reads a list of texts with one a line; "-" is stdin. Blank lines are left out and told of
// by number, but for those at the end; an empty list is an error.
func readLines(flag, name string, in io.Reader, errs io.Writer) (texts []string, err error) {
	all, err := readTexts(flag, name, in)
	if err != nil {
		return nil, err
	}
	var blank []string
	for i, line := range all {
		if strings.TrimSpace(line) == "" {
			blank = append(blank, fmt.Sprint(i+1))
			continue
		}
		if len(blank) > 0 {
			fmt.Fprintf(errs, "infer: %s %s: left out as blank: line %s\n", flag, quoted(name), strings.Join(blank, ", "))
			blank = nil
		}
		texts = append(texts, line)
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s: %s holds no line", flag, name)
	}
	return texts, nil
}

// readTexts reads every line of a file, blank ones too, in UTF-8, or in UTF-16 where the first bytes
// say so; a line ends with \n, \r\n or \r.
func readTexts(flag, name string, in io.Reader) (texts []string, err error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		defer f.Close()
		in = f
	}
	for line, err := range data.Lines(in, "") {
		var foreign *data.OptionError
		if errors.As(err, &foreign) {
			return nil, fmt.Errorf("%s: %s: %w; save it as UTF-8", flag, name, foreign.Err)
		}
		if errors.As(err, new(*fs.PathError)) { // which has the name
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", flag, name, err)
		}
		texts = append(texts, line)
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s: %s holds no line", flag, name)
	}
	return texts, nil
}

// readNames reads a list of paths, which may be any bytes: one a line or, with null, each up to a zero
// byte, as find -print0 writes them.
func readNames(flag, name string, null bool, in io.Reader) (names []string, err error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		defer f.Close()
		in = f
	}
	scanner := newScanner(in)
	if null {
		scanner.Split(func(data []byte, end bool) (int, []byte, error) {
			if i := bytes.IndexByte(data, 0); i >= 0 {
				return i + 1, data[:i], nil
			}
			if end && len(data) > 0 {
				return len(data), data, nil
			}
			return 0, nil, nil
		})
	}
	for scanner.Scan() {
		line := scanner.Text()
		if !null {
			line = strings.TrimSuffix(line, "\r")
		}
		if len(names) == 0 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line != "" {
			names = append(names, line)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", flag, scanError(name, err))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: %s holds no line", flag, name)
	}
	return names, nil
}

const longestLine = 1 << 20

func newScanner(in io.Reader) *bufio.Scanner {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, longestLine)
	return scanner
}

// scanError says a scanner's error in words.
func scanError(name string, err error) error {
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%s: a line is longer than %d bytes", name, longestLine)
	}
	return err
}
