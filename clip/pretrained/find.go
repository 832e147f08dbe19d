package pretrained

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Options say how a file is found. The zero value is what commands want.
type Options struct {
	Cache   string   // directory of the cache, instead of $GOCLIP_CACHE
	Offline bool     // never touch the network, as GOCLIP_OFFLINE=1
	Formats []string // the endings that the caller reads (".safetensors"); nil: all that are published

	Progress func(Progress)       // called from Find's goroutine for each piece that arrives
	Log      func(message string) // told of waits, retries and damaged files, a sentence each

	MaxBytes int64         // largest file that is taken; 16 GiB
	Stall    time.Duration // longest time without a byte, from connecting to the end; 30 s
	Retries  int           // tries in a row that bring nothing before Find gives up; 5
	Backoff  time.Duration // wait before the second try, doubled up to 30 s; 1 s
}

// Progress tells how far a download is.
type Progress struct {
	File  string // its name
	Host  string // that sends it
	Done  int64  // bytes on this disk, those of earlier runs too
	Total int64  // bytes; -1 where the server does not say
}

// File is a file on this disk whose bytes were checked.
type File struct {
	Entry         // what is published of it; empty for Hub
	Path   string // absolute
	Size   int64  // bytes
	Sum    string // SHA-256, 64 digits
	Origin Origin
}

// Origin is where a file was found.
type Origin string

// The places that Find looks in.
const (
	FromCache    Origin = "goclip's cache"
	FromHubCache Origin = "the Hugging Face cache"
	FromCLIP     Origin = "openai/CLIP's cache"
	FromNetwork  Origin = "the network"
)

// Find returns the file with the published weights of a model and tag, from this machine or, if need
// be, from the network; Lookup says how the two are spelled. A cancelled ctx leaves a part that the
// next call continues.
func Find(ctx context.Context, model, tag string, o Options) (File, error) {
	e, err := Lookup(model, tag)
	if err != nil {
		return File{}, err
	}
	file, err := newFinder(o).findOne(ctx, e.Model+" "+e.Tag, e.candidates())
	file.Entry = e
	return file, err
}

// Hub returns one file of a repository on the Hugging Face hub ("roberta-base", "ORG/NAME@REVISION"),
// in the same manner. In goclip's cache it lies as huggingface_hub would have it. fs.ErrNotExist
// and ErrNotFound are inside the error for a file that the hub does not have.
func Hub(ctx context.Context, repo, file string, o Options) (File, error) {
	name, revision, err := splitRepo(repo)
	if err != nil {
		return File{}, err
	}
	if !isFileName(file) {
		return File{}, fmt.Errorf("pretrained: %q is not a file of a repository", file)
	}
	return newFinder(o).findOne(ctx, repo+"/"+file, []candidate{{file: file, repo: name, rev: revision}})
}

func isFileName(s string) bool {
	return fs.ValidPath(s) && s != "." && !strings.ContainsAny(s, "\\?#%")
}

// finder is one search.
type finder struct {
	Options
	dirs
}

func newFinder(o Options) *finder {
	f := &finder{Options: o, dirs: findDirs(o.Cache)}
	f.MaxBytes = cmp.Or(o.MaxBytes, 16<<30)
	f.Stall = cmp.Or(o.Stall, 30*time.Second)
	f.Retries = cmp.Or(o.Retries, 5)
	f.Backoff = cmp.Or(o.Backoff, time.Second)
	if o.Progress == nil {
		f.Progress = func(Progress) {}
	}
	if o.Log == nil {
		f.Log = func(string) {}
	}
	return f
}

// findOne finds the first of the candidates that the caller reads.
func (f *finder) findOne(ctx context.Context, what string, all []candidate) (File, error) {
	wanted := slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return !f.reads(c.file) })
	if len(wanted) == 0 {
		var names []string
		for _, c := range all {
			names = append(names, c.file)
		}
		return File{}, fmt.Errorf("pretrained: %s is published as %s only, and the caller reads %s", what, strings.Join(names, " and "), strings.Join(f.Formats, ", "))
	}
	file, err := f.find(ctx, what, wanted)
	if err != nil {
		return File{}, fmt.Errorf("pretrained: %s: %w", what, err)
	}
	return file, nil
}

// find looks on this machine, then on the network.
func (f *finder) find(ctx context.Context, what string, wanted []candidate) (File, error) {
	var damaged []error
	for _, p := range f.places(wanted) {
		file, err := f.check(ctx, p)
		switch {
		case err == nil:
			return file, nil
		case ctx.Err() != nil:
			return File{}, ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
		default:
			damaged = append(damaged, err)
			f.Log(err.Error())
		}
	}
	if err := f.allowed(func() string { return f.byHand(wanted[0]) }, damaged); err != nil {
		return File{}, err
	}
	file, err := f.download(ctx, wanted)
	return file, f.suggest(ctx, err, func() string { return f.byHand(wanted[0]) })
}

// reads reports whether the caller reads files with this ending.
func (f *finder) reads(file string) bool {
	return f.Formats == nil || slices.Contains(f.Formats, path.Ext(strings.TrimSuffix(file, indexEnding)))
}

// allowed is nil if something may be fetched and kept. byHand says what to do otherwise.
func (f *finder) allowed(byHand func() string, damaged []error) error {
	if f.cache == "" {
		return errors.New("there is no directory for the cache: set GOCLIP_CACHE, because neither XDG_CACHE_HOME nor HOME is set")
	}
	by := f.offline()
	if by == "" {
		return nil
	}
	err := fmt.Errorf("it is not on this machine and %w by %s: place %s", ErrOffline, by, byHand())
	for _, d := range damaged {
		err = fmt.Errorf("%w; %w", err, d)
	}
	return err
}

// suggest adds the way without this download to the error of a server that could not be reached or
// did not give a file.
func (f *finder) suggest(ctx context.Context, err error, byHand func() string) error {
	if err == nil || ctx.Err() != nil || !elsewhere(err) && !errors.Is(err, ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w; to do without the download, place %s", err, byHand())
}

// offline names what forbids the network, or nothing.
func (f *finder) offline() string {
	if f.Offline {
		return "Options.Offline"
	}
	for _, name := range []string{"GOCLIP_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		if isTrue(name) {
			return name
		}
	}
	return ""
}

// byHand says which file to bring, from where, and where to.
func (f *finder) byHand(c candidate) string {
	address := c.url
	if c.repo != "" {
		address = fmt.Sprintf("%s/%s/resolve/%s/%s", hubAddress(), c.repo, url.PathEscape(c.revision()), c.file)
	}
	return fmt.Sprintf("%s (it is at %s) as %s", c.file, address, f.own(c).path)
}

// The sentinels that errors.Is finds in this package's errors.
var (
	ErrNotFound = errors.New("not found")                // no such model, tag, repository, revision or file
	ErrOffline  = errors.New("the network is forbidden") // a file is not on this machine and must not be fetched
	ErrChecksum = errors.New("wrong checksum")           // bytes are not those that were published
)

// marked is an error that is also one of the sentinels, whose words its own sentence does not need.
type marked struct {
	error
	as error
}

func (m marked) Is(target error) bool { return target == m.as }
func (m marked) Unwrap() error        { return m.error }
