package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// output is a file that appears under its name only when it is whole: finish writes it, rename gives it the name.
type output struct {
	path string
	f    *os.File
	w    *bufio.Writer
	err  error
}

func newOutput(path string) *output {
	o := &output{path: path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		o.err = errors.New("it is a directory")
		return o
	}
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

// failure tells what went wrong so far, without the temporary name.
func (o *output) failure() error {
	if o.err == nil {
		return nil
	}
	err := o.err
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("%s was not written: %w", o.path, err)
}

func (o *output) finish() error {
	if o.err == nil {
		o.err = o.w.Flush()
	}
	if o.err == nil {
		o.err = o.f.Chmod(0o644)
	}
	if o.err == nil {
		o.err = o.f.Close()
	}
	return o.failure()
}

func (o *output) rename() error {
	o.err = os.Rename(o.f.Name(), o.path)
	if o.err == nil {
		o.f = nil
	}
	return o.failure()
}

func (o *output) discard() {
	if o.f != nil {
		o.f.Close()
		os.Remove(o.f.Name())
	}
}

type finisher interface {
	finish() error
	rename() error
	discard()
}

// outputs are the files of one command.
type outputs []finisher

// commit finishes every file before it gives the first its name, so that a full disk leaves the former ones.
func (files outputs) commit() error {
	for _, f := range files {
		if err := f.finish(); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := f.rename(); err != nil {
			return err
		}
	}
	return nil
}

// discard removes what has no name yet.
func (files *outputs) discard() {
	for _, f := range *files {
		f.discard()
	}
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
