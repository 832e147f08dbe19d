package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
)

// records are the files that a run writes beside its checkpoints.
type records struct {
	dir     string
	out     *os.File // out.log
	metrics *os.File // metrics.jsonl
	results *os.File // results.jsonl
	steps   []int
	losses  []float64
	last    Step

	before    map[string]float64 // the evaluation before the first step
	evaluated int                // the step of the last evaluation; -1 before there is one
}

// openRecords opens LOGS/NAME's files and, in a resumed run, drops what they say about steps after the checkpoint.
func openRecords(dir string, o Options, step int) (r *records, err error) {
	r = &records{dir: dir, evaluated: -1}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("train: %w", err), r.close())
		}
	}()
	if err := os.WriteFile(filepath.Join(dir, "params.txt"), params(o), 0o644); err != nil {
		return r, err
	}
	flags := os.O_CREATE | os.O_RDWR | os.O_APPEND
	if r.out, err = os.OpenFile(filepath.Join(dir, "out.log"), flags, 0o644); err != nil {
		return r, err
	}
	if r.metrics, err = os.OpenFile(filepath.Join(dir, "metrics.jsonl"), flags, 0o644); err != nil {
		return r, err
	}
	if r.results, err = os.OpenFile(filepath.Join(dir, "results.jsonl"), flags, 0o644); err != nil {
		return r, err
	}
	err = truncateAfter(r.results, step, func(line []byte) {
		var metrics map[string]float64
		if json.Unmarshal(line, &metrics) == nil {
			r.noteResult(metrics)
		}
	})
	if err != nil {
		return r, err
	}
	return r, truncateAfter(r.metrics, step, func(line []byte) {
		var s Step
		if json.Unmarshal(line, &s) == nil {
			r.note(s)
		}
	})
}

// truncateAfter cuts f before its first line of a later step, or that is no whole line.
func truncateAfter(f *os.File, step int, keep func(line []byte)) error {
	in := bufio.NewReader(f)
	size := int64(0)
	for {
		line, err := in.ReadBytes('\n')
		var s struct {
			Step float64 `json:"step"`
		}
		if err != nil || json.Unmarshal(line, &s) != nil || int(s.Step) > step {
			return f.Truncate(size)
		}
		keep(line)
		size += int64(len(line))
	}
}

// params is params.txt: each option under its flag's name, as open_clip writes it.
func params(o Options) []byte {
	var b bytes.Buffer
	v := reflect.ValueOf(o)
	for i := range v.NumField() {
		fmt.Fprintf(&b, "%s: %v\n", v.Type().Field(i).Tag.Get("name"), v.Field(i).Interface())
	}
	return b.Bytes()
}

func (r *records) note(s Step) {
	r.last = s
	if finite(s.Loss) {
		r.steps, r.losses = append(r.steps, s.Step), append(r.losses, s.Loss)
	}
}

func (r *records) step(s Step) error {
	r.note(s)
	return line(r.metrics, s)
}

func (r *records) noteResult(metrics map[string]float64) {
	r.evaluated = int(metrics["step"])
	if r.evaluated == 0 {
		r.before = metrics
	}
}

func (r *records) result(metrics map[string]float64) error {
	r.noteResult(metrics)
	return line(r.results, metrics)
}

func line(f *os.File, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = f.Write(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

func (r *records) plot(chance float64) error {
	if len(r.steps) == 0 {
		return nil
	}
	return PlotLoss(filepath.Join(r.dir, "loss.png"), r.steps, r.losses, chance)
}

func (r *records) close() error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, f := range []*os.File{r.out, r.metrics, r.results} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
