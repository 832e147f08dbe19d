package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train/data"
)

// listPictures are the pictures of paths, a directory being walked. Any other path stands for
// itself: one that is not there is told of in its place. take leaves out what it is false for; nil
// takes all.
func listPictures(ctx context.Context, paths []string, take func(path string) bool) (pictures []string, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() {
			pictures = append(pictures, path)
			continue
		}
		before := len(pictures)
		err = data.WalkImages(ctx, path, func(picture string) error {
			if take == nil || take(picture) {
				pictures = append(pictures, picture)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(pictures) == before {
			return nil, fmt.Errorf("%s holds no picture: .jpg, .png, .webp, .gif, .bmp and .tif files are read", path)
		}
	}
	return pictures, nil
}

// warnCut is a clip.Encoder's Cut: it tells of each text.
func warnCut(m *clip.Model, errs io.Writer) func(i int, text string) {
	return func(_ int, text string) {
		fmt.Fprintf(errs, "infer: the text %q is longer than the model's %d tokens: its end is cut off\n", text, m.ContextLength())
	}
}

// readLines reads a list with an entry per line; "-" is stdin. Empty lines are left out, an empty
// list is an error.
func readLines(flag, name string, in io.Reader) ([]string, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		defer f.Close()
		in = f
	}
	var lines []string
	scanner := newScanner(in)
	for scanner.Scan() {
		if line := strings.TrimSuffix(scanner.Text(), "\r"); line != "" {
			lines = append(lines, line)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", flag, scanError(name, err))
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: %s holds no line", flag, name)
	}
	return lines, nil
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
