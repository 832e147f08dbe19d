package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goclip/goclip/clip/preprocess"
)

// Benchmark is a data set in the layout that CLIP_benchmark exports and reads
// (clip_benchmark/datasets/builder.py, build_wds_dataset): DIR/SPLIT/0.tar to N-1.tar and
// nshards.txt, which has the number N; in DIR classnames.txt, zeroshot_classification_templates.txt
// and dataset_type.txt. Its shards hold images with a .cls, the number of their class, or where the
// type is retrieval a .txt with a caption a line.
type Benchmark struct {
	*tars
	Templates []string // prompts with {}; nil: the data set has none, as one for retrieval

	classes  []string
	labels   []int      // of each sample; nil: they have captions
	captions [][]string // of each sample; nil: they have labels
}

// Names in the layout.
const (
	benchmarkShards    = "nshards.txt"
	benchmarkType      = "dataset_type.txt"
	benchmarkClasses   = "classnames.txt"
	benchmarkTemplates = "zeroshot_classification_templates.txt"
)

// IsBenchmark reports whether dir has files of the layout.
func IsBenchmark(dir, split string) bool {
	return slices.ContainsFunc([]string{filepath.Join(split, benchmarkShards), benchmarkType, benchmarkClasses}, func(name string) bool {
		info, err := os.Stat(filepath.Join(dir, name))
		return err == nil && info.Mode().IsRegular()
	})
}

// OpenBenchmark opens a split of a directory with the layout. Of o Cache and Encoding count.
func OpenBenchmark(ctx context.Context, dir, split string, o *Options) (*Benchmark, error) {
	files, err := benchmarkFiles(dir, split)
	if err != nil {
		return nil, err
	}
	kind := "classification"
	if lines, err := benchmarkLines(dir, benchmarkType); err == nil && len(lines) > 0 {
		kind = strings.ToLower(lines[0])
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	reading := o.filled()
	reading.TarImageKeys, reading.TarTextKeys, reading.JSONTextKey = "webp;png;jpg;jpeg", "cls", ""
	reading.CaptionEach, reading.CaptionLines, reading.Uncaptioned = false, false, false
	switch kind {
	case "retrieval":
		reading.TarTextKeys = "txt"
	case "multilabel":
		return nil, fmt.Errorf("data: %s is of the type multilabel, several classes an image; those of one class an image and of retrieval can be read", dir)
	}
	set, err := openTars(ctx, files, reading)
	if err != nil {
		return nil, err
	}
	b := &Benchmark{tars: set.(*tars)}
	if kind == "retrieval" {
		b.splitCaptions()
		return b, nil
	}
	return b, b.readClasses(dir)
}

// benchmarkFiles are the shards of a split.
func benchmarkFiles(dir, split string) ([]string, error) {
	lines, err := benchmarkLines(dir, filepath.Join(split, benchmarkShards))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, split, benchmarkShards)
	n := 0
	if len(lines) == 1 {
		n, err = strconv.Atoi(lines[0])
	}
	if err != nil || n < 1 || n > 1e6 {
		return nil, fmt.Errorf("data: %s must be the number of the split's shards, 1 or more", path)
	}
	files := make([]string, n)
	for i := range files {
		files[i] = filepath.Join(dir, split, strconv.Itoa(i)+".tar")
	}
	return files, nil
}

// benchmarkLines are the lines of a file of the layout, trimmed.
func benchmarkLines(dir, name string) ([]string, error) {
	f, size, err := preprocess.OpenRegular(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	text, err := readCaption(io.NewSectionReader(f, 0, size), "")
	if err != nil {
		return nil, within("data: "+f.Name(), err)
	}
	lines := splitLines(text)
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return lines, nil
}

// splitLines are a text's lines as Python's str.splitlines has them.
func splitLines(text string) (lines []string) {
	for text != "" {
		at := strings.IndexAny(text, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if at < 0 {
			return append(lines, text)
		}
		lines = append(lines, text[:at])
		_, size := utf8.DecodeRuneInString(text[at:])
		if strings.HasPrefix(text[at:], "\r\n") {
			size = 2
		}
		text = text[at+size:]
	}
	return lines
}

// splitCaptions makes a caption of each line.
func (b *Benchmark) splitCaptions() {
	b.captions = make([][]string, b.Len())
	for i := range b.captions {
		b.captions[i] = splitLines(b.tars.Captions(i)[0])
	}
}

// readClasses reads names, templates and the samples' labels.
func (b *Benchmark) readClasses(dir string) (err error) {
	if b.classes, err = benchmarkLines(dir, benchmarkClasses); err != nil {
		return err
	}
	for i, name := range b.classes {
		if name == "" {
			return fmt.Errorf("data: %s: line %d is empty: each line must be the name of a class", filepath.Join(dir, benchmarkClasses), i+1)
		}
	}
	templates, err := benchmarkLines(dir, benchmarkTemplates)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	format := strings.NewReplacer("{c}", "{}", "{{", "{", "}}", "}") // as str.format(c=...) takes them
	for i, template := range templates {
		template = format.Replace(template)
		if !strings.Contains(template, "{}") {
			return fmt.Errorf("data: %s: line %d has no {c} for the class's name", filepath.Join(dir, benchmarkTemplates), i+1)
		}
		b.Templates = append(b.Templates, template)
	}
	b.labels = make([]int, b.Len())
	for i := range b.labels {
		text := strings.TrimSpace(b.tars.Captions(i)[0])
		label, err := strconv.Atoi(text)
		if err != nil || label < 0 || label >= len(b.classes) {
			return fmt.Errorf("data: %s: the .cls is %q: it must be the number of a class, 0 to %d, the lines of %s", b.Key(i), bytes.ToValidUTF8([]byte(text[:min(len(text), 40)]), nil), len(b.classes)-1, benchmarkClasses)
		}
		b.labels[i] = label
	}
	return nil
}

// Labelled reports whether the images have classes; otherwise they have captions.
func (b *Benchmark) Labelled() bool { return b.labels != nil }

// Classes returns the names in classnames.txt; none for retrieval.
func (b *Benchmark) Classes() []string { return b.classes }

// Class is sample i's place in Classes.
func (b *Benchmark) Class(i int) int { return b.labels[i] }

// Captions are those of sample i, or the name of its class.
func (b *Benchmark) Captions(i int) []string {
	if b.labels != nil {
		return b.classes[b.labels[i] : b.labels[i]+1]
	}
	return b.captions[i]
}

// Sample i.
func (b *Benchmark) Sample(ctx context.Context, i int) (Sample, error) {
	s, err := b.tars.Sample(ctx, i)
	s.Texts = b.Captions(i)
	if b.labels != nil {
		s.Class = s.Texts[0]
	}
	return s, err
}
