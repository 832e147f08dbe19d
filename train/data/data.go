// Package data reads pictures with captions, from CSV files and webdataset tar shards, and labelled ones, from a folder
// for each class, as deterministic batches.
//
// A [Dataset] is an index of samples that is made up front: for a tar that is each member's offset, so that an epoch is
// one seeded permutation of all samples (better mixed than open_clip's shard and buffer shuffles) and any batch of any
// epoch can be made again. A [Loader] decodes ahead in goroutines; what it delivers depends on the seed alone, never on
// the number of workers. Nothing here touches libtorch.
package data

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Dataset is an indexed collection of pictures with captions, safe for concurrent use.
type Dataset interface {
	Len() int
	Key(i int) string // names a sample in messages: a path, or SHARD:KEY
	Caption(i int) string
	Image(i int) ([]byte, error) // a picture file's bytes
}

// CSVOptions are open_clip's flags for CSV files.
type CSVOptions struct {
	ImageKey   string // --csv-img-key
	CaptionKey string // --csv-caption-key
	Separator  string // --csv-separator
}

// Open opens the data that spec names. kind is open_clip's --dataset-type: "csv", "webdataset" or "auto", which goes by
// the name's extension.
func Open(spec, kind string, csv CSVOptions) (Dataset, error) {
	if kind == "auto" {
		switch ext := filepath.Ext(strings.TrimRight(spec, "}'\"")); ext {
		case ".csv", ".tsv":
			kind = "csv"
		case ".tar":
			kind = "webdataset"
		default:
			return nil, fmt.Errorf("data: %s: the extension %q tells neither csv nor webdataset; give --dataset-type", spec, ext)
		}
	}
	switch kind {
	case "csv":
		return OpenCSV(spec, csv)
	case "webdataset":
		return OpenTars(spec)
	default:
		return nil, fmt.Errorf("data: --dataset-type %q is none of auto, csv, webdataset", kind)
	}
}

// expand turns "a-{00..02}.tar::b/*.tar" into the files it means, in order.
func expand(spec string) ([]string, error) {
	var files []string
	for _, part := range strings.Split(spec, "::") {
		braced, err := braces(part)
		if err != nil {
			return nil, err
		}
		for _, pattern := range braced {
			if !strings.ContainsAny(pattern, "*?[") {
				files = append(files, pattern)
				continue
			}
			found, err := filepath.Glob(pattern)
			if err != nil || len(found) == 0 {
				return nil, fmt.Errorf("data: no file matches %s", pattern)
			}
			files = append(files, found...)
		}
	}
	return files, nil
}

// braces expands the first {00..12} or {a,b} of s and then the rest.
func braces(s string) ([]string, error) {
	open := strings.IndexByte(s, '{')
	if open < 0 {
		return []string{s}, nil
	}
	length := strings.IndexByte(s[open:], '}')
	if length < 0 {
		return nil, fmt.Errorf("data: %s: a brace is not closed", s)
	}
	inner, rest := s[open+1:open+length], s[open+length+1:]
	choices := strings.Split(inner, ",")
	if from, to, ranged := strings.Cut(inner, ".."); ranged {
		var a, b int
		if _, err := fmt.Sscanf(from+" "+to, "%d %d", &a, &b); err != nil || a > b || b-a > 1<<20 {
			return nil, fmt.Errorf("data: %s: {%s} is no range such as {00000..00012}", s, inner)
		}
		choices = nil
		for i := a; i <= b; i++ {
			choices = append(choices, fmt.Sprintf("%0*d", len(from), i))
		}
	}
	tails, err := braces(rest)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range choices {
		for _, tail := range tails {
			out = append(out, s[:open]+c+tail)
		}
	}
	return out, nil
}

// file reads n bytes at off.
func file(path string, off, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, off)
	return b, err
}
