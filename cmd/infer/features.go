package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

// picture is one picture's features, or why there are none.
type picture struct {
	path string
	row  []float32 // (E), L2-normalised unless raw
	err  error
}

// eachPicture encodes the pictures that next yields, in order, in batches: goroutines decode ahead, and this one runs
// the model. Memory holds a few batches, however many pictures there are. It ends early when ctx does.
func eachPicture(ctx context.Context, m *clip.Model, paths <-chan string, batch int, raw bool, yield func(picture) error) error {
	transform, err := m.Transform()
	if err != nil {
		return err
	}
	type decoded struct {
		picture
		pixels []float32
	}
	stop := make(chan struct{})
	defer close(stop)
	slots := make(chan chan decoded, 2*batch)
	go func() {
		defer close(slots)
		busy := make(chan struct{}, runtime.GOMAXPROCS(0))
		for path := range paths {
			slot := make(chan decoded, 1)
			select {
			case slots <- slot:
			case <-stop:
				return
			}
			busy <- struct{}{}
			go func() {
				defer func() { <-busy }()
				d := decoded{picture{path: path}, make([]float32, transform.Len())}
				d.err = transform.File(d.pixels, path)
				slot <- d
			}()
		}
	}()
	var waiting []decoded
	var pixels []float32
	flush := func() error {
		var rows []float32
		if n := len(pixels) / transform.Len(); n > 0 {
			if rows, err = encodeImages(m, pixels, n, raw); err != nil {
				return err
			}
		}
		width := m.Config.EmbedDim
		for _, d := range waiting {
			if d.err == nil {
				d.row, rows = rows[:width:width], rows[width:]
			}
			if err := yield(d.picture); err != nil {
				return err
			}
		}
		waiting, pixels = waiting[:0], pixels[:0]
		return nil
	}
	for slot := range slots {
		d := <-slot
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.err == nil {
			pixels = append(pixels, d.pixels...)
		}
		d.pixels = nil
		waiting = append(waiting, d)
		if len(waiting) == batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func encodeImages(m *clip.Model, pixels []float32, n int, raw bool) (rows []float32, err error) {
	if !raw {
		return m.ImageFeatures(pixels, n)
	}
	size := m.Config.Vision.ImageSize
	err = torch.NoGrad(func(s *torch.Scope) {
		x := torch.FromSlice(s, pixels, n, 3, size.Height, size.Width).To(m.Device(), torch.Float32)
		rows = torch.ToSlice[float32](m.EncodeImage(x).To(torch.CPU, torch.Float32))
	})
	return rows, err
}

// textFeatures encodes texts in batches and warns of those that are cut at the context length.
func textFeatures(ctx context.Context, m *clip.Model, texts []string, batch int, raw bool, errs io.Writer) ([]float32, error) {
	rows := make([]float32, 0, len(texts)*m.Config.EmbedDim)
	for part := range slices.Chunk(texts, batch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ids, cut, err := m.Tokenize(part...)
		if err != nil {
			return nil, err
		}
		for i, text := range part {
			if cut[i] {
				fmt.Fprintf(errs, "infer: the text %q is longer than the model's %d tokens: its end is cut off\n", text, m.ContextLength())
			}
		}
		out, err := encodeTexts(m, ids, len(part), raw)
		if err != nil {
			return nil, err
		}
		rows = append(rows, out...)
	}
	return rows, nil
}

func encodeTexts(m *clip.Model, ids []int64, n int, raw bool) (rows []float32, err error) {
	if !raw {
		return m.TextFeatures(ids, n)
	}
	err = torch.NoGrad(func(s *torch.Scope) {
		x := torch.FromSlice(s, ids, n, m.ContextLength()).To(m.Device(), torch.Int64)
		rows = torch.ToSlice[float32](m.EncodeText(x).To(torch.CPU, torch.Float32))
	})
	return rows, err
}

// readLines reads a list with an entry per line; "-" is stdin. Empty lines are left out, an empty list is an error.
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

// feed is a channel of the strings.
func feed(list []string) <-chan string {
	c := make(chan string, len(list))
	for _, s := range list {
		c <- s
	}
	close(c)
	return c
}
