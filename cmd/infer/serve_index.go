package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/serve"
)

// shelf is an index as the server asks it, as long as it has the same model.
type shelf struct {
	*index.Index
	dir, root   string // root is the directory around it; "" where it lies elsewhere
	name, model string
	known       index.Model // that it had when it was opened
	engine      index.Engine
	learns      bool                                      // clients may store words
	reopen      func(ctx context.Context) (*shelf, error) // with the model that it has by then

	turning sync.Mutex            // while it is reopened
	failed  time.Time             // when that failed lately
	failure error                 // and why
	next    atomic.Pointer[shelf] // with another model, to which the index was switched; nil before

	writing chan struct{} // held by the one change of it at a time
	count   atomic.Int64  // images, as they were counted lately
	counted atomic.Int64  // when, in nanoseconds since 1970
}

// shelves are the indices of --index.
type shelves []*shelf

// openIndexed opens the indices and finds the models that they belong to.
func (c *serveCmd) openIndexed(ctx context.Context, list []*servedModel) (all shelves, err error) {
	for _, dir := range c.Index {
		s, err := c.openShelf(ctx, dir, list)
		if err == nil && slices.ContainsFunc(all, func(other *shelf) bool { return other.name == s.name }) {
			err = fmt.Errorf("--index %s: another one is called %s, too", dir, s.name)
			s.Close()
		}
		if err != nil {
			all.close()
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (c *serveCmd) openShelf(ctx context.Context, dir string, list []*servedModel) (*shelf, error) {
	s, m, known, err := c.findShelf(ctx, dir, list)
	if err == nil {
		m.known.Store(&known)
		m.index, m.Preload = dir, true
	}
	return s, err
}

// findShelf opens an index, and finds the served model that is called like its own.
func (c *serveCmd) findShelf(ctx context.Context, dir string, list []*servedModel) (*shelf, *servedModel, index.Model, error) {
	ix, err := openIndex(dir, c.Engine)
	if err != nil {
		return nil, nil, index.Model{}, err
	}
	refuse := func(err error) (*shelf, *servedModel, index.Model, error) {
		return nil, nil, index.Model{}, errors.Join(fmt.Errorf("--index %s%w", dir, err), ix.Close())
	}
	s := &shelf{Index: ix, dir: dir, name: indexName(dir), engine: c.Engine, learns: c.AllowLearn,
		writing: make(chan struct{}, 1)}
	if abs, err := filepath.Abs(dir); err == nil && filepath.Base(abs) == index.DirName {
		s.root = filepath.Dir(abs)
	}
	info, err := s.Info(ctx)
	if err != nil {
		return refuse(fmt.Errorf(": %w", err))
	}
	if s.root == "" && (c.Watch || c.AllowEdit) {
		return refuse(fmt.Errorf(": --watch and --allow-edit need an index that lies in its directory, as %s does", filepath.Join("photos", index.DirName)))
	}
	s.known = info.Model
	s.reopen = func(ctx context.Context) (*shelf, error) { return c.reopen(ctx, dir, list) }
	s.count.Store(int64(info.Images))
	s.counted.Store(time.Now().UnixNano())
	for _, m := range list {
		path, _ := filepath.Abs(m.flags.Model) // of a directory the index knows the whole path
		if len(list) == 1 || m.flags.Model == info.Model.Name || path == info.Model.Name {
			s.model = m.Name
			return s, m, info.Model, nil
		}
	}
	return refuse(fmt.Errorf(" was made with the model %s, which no --model names", info.Model.Name))
}

// reopen opens an index that was switched to another model, if that is one of those that are served.
func (c *serveCmd) reopen(ctx context.Context, dir string, list []*servedModel) (*shelf, error) {
	s, m, known, err := c.findShelf(ctx, dir, list)
	if err != nil {
		return nil, err
	}
	_, id, err := m.flags.identify(ctx, io.Discard, known.Files) // what is served already was not compared with it
	if err == nil {
		err = known.Same(id)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--index %s: %w", dir, err), s.Close())
	}
	m.known.Store(&known)
	return s, nil
}

// now is the shelf that has taken the place of s, or s.
func (s *shelf) now() *shelf {
	for next := s.next.Load(); next != nil; next = s.next.Load() {
		s = next
	}
	return s
}

// followAfter is how long a reopening that failed is not tried again: it opens the model, to compare it.
const followAfter = 10 * time.Second

// follow has now be the shelf of the model that the index was switched to. Searches that still ask
// s fail, and ask that one.
func (s *shelf) follow(ctx context.Context) error {
	s.turning.Lock()
	defer s.turning.Unlock()
	switch {
	case s.next.Load() != nil:
		return nil
	case s.failure != nil && time.Since(s.failed) < followAfter:
		return s.failure
	}
	next, err := s.reopen(ctx)
	runtime.GC() // of the model that was opened
	if err == nil {
		s.next.Store(next)
		go s.Index.Close() // when its searches have ended
	} else if ctx.Err() == nil {
		s.failed, s.failure = time.Now(), err
	}
	return err
}

// write runs f when nothing else of this server changes the index.
func (s *shelf) write(ctx context.Context, f func() error) error {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
		return f()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// moved is ErrSwitched in place of the error of a change of an index that was switched, once now is its shelf:
// nobody may have searched it since.
func (s *shelf) moved(ctx context.Context, err error) error {
	if !errors.Is(err, index.ErrModel) {
		return err
	}
	info, unread := s.Info(ctx)
	if unread != nil || s.known.Differs(info.Model) == "" {
		return err
	}
	if err := s.follow(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", s.dir, index.ErrSwitched)
}

func (all shelves) close() {
	for _, s := range all {
		s.now().Index.Close()
	}
}

// indexed are the shelves as the server takes them.
func (c *serveCmd) indexed(all shelves) (list []serve.Indexed) {
	for _, s := range all {
		list = append(list, c.present(s))
	}
	return list
}

// present is the shelf that is in the place of s, as the server takes it.
func (c *serveCmd) present(s *shelf) serve.Indexed {
	s = s.now()
	ix := serve.Indexed{Name: s.name, Model: s.model, Index: s, Current: func() serve.Indexed { return c.present(s) }}
	if c.AllowEdit {
		ix.Index = editable{s}
	}
	return ix
}

// indexName is what requests call an index: the directory that it is of.
func indexName(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = filepath.Clean(dir)
	}
	if filepath.Base(abs) == index.DirName {
		abs = filepath.Dir(abs)
	}
	return filepath.Base(abs)
}

func (s *shelf) Search(ctx context.Context, row []float32, k int, f serve.Filter) ([]serve.Hit, error) {
	found, err := s.Index.Search(ctx, row, k, filterOf(f))
	if err != nil || len(found) == 0 {
		return nil, s.switched(ctx, err)
	}
	return served(found[0]), nil
}

func filterOf(f serve.Filter) index.Filter {
	return index.Filter{Folder: f.Folder, Since: f.Since, Until: f.Until, MinSize: f.MinSize, MaxSize: f.MaxSize}
}

func served(found []index.Hit) []serve.Hit {
	hits := make([]serve.Hit, len(found))
	for i, h := range found {
		hits[i] = serve.Hit{Path: h.Path, Score: float32(h.Score)}
	}
	return hits
}

// countAfter is how old the count of an index may be: counting reads the whole index, and probes of
// health ask again and again.
const countAfter = 30 * time.Second

// Len returns the latest count, and has another made when it is old.
func (s *shelf) Len() int {
	last, now := s.counted.Load(), time.Now().UnixNano()
	if now-last > int64(countAfter) && s.counted.CompareAndSwap(last, now) {
		go func() {
			if info, err := s.Info(context.Background()); err == nil { // else it stays as it was
				s.count.Store(int64(info.Images))
			}
		}()
	}
	return int(s.count.Load())
}
