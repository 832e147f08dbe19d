package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/serve"
)

// shelf is an index as the server asks it.
type shelf struct {
	*index.Index
	dir, root   string // root is the directory around it; "" where it lies elsewhere
	name, model string
	engine      index.Engine

	writing sync.Mutex   // one change of it at a time
	count   atomic.Int64 // images, as they were counted lately
	counted atomic.Int64 // when, in nanoseconds since 1970
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
	ix, err := openIndex(dir, c.Engine)
	if err != nil {
		return nil, err
	}
	s := &shelf{Index: ix, dir: dir, name: indexName(dir), engine: c.Engine}
	if abs, err := filepath.Abs(dir); err == nil && filepath.Base(abs) == index.DirName {
		s.root = filepath.Dir(abs)
	}
	info, err := s.Info(ctx)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("--index %s: %w", dir, err)
	}
	if s.root == "" && (c.Watch || c.AllowEdit) {
		s.Close()
		return nil, fmt.Errorf("--index %s: --watch and --allow-edit need an index that lies in its directory, as %s does", dir, filepath.Join("photos", index.DirName))
	}
	s.count.Store(int64(info.Pictures))
	s.counted.Store(time.Now().UnixNano())
	for _, m := range list {
		path, _ := filepath.Abs(m.flags.Model) // of a directory the index knows the whole path
		if len(list) == 1 || m.flags.Model == info.Model.Name || path == info.Model.Name {
			m.known, m.index, m.Preload = &info.Model, dir, true
			s.model = m.Name
			return s, nil
		}
	}
	s.Close()
	return nil, fmt.Errorf("--index %s was made with the model %s, which no --model names", dir, info.Model.Name)
}

func (all shelves) close() {
	for _, s := range all {
		s.Index.Close()
	}
}

// indexed are the shelves as the server takes them.
func (c *serveCmd) indexed(all shelves) (list []serve.Indexed) {
	for _, s := range all {
		ix := serve.Index(s)
		if c.AllowEdit {
			ix = editable{s}
		}
		list = append(list, serve.Indexed{Name: s.name, Model: s.model, Index: ix})
	}
	return list
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
	found, err := s.Index.Search(ctx, row, k, index.Filter{Folder: f.Folder, Since: f.Since, Until: f.Until, MinSize: f.MinSize, MaxSize: f.MaxSize})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	hits := make([]serve.Hit, len(found[0]))
	for i, h := range found[0] {
		hits[i] = serve.Hit{Path: h.Path, Score: float32(h.Score)}
	}
	return hits, nil
}

// countAfter is how old the count of an index may be: counting reads the whole index, and probes of
// health ask again and again.
const countAfter = 30 * time.Second

// Len is the latest count, and has another made when it is old.
func (s *shelf) Len() int {
	last, now := s.counted.Load(), time.Now().UnixNano()
	if now-last > int64(countAfter) && s.counted.CompareAndSwap(last, now) {
		go func() {
			if info, err := s.Info(context.Background()); err == nil { // else it stays as it was
				s.count.Store(int64(info.Pictures))
			}
		}()
	}
	return int(s.count.Load())
}
