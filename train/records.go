package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/internal/disk"
)

// records are the files that a run writes beside its checkpoints.
type records struct {
	dir     string
	disk    disk.FS
	out     disk.Output // out.log
	metrics disk.Output // metrics.jsonl
	results disk.Output // results.jsonl
	curve   curve
	last    Step

	before    Metrics // the evaluation before the first step
	evaluated int     // the step of the last evaluation; -1 before there is one
}

// openRecords opens a run's files and, in a resumed run, drops what metrics.jsonl and results.jsonl
// say about steps after the checkpoint. out.log tells of every sitting and loses only what a crash
// has torn.
func openRecords(fsys disk.FS, dir string, c *Config, step int) (r *records, err error) {
	r = &records{dir: dir, disk: fsys, evaluated: -1}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("train: %w", disk.Plain(err)), r.close())
		}
	}()
	err = disk.WriteFile(fsys, filepath.Join(dir, "params.txt"), func(w io.Writer) error {
		_, err := io.WriteString(w, c.params())
		return err
	})
	if err != nil {
		return r, err
	}
	if err := c.writeFiles(fsys, dir); err != nil {
		return r, err
	}
	if r.out, err = fsys.Append(filepath.Join(dir, "out.log")); err != nil {
		return r, err
	}
	if r.metrics, err = fsys.Append(filepath.Join(dir, "metrics.jsonl")); err != nil {
		return r, err
	}
	if r.results, err = fsys.Append(filepath.Join(dir, "results.jsonl")); err != nil {
		return r, err
	}
	if err := fsys.SyncDir(dir); err != nil { // a checkpoint must not outlive the names of its lines
		return r, err
	}
	if err := truncateAt(r.out, func(line []byte) bool { return bytes.IndexByte(line, 0) >= 0 }); err != nil {
		return r, err
	}
	err = truncateAt(r.results, after(step, func(line []byte) {
		var metrics Metrics
		if json.Unmarshal(line, &metrics) == nil {
			r.noteResult(metrics)
		}
	}))
	if err != nil {
		return r, err
	}
	err = truncateAt(r.metrics, after(step, func(line []byte) {
		var s Step
		if json.Unmarshal(line, &s) == nil {
			r.note(s)
		}
	}))
	for _, f := range []*disk.Output{&r.out, &r.metrics, &r.results} {
		if err == nil {
			err = inLines(f)
		}
	}
	return r, err
}

// after tells the first line of a later step, or that is none, and keep of the lines before it.
func after(step int, keep func(line []byte)) func(line []byte) bool {
	return func(line []byte) bool {
		var s struct {
			Step float64 `json:"step"`
		}
		if json.Unmarshal(line, &s) != nil || int(s.Step) > step {
			return true
		}
		keep(line)
		return false
	}
}

// truncateAt cuts f before the first line that is one too many, or that has no end.
func truncateAt(f disk.Output, tooMany func(line []byte) bool) error {
	file, err := os.Open(f.Name())
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReader(file)
	size := int64(0)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err == nil && !tooMany(line) {
			size += int64(len(line))
			continue
		}
		if len(line) == 0 {
			return nil // it ends here anyway
		}
		return f.Truncate(size)
	}
}

// sync makes safe what has been written.
func (r *records) sync() error {
	for _, f := range []disk.Output{r.out, r.metrics, r.results} {
		if f == nil {
			continue // nothing is recorded before there is a latest checkpoint
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// params is params.txt: each option under its name.
func (c *Config) params() string {
	if c.Settings != nil {
		return c.Settings.String()
	}
	return c.String()
}

// writeFiles writes the caller's own.
func (c *Config) writeFiles(fsys disk.FS, dir string) error {
	if c.Files == nil {
		return nil
	}
	files, err := c.Files()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := disk.WriteFile(fsys, filepath.Join(dir, name), func(w io.Writer) error {
			_, err := w.Write(files[name])
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *records) note(s Step) {
	r.last = s
	if finite(s.Loss) {
		r.curve.add(s)
	}
}

func (r *records) step(s Step) error {
	r.note(s)
	if r.metrics == nil { // process 0 writes, and a run with a directory
		return nil
	}
	return line(r.metrics, s)
}

func (r *records) noteResult(metrics Metrics) {
	r.evaluated = int(metrics["step"])
	r.curve.evaluated(metrics)
	if r.evaluated == 0 {
		r.before = metrics
	}
}

func (r *records) result(metrics Metrics) error {
	r.noteResult(metrics)
	if r.results == nil {
		return nil
	}
	return line(r.results, metrics)
}

func line(f disk.Output, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = f.Write(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("train: %s cannot be written: %w", f.Name(), disk.Plain(err))
	}
	return nil
}

func (r *records) plot(chance float64) error {
	if len(r.curve.losses) == 0 || r.out == nil {
		return nil
	}
	return r.curve.draw(r.disk, filepath.Join(r.dir, "loss.png"), chance)
}

func (r *records) close() error {
	var errs []error
	for _, f := range []*disk.Output{&r.out, &r.metrics, &r.results} {
		if *f != nil {
			errs = append(errs, (*f).Close())
			*f = nil
		}
	}
	return errors.Join(errs...)
}
