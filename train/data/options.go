package data

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Options say how [Open] reads data. The zero value is open_clip's defaults.
type Options struct {
	Kind string // one of Kinds; "" is auto

	ImageKey   string // the column, or key, of an image's path, in Parquet also of its bytes; "": filepath, or what is usual
	CaptionKey string // the column, or key, of the captions; "": title, or what is usual

	// Separator parts the columns of a CSV table. `\t` and "" are a tab, or which of , ; | parts
	// the header's columns.
	Separator string
	// Encoding of tables and captions, a name such as "windows-1252" or "euc-kr"; "" is UTF-8, or
	// UTF-16 where the first bytes say so.
	Encoding string

	TarImageKeys string // extensions of a shard's images, "jpg;png", the one to prefer first; "": all that are read
	TarTextKeys  string // extensions of its captions; "" is txt
	JSONTextKey  string // the captions are under this key of the .json members, a text or a list; "": none are

	CaptionEach  bool // every caption is a sample of its own, as open_clip has it, instead of an image with several captions one
	CaptionLines bool // each line of a .txt is a caption, instead of the whole text one

	// Uncaptioned takes an image without a caption as a sample as well, and a table that has no
	// column of captions where CaptionKey is the default.
	Uncaptioned bool

	// Classes gives the captions of each class of a folder of folders; nil takes the folder's name.
	Classes func(folders []string) ([][]string, error)

	Samples int    // of synthetic data
	Size    [2]int // height and width of synthetic images
	Cache   string // the directory for what has to be unpacked, and for streams

	Backoff time.Duration // wait before a stream that failed is tried again, doubled up to 30 s; 0 is 1 s
	Log     func(string)  // told in a sentence of each stream that is fetched; nil for silence
}

// Keys that are tried where ImageKey and CaptionKey are open_clip's defaults, filepath and title,
// and a file has no such key: Hugging Face's data sets and img2dataset write these.
var (
	imageKeys   = []string{"filepath", "image", "file_name", "image_path", "path"}
	captionKeys = []string{"title", "caption", "captions", "text"}
)

// filled has open_clip's defaults in empty fields.
func (o *Options) filled() Options {
	if o == nil {
		o = &Options{}
	}
	out := *o
	for _, field := range []struct {
		value *string
		is    string
	}{{&out.Kind, "auto"}, {&out.ImageKey, imageKeys[0]}, {&out.CaptionKey, captionKeys[0]}, {&out.Separator, `\t`}, {&out.TarTextKeys, "txt"}} {
		if *field.value == "" {
			*field.value = field.is
		}
	}
	out.Backoff = cmp.Or(out.Backoff, time.Second)
	return out
}

// candidates are the keys to look for when key is asked for.
func candidates(key string, known []string) []string {
	if key == known[0] {
		return known
	}
	return []string{key}
}

// mayLackCaptions reports whether a table without captions will do: where they are not asked for by
// their key.
func (o *Options) mayLackCaptions() bool { return o.Uncaptioned && o.CaptionKey == captionKeys[0] }

// sample is what a row must have to be one.
func (o *Options) sample() string {
	if o.Uncaptioned {
		return "an image"
	}
	return "an image and a caption"
}

// OptionError is an error that another value of an option fixes.
type OptionError struct {
	Option string // the field of Options or LoaderOptions, such as "CaptionKey"
	Err    error  // what is wrong
	Remedy string // a phrase about the option, which stands at %s: "%s names another"
}

func (e *OptionError) Error() string { return e.Named(e.Option) }

// Named returns the message for those who know the option by another name, as a command's flag.
func (e *OptionError) Named(option string) string {
	return e.Err.Error() + "; " + strings.Replace(e.Remedy, "%s", option, 1)
}

// Unwrap gives what is wrong.
func (e *OptionError) Unwrap() error { return e.Err }

// within says where err was met. An OptionError stays the outermost, so that Named is the whole
// message.
func within(place string, err error) error {
	if option, ok := err.(*OptionError); ok {
		return &OptionError{option.Option, within(place, option.Err), option.Remedy}
	}
	return fmt.Errorf("%s: %w", place, err)
}
