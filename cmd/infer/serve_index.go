package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/serve"
)

// shelf is an index as the server asks it.
type shelf struct {
	*index.Index
	name, model string

	count   atomic.Int64 // images, as they were counted lately
	counted atomic.Int64 // when, in nanoseconds since 1970
}

// openIndexed opens the index and finds the model that it belongs to; nil without --index.
func (c *serveCmd) openIndexed(ctx context.Context, list []*servedModel) (*shelf, error) {
	if c.Index == "" {
		return nil, nil
	}
	ix, err := openIndex(c.Index, c.Engine)
	if err != nil {
		return nil, err
	}
	s := &shelf{Index: ix, name: indexName(c.Index)}
	info, err := s.Info(ctx)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("--index %s: %w", c.Index, err)
	}
	s.count.Store(int64(info.Pictures))
	for _, m := range list {
		path, _ := filepath.Abs(m.flags.Model) // of a directory the index knows the whole path
		if len(list) == 1 || m.flags.Model == info.Model.Name || path == info.Model.Name {
			m.known, m.Preload = &info.Model, true
			s.model = m.Name
			return s, nil
		}
	}
	s.close()
	return nil, fmt.Errorf("--index %s was made with the model %s, which no --model names", c.Index, info.Model.Name)
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

func (s *shelf) close() {
	if s != nil {
		s.Index.Close()
	}
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
