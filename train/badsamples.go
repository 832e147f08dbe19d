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

// badFile lists the samples that could not be read, a JSON object a line, in the run's directory. There is none where
// all could be read.
const badFile = "bad_samples.jsonl"

// badSample is a line of badFile.
type badSample struct {
	Data  string `json:"data"` // the flag that named it: train-data, val-data or imagenet-val
	Key   string `json:"key"`  // a path, or SHARD:KEY
	Error string `json:"error"`
}

// badSamples is what badFile holds, of earlier sittings too.
type badSamples struct {
	known map[[2]string]bool
	told  int // of the training data, in the log
}

// noteBad adds the samples to badFile that are new since it was last called, and tells the log how many there are.
func (r *run) noteBad() error {
	sources := []struct {
		flag   string
		loader *data.Loader
	}{{"train-data", r.loader}, {"val-data", r.val}}
	if r.zeroshot != nil {
		sources = append(sources, struct {
			flag   string
			loader *data.Loader
		}{"imagenet-val", r.zeroshot.loader})
	}
	path := filepath.Join(r.dir, badFile)
	var fresh []badSample
	for _, source := range sources {
		if source.loader == nil {
			continue
		}
		bad := source.loader.Bad()
		if len(bad) > 0 && r.bad.known == nil {
			if err := r.bad.read(path); err != nil {
				return err
			}
		}
		for _, b := range bad {
			if at := [2]string{source.flag, b.Key}; !r.bad.known[at] {
				r.bad.known[at] = true
				fresh = append(fresh, badSample{source.flag, b.Key, reason(b.Err)})
			}
		}
	}
	if n := len(r.loader.Bad()); n > r.bad.told {
		r.bad.told = n
		r.logf("%d pictures could not be read so far, others took their places; %s lists them", n, path)
	}
	if len(fresh) == 0 || !r.first() {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	defer f.Close()
	for _, b := range fresh {
		if err := line(f, b); err != nil {
			return err
		}
	}
	return nil
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

// reason is an error of a sample, with the flag that moves its limit.
func reason(err error) string {
	var limit *preprocess.LimitError
	if errors.As(err, &limit) && limit.Width > 0 {
		return err.Error() + ", which --max-image-pixels sets"
	}
	return err.Error()
}
