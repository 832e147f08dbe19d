package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kinds are the values of Options.Kind.
var Kinds = []string{"auto", "csv", "jsonl", "parquet", "webdataset", "imagefolder", "pairs", "synthetic"}

// Open opens the data that spec names: one or more sources joined by `::`, each a file or
// directory, with {00000..00012} and shell globs. Webdataset shards may also be streams: http:// and
// https:// addresses, s3:// objects, and pipe: with a command that writes one. Kind "auto" tells each source's kind by its
// extension; a directory is a folder of folders as classes, or, where a .txt stands beside an
// image, one of images with their captions. The Dataset is a [*Sources].
func Open(ctx context.Context, spec string, o *Options) (Dataset, error) {
	if ctx == nil {
		return nil, errors.New("data: the context is nil: context.Background() is one that never ends")
	}
	set, err := open(ctx, spec, o.filled())
	if err != nil {
		return nil, err
	}
	return set, nil
}

func open(ctx context.Context, spec string, o Options) (*Sources, error) {
	if o.Kind == "synthetic" {
		set, err := newSynthetic(o)
		if err != nil {
			return nil, err
		}
		return join(set), nil
	}
	all := &Sources{}
	for _, part := range strings.Split(spec, "::") {
		files, err := expand(part)
		if err != nil {
			return nil, err
		}
		before := all.Len()
		kind := o.Kind
		if kind == "auto" {
			if kind, err = KindOf(ctx, files[0]); err != nil {
				return nil, err
			}
		}
		if kind == "webdataset" {
			set, err := openTars(ctx, files, o)
			if err != nil {
				return nil, err
			}
			all.add(set)
		} else {
			for _, name := range files {
				set, err := openFile(ctx, name, kind, o)
				if err != nil {
					return nil, err
				}
				all.add(set)
			}
		}
		all.parts = append(all.parts, all.Len()-before)
	}
	return all, nil
}

func openFile(ctx context.Context, name, kind string, o Options) (Index, error) {
	switch kind {
	case "csv":
		return openTable(ctx, name, o, readCSV)
	case "jsonl":
		return openTable(ctx, name, o, readJSONL)
	case "parquet":
		return openParquet(ctx, name, o)
	case "imagefolder":
		return openClasses(ctx, name, o)
	case "pairs":
		return openPairs(ctx, name, o)
	default:
		return nil, fmt.Errorf("data: Kind %q: must be one of %s", kind, strings.Join(Kinds, ", "))
	}
}

// KindOf tells a source's kind, one of Kinds, by its name, or by what a directory holds.
func KindOf(ctx context.Context, name string) (string, error) {
	if remote(name) {
		return "webdataset", nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		pairs, err := hasPairs(ctx, name)
		if pairs {
			return "pairs", err
		}
		return "imagefolder", err
	}
	lower := strings.ToLower(strings.TrimRight(name, `'"`))
	for _, known := range []struct {
		kind string
		ends []string
	}{
		{"csv", []string{".csv", ".tsv"}}, {"jsonl", []string{".jsonl", ".ndjson"}}, {"parquet", []string{".parquet"}},
		{"webdataset", []string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"}},
	} {
		if slices.ContainsFunc(known.ends, func(end string) bool { return strings.HasSuffix(lower, end) }) {
			return known.kind, nil
		}
	}
	err := fmt.Errorf("data: %s: the extension %q tells none of csv, jsonl, parquet, webdataset", name, filepath.Ext(name))
	return "", &OptionError{"Kind", err, "give %s"}
}
