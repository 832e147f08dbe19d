package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/serve"
)

// settleTime is how long a folder must be quiet before it is indexed: a file is written in pieces.
const settleTime = 2 * time.Second

// An update that failed is tried again after retryTime, then after twice that, up to maxRetryTime.
const (
	retryTime    = 5 * time.Second
	maxRetryTime = 5 * time.Minute
)

// watch keeps an index up to date with its directory until ctx ends.
func (s *shelf) watch(ctx context.Context, server *serve.Server, errs io.Writer) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	if err := watchBelow(w, s.root); err != nil {
		return errors.Join(err, w.Close())
	}
	go func() {
		defer w.Close()
		told := "" // of what goes wrong again and again, once
		tell := func(err error) {
			if text := message(fmt.Errorf("--watch: %s: %w", s.dir, err)); text != told {
				told = text
				fmt.Fprintln(errs, text)
			}
		}
		changed := map[string]bool{s.root: true} // before
		quiet, retry := time.NewTimer(0), retryTime
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-w.Events:
				if !s.watched(e.Name) || e.Op == fsnotify.Chmod {
					continue
				}
				if e.Has(fsnotify.Create) {
					if err := watchBelow(w, e.Name); err != nil { // of a directory
						tell(err)
					}
				}
				changed[filepath.Dir(e.Name)] = true
				quiet.Reset(settleTime)
			case err := <-w.Errors: // events were lost
				tell(err)
				changed[s.root] = true
				quiet.Reset(settleTime)
			case <-quiet.C:
				if len(changed) == 0 {
					continue
				}
				switch err := s.now().update(ctx, server, s.outermost(changed), errs); {
				case err == nil:
					clear(changed)
					told, retry = "", retryTime
				case ctx.Err() == nil: // as while another process writes the index
					tell(err)
					quiet.Reset(retry)
					retry = min(2*retry, maxRetryTime)
				}
			}
		}
	}()
	return nil
}

// watched is whether infer index looks at a path: not below a hidden or excluded directory.
func (s *shelf) watched(path string) bool {
	rel, err := filepath.Rel(s.root, path)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(strings.Split(rel, "/"), func(part string) bool { return skipped(part) })
}

func skipped(name string) bool {
	return strings.HasPrefix(name, ".") && name != "." && name != ".." || slices.Contains(index.Excluded, name)
}

// watchBelow watches a directory and those below it.
func watchBelow(w *fsnotify.Watcher, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir
		case !d.IsDir():
			return nil
		case path != dir && skipped(d.Name()):
			return fs.SkipDir
		}
		err = w.Add(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it was removed meanwhile
			return fs.SkipDir
		case errors.Is(err, syscall.ENOSPC): // inotify's word for its limit
			return fmt.Errorf("%s: the system watches no more directories: raise fs.inotify.max_user_watches (sysctl)", path)
		}
		return err
	})
}

// outermost are the directories that are in none of the others, as they are now: one that has gone
// is looked for from the one around it.
func (s *shelf) outermost(dirs map[string]bool) (list []string) {
	for dir := range dirs {
		for dir != s.root && !isDir(dir) {
			dir = filepath.Dir(dir)
		}
		list = append(list, dir)
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(dir string) bool {
		return slices.ContainsFunc(list, func(other string) bool { return other != dir && strings.HasPrefix(dir+"/", other+"/") })
	})
}

// update brings the index up to date with some directories.
func (s *shelf) update(ctx context.Context, server *serve.Server, dirs []string, errs io.Writer) error {
	err := s.write(ctx, func() error {
		return server.Use(ctx, s.model, func(m *clip.Model) error {
			r, err := index.Update(ctx, s.dir, m, &index.UpdateOptions{Paths: dirs, Engine: s.engine})
			if r.Added+r.Changed+r.Removed > 0 {
				fmt.Fprintf(errs, "infer: %s: %s\n", s.dir, summary(r))
				s.counted.Store(0)
			}
			return err
		})
	})
	if err = s.moved(ctx, err); errors.Is(err, index.ErrSwitched) {
		return s.now().update(ctx, server, dirs, errs)
	}
	return err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
