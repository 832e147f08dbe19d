package pretrained

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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

// Find gives the file with the published weights of a model and tag, from this machine or, if need be, from the
// network; Lookup says how the two are spelled. A cancelled ctx leaves a part that the next call continues.
func Find(ctx context.Context, model, tag string, o Options) (File, error) {
	e, err := Lookup(model, tag)
	if err != nil {
		return File{}, err
	}
	file, err := find(ctx, e.Model+" "+e.Tag, e.candidates(), o)
	file.Entry = e
	return file, err
}

// Hub gives one file of a repository on the Hugging Face hub ("roberta-base", "tokenizer.json"), in the same manner;
// in goclip's cache it is hub/REPO/FILE. fs.ErrNotExist is inside the error for a file that the hub does not have.
func Hub(ctx context.Context, repo, file string, o Options) (File, error) {
	if !repoName.MatchString(repo) || strings.Contains(repo, "..") {
		return File{}, fmt.Errorf("pretrained: %q is no repository of the hub; ORG/NAME is one", repo)
	}
	if !fs.ValidPath(file) || file == "." || strings.ContainsAny(file, "\\?#%") {
		return File{}, fmt.Errorf("pretrained: %q is no file of a repository", file)
	}
	c := candidate{place: path.Join("hub", repo, file), file: file, repo: repo}
	return find(ctx, repo+"/"+file, []candidate{c}, o)
}

// finder is one search.
type finder struct {
	Options
	dirs
}

func find(ctx context.Context, what string, all []candidate, o Options) (File, error) {
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
	wanted := slices.DeleteFunc(slices.Clone(all), func(c candidate) bool {
		return o.Formats != nil && !slices.Contains(o.Formats, path.Ext(c.file))
	})
	if len(wanted) == 0 {
		var names []string
		for _, c := range all {
			names = append(names, c.file)
		}
		return File{}, fmt.Errorf("pretrained: %s is published as %s only, and the caller reads %s", what, strings.Join(names, " and "), strings.Join(o.Formats, ", "))
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
	if f.cache == "" {
		return File{}, errors.New("there is no directory for the cache: set GOCLIP_CACHE, because neither XDG_CACHE_HOME nor HOME is set")
	}
	if by := f.offline(); by != "" {
		return File{}, f.offlineError(by, wanted[0], damaged)
	}
	return f.download(ctx, wanted)
}

// offline names what forbids the network, or nothing.
func (f *finder) offline() string {
	if f.Offline {
		return "the caller"
	}
	for _, name := range []string{"GOCLIP_OFFLINE", "HF_HUB_OFFLINE"} {
		switch strings.ToLower(os.Getenv(name)) { // huggingface_hub's words
		case "1", "on", "yes", "true":
			return name
		}
	}
	return ""
}

// offlineError says which file to bring, and where to.
func (f *finder) offlineError(by string, c candidate, damaged []error) error {
	address := c.url
	if c.repo != "" {
		address = publicHub + "/" + c.repo + "/resolve/main/" + c.file
	}
	err := fmt.Errorf("it is not on this machine and %w by %s: place %s (it is at %s) as %s", ErrOffline, by, c.file, address,
		filepath.Join(f.cache, filepath.FromSlash(c.place)))
	for _, d := range damaged {
		err = fmt.Errorf("%w; %w", err, d)
	}
	return err
}
