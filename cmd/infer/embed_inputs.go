package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/train/data"
)

// dataFlags name data as train does.
type dataFlags struct {
	Data     string `help:"Tables (CSV, TSV, JSON Lines, Parquet) or webdataset shards (.tar, .tar.gz, .tar.zst). Takes ranges a-{00000..00012}.tar, globs, and sources joined by ::." placeholder:"SPEC"`
	Captions bool   `help:"Embed the captions too. Images without a caption are skipped; each caption makes a row."`
	tableFlags
}

// tableFlags say how tables and shards are read, as train's do.
type tableFlags struct {
	CSVImgKey     string `name:"csv-img-key" help:"Column, or JSON key, of image paths; in Parquet also of the images themselves." default:"filepath"`
	CSVCaptionKey string `name:"csv-caption-key" help:"Column, or JSON key, of captions." default:"title"`
	CSVSeparator  string `name:"csv-separator" help:"CSV separator. If the default does not split the header, a comma, semicolon or bar is tried." default:"\\t"`
	TextEncoding  string `name:"text-encoding" help:"Encoding of tables and caption files, such as windows-1252 or euc-kr (default: UTF-8, or UTF-16 with a byte order mark)." placeholder:"NAME"`
	ImageKey      string `help:"Extensions of a shard's images, preferred first, such as jpg;png (default: all supported)."`
	TextKey       string `help:"Extensions of a shard's captions." default:"txt"`
	JSONTextKey   string `name:"json-text-key" help:"Read captions from this key of a shard's .json members instead of --text-key."`
}

func (f *dataFlags) options() data.Options {
	o := f.tableFlags.options()
	o.CaptionEach, o.Uncaptioned = f.Captions, !f.Captions
	return o
}

func (f *tableFlags) options() data.Options {
	o := data.Options{ImageKey: f.CSVImgKey, CaptionKey: f.CSVCaptionKey, Separator: f.CSVSeparator, Encoding: f.TextEncoding,
		TarImageKeys: f.ImageKey, TarTextKeys: f.TextKey, JSONTextKey: f.JSONTextKey}
	if dir := pretrained.CacheDir(); dir != "" {
		o.Cache = filepath.Join(dir, "unpacked")
	}
	return o
}

// check finds what is wrong with the flags before anything is read.
func (f *tableFlags) check() error {
	if data.CheckSeparator(f.CSVSeparator) != nil {
		return usageError(fmt.Sprintf("--csv-separator %q is not one character, or cannot part columns", f.CSVSeparator))
	}
	return nil
}

// inputs are what a part is made of.
type inputs interface {
	Len() int
	Key(i int) string
	Captions(i int) []string
	Source(i int) clip.ImageSource
}

// listed is data as inputs; its captions may be none.
type listed struct{ *data.Sources }

func (l listed) Source(i int) clip.ImageSource {
	return preprocess.FromFunc(l.Key(i), func(ctx context.Context) ([]byte, error) {
		s, err := l.Sample(ctx, i)
		if err != nil {
			return nil, err
		}
		return s.Image.Bytes(ctx, preprocess.DefaultLimits)
	})
}

// openListed opens a table or a shard.
func openListed(ctx context.Context, name string, o data.Options) (listed, error) {
	set, err := data.Open(ctx, name, &o)
	if err != nil {
		return listed{}, inFlags(err)
	}
	return listed{set.(*data.Sources)}, nil
}

// inFlags is an error of the data that names the flag which fixes it.
func inFlags(err error) error {
	var option *data.OptionError
	if !errors.As(err, &option) {
		return err
	}
	flag, known := map[string]string{"ImageKey": "--csv-img-key", "CaptionKey": "--csv-caption-key", "Encoding": "--text-encoding", "Cache": "GOCLIP_CACHE"}[option.Option]
	switch {
	case known:
		return &data.OptionError{Option: flag, Err: option.Err, Remedy: option.Remedy}
	case option.Option == "Kind": // which no flag gives
		return option.Err
	}
	return err
}

// pathList is images by their paths.
type pathList []string

