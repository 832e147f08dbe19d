package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

// source is a picture that is to be encoded: a name for it, and its file's bytes, which are asked for once, in any goroutine.
type source struct {
	path  string
	bytes func(ctx context.Context) ([]byte, error)
}

// fromFiles are the pictures at paths.
func fromFiles(paths []string) iter.Seq[source] { return pictures(pathList(paths)) }

// picture is one picture's features, or why there are none.
type picture struct {
	path          string
	width, height int       // of the file's picture
	row           []float32 // (E), L2-normalised unless raw
	err           error
}

// eachPicture encodes pictures, in order, in batches: goroutines decode ahead, straight into the batch, and this one runs the
// model. Memory holds four batches, however many pictures there are. It ends early when ctx does.
func eachPicture(ctx context.Context, m *clip.Model, sources iter.Seq[source], batch int, raw bool, yield func(picture) error) error {
	transform, err := m.Transform()
	if err != nil {
		return err
	}
	length := transform.Len()
	// One batch is in the model's hands, two wait in slots, and with them a fourth begins.
	var batches [4][]float32 // of (batch, 3, H, W)
	room := func(i int) []float32 {
		b := &batches[i/batch%len(batches)]
		if *b == nil {
			*b = make([]float32, batch*length)
		}
		return (*b)[i%batch*length:][:length]
	}
	stop := make(chan struct{})
	defer close(stop)
	slots := make(chan chan picture, 2*batch)
	go func() {
		defer close(slots)
		busy := make(chan struct{}, runtime.GOMAXPROCS(0))
		i := 0
		for s := range sources {
			slot := make(chan picture, 1)
			select {
			case slots <- slot:
			case <-stop:
				return
			}
			pixels := room(i)
			i++
			busy <- struct{}{}
			go func() {
				defer func() { <-busy }()
				d := picture{path: s.path}
				var data []byte
				if data, d.err = s.bytes(ctx); d.err == nil {
					d.width, d.height, d.err = transform.Sized(ctx, pixels, data, s.path)
				}
				slot <- d
			}()
		}
	}()
	var waiting []picture
	flushed := 0
	flush := func() error {
		pixels, n := batches[flushed%len(batches)], 0
		flushed++
		for i, d := range waiting {
			if d.err != nil {
				continue
			}
			if n < i { // there is a gap where a picture could not be read
				copy(pixels[n*length:][:length], pixels[i*length:])
			}
			n++
		}
		var rows []float32
		if n > 0 {
			if rows, err = encodeImages(m, pixels[:n*length], n, raw); err != nil {
				return err
			}
		}
		width := m.Config.EmbedDim
		for _, d := range waiting {
			if d.err == nil {
				d.row, rows = rows[:width:width], rows[width:]
			}
			if err := yield(d); err != nil {
				return err
			}
		}
		waiting = waiting[:0]
		return nil
	}
	for slot := range slots {
		d := <-slot
		if err := ctx.Err(); err != nil {
			return err
		}
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

// textFeatures encodes texts in batches. tooLong is told of those that are cut at the context length.
func textFeatures(ctx context.Context, m *clip.Model, texts []string, batch int, raw bool, tooLong func(text string)) ([]float32, error) {
	rows := make([]float32, 0, len(texts)*m.Config.EmbedDim)
	for part := range slices.Chunk(texts, batch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ids, cut, err := m.Tokenize(ctx, part...)
		if err != nil {
			return nil, err
		}
		for i, text := range part {
			if cut[i] {
				tooLong(text)
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

// warnCut tells of each text that is cut.
func warnCut(m *clip.Model, errs io.Writer) func(text string) {
	return func(text string) {
		fmt.Fprintf(errs, "infer: the text %q is longer than the model's %d tokens: its end is cut off\n", text, m.ContextLength())
	}
}

func encodeTexts(m *clip.Model, ids []int64, n int, raw bool) (rows []float32, err error) {
	if !raw {
		return m.TextFeatures(ids, n)
	}
	err = torch.NoGrad(func(s *torch.Scope) {
		x := torch.FromSlice(s, ids, n, m.ContextLength())
		rows = torch.ToSlice[float32](m.EncodeText(x).To(torch.CPU, torch.Float32))
	})
	return rows, err
}
