package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

type embedCmd struct {
	modelFlags
	Images    []string `help:"Pictures." sep:"none" placeholder:"PATH"`
	ImageList string   `help:"File with a picture's path per line, or - for stdin." placeholder:"FILE"`
	Texts     string   `help:"File with a text per line, or - for stdin." placeholder:"FILE"`
	Out       string   `help:"Directory for the files." required:"" placeholder:"DIR"`
	Raw       bool     `help:"Features as the towers give them, not L2-normalised."`
	Paths     []string `arg:"" optional:"" help:"More pictures."`
}

func (c *embedCmd) Run(io *streams) error {
	images := append(c.Images, c.Paths...)
	if c.ImageList == "-" && c.Texts == "-" {
		return usageError("embed: --image-list and --texts cannot both be stdin")
	}
	if c.ImageList != "" {
		list, err := readLines("--image-list", c.ImageList, io.in)
		if err != nil {
			return err
		}
		images = append(images, list...)
	}
	if len(images) == 0 && c.Texts == "" {
		return usageError("embed: nothing to embed: give --images, --image-list or --texts")
	}
	m, err := c.open()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	if c.Texts != "" {
		texts, err := readLines("--texts", c.Texts, io.in)
		if err != nil {
			return err
		}
		rows, err := textFeatures(m, texts, c.BatchSize, c.Raw, io.err)
		if err != nil {
			return err
		}
		npy := newNpy(filepath.Join(c.Out, "text_features.npy"), m.Config.EmbedDim)
		list := newLines(filepath.Join(c.Out, "texts.jsonl"))
		for i, text := range texts {
			npy.row(rows[i*m.Config.EmbedDim : (i+1)*m.Config.EmbedDim])
			list.add(map[string]any{"row": i, "text": text})
		}
		if err := commit(npy, list); err != nil {
			return err
		}
	}
	if len(images) == 0 {
		return nil
	}
	npy := newNpy(filepath.Join(c.Out, "image_features.npy"), m.Config.EmbedDim)
	list, errs := newLines(filepath.Join(c.Out, "images.jsonl")), newLines(filepath.Join(c.Out, "errors.jsonl"))
	row, failed := 0, 0
	err = eachPicture(m, feed(images), c.BatchSize, c.Raw, func(p picture) error {
		if p.err != nil {
			failed++
			errs.add(map[string]any{"path": p.path, "error": p.err.Error()})
			fmt.Fprintln(io.err, message(p.err))
			return errs.err
		}
		npy.row(p.row)
		list.add(map[string]any{"row": row, "path": p.path})
		row++
		return npy.err
	})
	if err != nil {
		npy.discard()
		list.discard()
		errs.discard()
		return err
	}
	if err := commit(npy, list, errs); err != nil {
		return err
	}
	if failed > 0 {
		return errReported
	}
	return nil
}

// output is a file that appears under its name only when it is whole.
type output struct {
	path string
	f    *os.File
	w    *bufio.Writer
	err  error
}

func newOutput(path string) *output {
	o := &output{path: path}
	o.f, o.err = os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if o.err == nil {
		o.w = bufio.NewWriterSize(o.f, 1<<16)
	}
	return o
}

func (o *output) write(p []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(p)
	}
}

func (o *output) discard() {
	if o.f != nil {
		o.f.Close()
		os.Remove(o.f.Name())
	}
}

func (o *output) commit() error {
	if o.err == nil {
		o.err = o.w.Flush()
	}
	if o.err == nil {
		o.err = o.f.Chmod(0o644)
	}
	if o.err == nil {
		o.err = o.f.Close()
	}
	if o.err == nil {
		o.err = os.Rename(o.f.Name(), o.path)
	}
	if o.err != nil {
		o.discard()
		return fmt.Errorf("%s was not written: %w", o.path, o.err)
	}
	return nil
}

type committer interface {
	commit() error
	discard()
}

// commit gives each file its name, and none of those after a failure.
func commit(files ...committer) error {
	for i, f := range files {
		if err := f.commit(); err != nil {
			for _, rest := range files[i+1:] {
				rest.discard()
			}
			return err
		}
	}
	return nil
}

// lines is a .jsonl file.
type lines struct{ *output }

func newLines(path string) lines { return lines{newOutput(path)} }

func (l lines) add(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		l.err = err
	}
	l.write(append(text, '\n'))
}