func (l pathList) Len() int                      { return len(l) }
func (l pathList) Key(i int) string              { return l[i] }
func (l pathList) Captions(i int) []string       { return nil }
func (l pathList) Source(i int) clip.ImageSource { return clip.FromFile(l[i]) }

// textList is texts, which are no image's.
type textList []string

func (l textList) Len() int                    { return len(l) }
func (l textList) Key(i int) string            { return "" }
func (l textList) Captions(i int) []string     { return l[i : i+1] }
func (l textList) Source(int) clip.ImageSource { return clip.ImageSource{} }

// stretch is n inputs of a list, from one on.
type stretch struct {
	inputs
	from, n int
}

func (s stretch) Len() int                      { return s.n }
func (s stretch) Key(i int) string              { return s.inputs.Key(s.from + i) }
func (s stretch) Captions(i int) []string       { return s.inputs.Captions(s.from + i) }
func (s stretch) Source(i int) clip.ImageSource { return s.inputs.Source(s.from + i) }

// imagesOf are the inputs' images, to be encoded.
func imagesOf(in inputs) iter.Seq[clip.ImageSource] {
	return func(yield func(clip.ImageSource) bool) {
		for i := range in.Len() {
			if !yield(in.Source(i)) {
				return
			}
		}
	}
}

// part is the inputs of one part.
type part struct {
	name string // of a shard
	n    int    // how many; -1 until it is open
	open func(ctx context.Context) (inputs, error)
}

// plan is what a run embeds, in parts that do not depend on how many processes there are. A shard
// is a part of its own, so that a process opens the shards of its own parts alone; lists and tables
// are cut.
type plan struct {
	size  int
	parts []part
	seen  hash.Hash // of the inputs' names and captions; of a shard the name, the size and the keys
}

func newPlan(size int) *plan { return &plan{size: size, seen: sha256.New()} }

// inputs is a hash that tells other inputs from these.
func (p *plan) inputs() string { return hex.EncodeToString(p.seen.Sum(nil)) }

func (p *plan) see(text string) { fmt.Fprintf(p.seen, "%d:%s", len(text), text) }

// add cuts a list into parts.
func (p *plan) add(list inputs) {
	for i := range list.Len() {
		p.see(list.Key(i))
		for _, caption := range list.Captions(i) {
			p.see(caption)
		}
		if i%p.size == 0 {
			s := stretch{list, i, min(p.size, list.Len()-i)}
			p.parts = append(p.parts, part{"", s.n, func(context.Context) (inputs, error) { return s, nil }})
		}
	}
}

// addData adds what --data names. Tables are read at once, shards when their part's turn comes.
func (p *plan) addData(ctx context.Context, f *dataFlags, errs io.Writer) error {
	o := f.options()
	if err := f.check(); err != nil {
		return err
	}
	names, err := data.Files(f.Data)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("--data: %w", err)
		}
		kind, err := data.KindOf(ctx, name)
		if err != nil {
			return inFlags(err)
		}
		if kind == "webdataset" || kind == "parquet" {
			keys := []string{o.ImageKey, o.CaptionKey, o.TarImageKeys, o.TarTextKeys, o.JSONTextKey}
			if o.Encoding != "" {
				keys = append(keys, o.Encoding)
			}
			p.see(fmt.Sprintf("%q %d %q", name, info.Size(), keys))
			p.parts = append(p.parts, part{name, -1, func(ctx context.Context) (inputs, error) { return openListed(ctx, name, o) }})
			continue
		}
		list, err := openListed(ctx, name, o)
		if err != nil {
			return err
		}
		if text := leftOut(name, list); text != "" {
			fmt.Fprintln(errs, text)
		}
		p.add(list)
	}
	return nil
}

// leftOut says how many samples of a file have not what a row needs; "" if all have.
func leftOut(name string, in inputs) string {
	set, ok := in.(listed)
	if !ok || set.LeftOut() == 0 {
		return ""
	}
	return fmt.Sprintf("infer: %s: %d without an image, or without the caption that --captions needs, are left out", name, set.LeftOut())
}
