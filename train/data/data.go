// Package data reads pictures with captions and gives them as deterministic batches.
//
// A [Dataset] is an index of samples that is made up front: for a tar that is each member's offset, so that an epoch is
// one seeded permutation of all samples (better mixed than open_clip's shard and buffer shuffles, and indifferent to how
// many shards there are) and any batch of any epoch can be made again. What has no random access, a compressed shard or a
// Parquet file's pictures, is unpacked once (see OpenOptions.Cache). A [Loader] decodes ahead in goroutines; what it
// delivers depends on the seed alone, never on the number of workers or of processes. Nothing here touches libtorch.
package data

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Dataset is an indexed collection of pictures with captions, safe for concurrent use.
type Dataset interface {
	Len() int
	Key(i int) string            // names a sample in messages: a path, or SHARD:KEY
	Captions(i int) []string     // at least one, unless Uncaptioned; not to be changed
	Image(i int) ([]byte, error) // a picture file's bytes

	// IDs are those of sample i's picture and of its caption c: equal for the same picture, and for the same words. In a
	// folder of classes both are the class's, because every caption of a class fits each of its pictures.
	IDs(i, c int) (image, text int64)
}

// OpenOptions say how data is read. Names and meanings are open_clip's flags', where open_clip has them.
type OpenOptions struct {
	Kind string // --dataset-type: one of Kinds; "" is auto

	ImageKey   string // --csv-img-key: the column, or key, of a picture's path; in Parquet also of its bytes
	CaptionKey string // --csv-caption-key
	Separator  string // --csv-separator

	TarImageKeys string // --image-key: extensions of a shard's pictures, "jpg;png", the one to prefer first; "": all that are read
	TarTextKeys  string // --text-key: extensions of its captions; "" is txt
	JSONTextKey  string // --json-text-key: the captions are under this key of the .json members, a text or a list; "": none are

	CaptionEach  bool // every caption is a sample of its own, as open_clip has it, instead of a picture with several captions one
	CaptionLines bool // each line of a .txt is a caption, instead of the whole text one

	// Uncaptioned takes a picture without a caption as a sample as well, and a table that has no column of captions where
	// CaptionKey is open_clip's default.
	Uncaptioned bool

	// Classes gives the captions of each class of a folder of folders; nil takes the folder's name.
	Classes func(folders []string) ([][]string, error)

	Samples int    // of synthetic data
	Size    [2]int // height and width of synthetic pictures
	Cache   string // the directory for what has to be unpacked
}

// wanted is what a row must have to be a sample.
func (o *OpenOptions) wanted() string {
	if o.Uncaptioned {
		return "picture"
	}
	return "picture and a caption"
}

// Kinds are the values of --dataset-type.
var Kinds = []string{"auto", "csv", "jsonl", "parquet", "webdataset", "imagefolder", "pairs", "synthetic"}

// Open opens the data that spec names: one or more sources joined by `::`, each a file or directory, with {00000..00012}
// and shell globs. Kind "auto" tells each source's kind by its extension; a directory is a folder of folders as classes,
// or, where a .txt stands beside a picture, one of pictures with their captions.
func Open(spec string, o OpenOptions) (*Sources, error) {
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
		if kind == "" || kind == "auto" {
			if kind, err = KindOf(files[0]); err != nil {
				return nil, err
			}
		}
		if kind == "webdataset" {
			set, err := openTars(files, o)
			if err != nil {
				return nil, err
			}
			all.add(set)
		} else {
			for _, name := range files {
				set, err := openFile(name, kind, o)
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

func openFile(name, kind string, o OpenOptions) (Dataset, error) {
	switch kind {
	case "csv":
		return openTable(name, o, readCSV)
	case "jsonl":
		return openTable(name, o, readJSONL)
	case "parquet":
		return openParquet(name, o)
	case "imagefolder":
		return openClasses(name, o)
	case "pairs":
		return openPairs(name, o)
	default:
		return nil, fmt.Errorf("data: --dataset-type %q is none of %s", kind, strings.Join(Kinds, ", "))
	}
}

// KindOf tells a source's kind, one of Kinds, by its name, or by what a directory holds.
func KindOf(name string) (string, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		if hasPairs(name) {
			return "pairs", nil
		}
		return "imagefolder", nil
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
	return "", fmt.Errorf("data: %s: the extension %q tells none of csv, jsonl, parquet, webdataset; give --dataset-type", name, filepath.Ext(name))
}

// id is 64-bit FNV-1a: equal texts have equal ids on every machine, and among the 10^6 of a large batch two different
// ones share theirs with a chance of 3e-8.
func id(parts ...string) int64 {
	h := uint64(14695981039346656037)
	for _, part := range parts {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * 1099511628211
		}
		h *= 1099511628211 // a zero byte between the parts
	}
	return int64(h)
}
