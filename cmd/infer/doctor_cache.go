package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/internal/disk"
	"golang.org/x/sys/unix"
)

// cache is goclip's directory of fetched models and prompts' features.
type cache struct {
	Dir     string      `json:"dir"`
	Files   int         `json:"files"`
	Bytes   int64       `json:"bytes"`
	Free    int64       `json:"free"` // on its disk
	Largest []cacheFile `json:"largest,omitempty"`
}

type cacheFile struct {
	Path  string `json:"path"` // in the cache
	Bytes int64  `json:"bytes"`
}

const (
	largestShown = 8
	wantedFree   = 2 << 30 // ViT-L-14 with its weights in float32
)

func (d *diagnosis) checkCache(dir string) {
	d.Cache.Dir = dir
	if dir == "" {
		d.warn("there is no place for a cache, so that no model can be fetched: set GOCLIP_CACHE to a directory, or HOME")
		return
	}
	var files []cacheFile
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, p)
		files = append(files, cacheFile{name, info.Size()})
		d.Cache.Bytes += info.Size()
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.wrong("the cache cannot be read: %v: set GOCLIP_CACHE to a directory that this user may use", err)
	}
	d.Cache.Files, d.Cache.Free = len(files), disk.FreeBytes(dir)
	slices.SortFunc(files, func(a, b cacheFile) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Path, b.Path)) })
	d.Cache.Largest = files[:min(largestShown, len(files))]
	if !writable(dir) {
		d.warn("the cache %s cannot be written, so that no model can be fetched: set GOCLIP_CACHE to a directory that this user may write", dir)
	}
	if d.Cache.Free < wantedFree {
		d.warn("%s are free for the cache, and a large model takes %s: free some, or set GOCLIP_CACHE to a directory elsewhere", bytesText(d.Cache.Free), bytesText(wantedFree))
	}
	for _, f := range files {
		if strings.HasSuffix(f.Path, ".part") {
			d.warn("%s is an incomplete download: the next command that needs it resumes it, or delete %s", strings.TrimSuffix(f.Path, ".part"), filepath.Join(dir, f.Path))
		}
	}
}

// writable reports whether files can be made in dir, or in the first of those above it that exists.
// Nothing is made.
func writable(dir string) bool {
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return unix.Access(dir, unix.W_OK|unix.X_OK) == nil
		}
		dir = filepath.Dir(dir)
	}
}
