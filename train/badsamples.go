package train

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// badFile lists the samples that could not be read, a JSON object a line, in the run's directory.
// There is none where all could be read.
const badFile = "bad_samples.jsonl"

// badSample is a line of badFile.
type badSample struct {
	Data  string `json:"data"` // train-data, val-data or imagenet-val
	Key   string `json:"key"`  // a path, or SHARD:KEY
	Error string `json:"error"`
}

// badSamples is what badFile holds, of earlier sittings too.
type badSamples struct {
	known map[[2]string]bool
	told  int // of the training data, in the log
}

// source is a loader under the name that bad samples have it by.
type source struct {
	name   string
	loader *data.Loader
}

// sources are the loaders that there are.
func (t *Trainer) sources() (list []source) {
	if t.loader != nil {
		list = append(list, source{"train-data", t.loader})
	}
	if t.val != nil {
		list = append(list, source{"val-data", t.val.Loader})
	}
	if t.zeroshot != nil {
		list = append(list, source{"imagenet-val", t.zeroshot.Loader})
	}
	return list
}

// watchData tells of bad samples when the log has a line.
func (t *Trainer) watchData(s Step) error {
	if s.Step%t.c.LogEvery != 0 && s.Step != t.total {
		return nil
	}
	return t.noteBad()
}

// noteBad adds the samples to badFile that are new since it was last called, and tells the log how
// many there are.
func (t *Trainer) noteBad() error {
	path := filepath.Join(t.dir, badFile)
	var fresh []badSample
	for _, source := range t.sources() {
		bad := source.loader.Bad()
		if len(bad) > 0 && t.watch.bad.known == nil {
			if err := t.watch.bad.read(path); err != nil {
				return err
			}
		}
		for _, b := range bad {
			if !t.watch.bad.known[[2]string{source.name, b.Key}] {
				fresh = append(fresh, badSample{source.name, b.Key, t.c.reason(b.Err)})
			}
		}
	}
	if n := len(t.loader.Bad()); n > t.watch.bad.told {
		t.watch.bad.told = n
		lists := ""
		if t.dir != "" {
			lists = "; " + path + " lists them"
		}
		t.watch.logf("%d images could not be read so far, others took their places%s", n, lists)
	}
	if len(fresh) == 0 || !t.first() || t.dir == "" {
		return nil
	}
	err := listBad(path, fresh)
	if full(err) {
		return nil // they are listed when there is room
	}
	for _, b := range fresh {
		t.watch.bad.known[[2]string{b.Data, b.Key}] = true
	}
	return err
}

// listBad appends lines to a file, all of them or none.
func listBad(path string, list []badSample) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	for _, b := range list {
		if err == nil {
			err = line(f, b)
		}
	}
	if err != nil && info != nil {
		err = errors.Join(err, f.Truncate(info.Size()))
	}
	return err
}

// read takes up what an earlier sitting listed.
func (b *badSamples) read(path string) error {
	b.known = map[[2]string]bool{}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var one badSample
		if json.Unmarshal(lines.Bytes(), &one) == nil { // a line that a crash cut is listed again
			b.known[[2]string{one.Data, one.Key}] = true
		}
	}
	return nil
}

// reason is an error of a sample, with the field that moves its limit.
func (c *Config) reason(err error) string {
	var limit *preprocess.LimitError
	if errors.As(err, &limit) && limit.Width > 0 {
		return err.Error() + c.words(", which {MaxImagePixels} sets")
	}
	return err.Error()
}
