package serve

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// encoded is an input's features, or why there are none.
type encoded struct {
	row       []float32 // (E), L2-normalised
	tokens    int       // of a text, the start and end tokens included
	truncated bool      // a text was cut at the context length
	err       error
}

// encode runs inputs through the model, in batches with those of other requests. An input that
// cannot be read has its error in its place; the error beside is that of the request. More inputs
// than a request may have (the prompts of a classifier are made here) go in parts, of which only
// the first may find the queue full.
func (s *Server) encode(ctx context.Context, inputs []input) ([]encoded, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limits.Wait, s.late())
	defer cancel()
	out := make([]encoded, 0, len(inputs))
	for part := range slices.Chunk(inputs, s.limits.Inputs) {
		rows, err := s.encodePart(ctx, part, len(out) > 0)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return out, nil
}

func (s *Server) encodePart(ctx context.Context, inputs []input, patient bool) ([]encoded, error) {
	var held bodies
	defer held.release()
	out := make([]encoded, len(inputs))
	var jobs []*job
	var places []int
	for i := range inputs {
		j, err := s.job(ctx, &inputs[i], &out[i], &held)
		if err != nil {
			out[i].err = err
		} else if j != nil {
			jobs, places = append(jobs, j), append(places, i)
		}
	}
	for {
		p := s.admission.enter(len(jobs))
		if p == nil {
			break
		}
		if !patient {
			return nil, p
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	g, err := s.batcher.submit(ctx, jobs)
	if err != nil {
		return nil, err
	}
	for n, i := range places {
		out[i].row, out[i].err = g.rows[n], g.errs[n]
		if in := &inputs[i]; in.text != nil && out[i].err == nil {
			s.cache.put(*in.text, out[i])
		}
	}
	for i := range out {
		if err := out[i].err; err != nil && !errors.As(err, new(*problem)) {
			return nil, err // ours, not the input's
		}
	}
	return out, nil
}

// late is the answer to a request that the model did not come to.
func (s *Server) late() *problem {
	p := refuse(http.StatusServiceUnavailable, "queue_timeout", "", fmt.Sprintf("the model did not come to this request within %s", s.limits.Wait))
	p.retry = 1
	return p
}

// job prepares an input. Neither a job nor an error: out is complete already.
func (s *Server) job(ctx context.Context, in *input, out *encoded, held *bodies) (*job, error) {
	switch {
	case in.err != nil:
		return nil, in.err
	case in.fetch != "":
		file, err := s.fetch(ctx, in.fetch, held)
		return &job{file: file}, err
	case in.file != nil:
		return &job{file: in.file}, nil
	case in.ids != nil:
		ids, err := s.padded(in.ids)
		out.tokens = len(in.ids)
		return &job{ids: ids}, err
	}
	text := *in.text
	if len(text) > s.limits.TextBytes {
		return nil, refuse(http.StatusRequestEntityTooLarge, "text_too_long", "", fmt.Sprintf("a text of %d bytes is more than %d", len(text), s.limits.TextBytes))
	}
	if known, ok := s.cache.get(text); ok {
		*out = known
		return nil, nil
	}
	ids, cut := s.tokenizer.Tokenize(text, s.model.ContextLength())
	out.truncated, out.tokens = cut, len(ids)
	if at := slices.Index(ids, s.tokenizer.End()); at >= 0 {
		out.tokens = at + 1
	}
	return &job{ids: ids}, nil
}

// padded checks token ids: one outside the vocabulary would fail the whole batch, and a text
// without its end token has no feature.
func (s *Server) padded(ids []int64) ([]int64, error) {
	vocabulary, length := s.tokenizer.VocabSize(), s.model.ContextLength()
	for _, id := range ids {
		if id < 0 || id >= int64(vocabulary) {
			return nil, badRequest("input", fmt.Sprintf("the token id %d is not between 0 and %d", id, vocabulary-1))
		}
	}
	if !slices.Contains(ids, s.tokenizer.End()) {
		return nil, badRequest("input", fmt.Sprintf("the token ids lack the end token %d, which every text has", s.tokenizer.End()))
	}
	row := slices.Clone(ids)
	for len(row) < length {
		row = append(row, s.tokenizer.Pad())
	}
	return row, nil
}

// textCache keeps the features of the texts that were asked for lately: labels come again with
// every picture.
type textCache struct {
	most int

	mu    sync.Mutex
	order list.List // of cachedText, the latest in front
	at    map[string]*list.Element
}

type cachedText struct {
	text string
	encoded
}

func newTextCache(most int) *textCache {
	return &textCache{most: most, at: map[string]*list.Element{}}
}

func (c *textCache) get(text string) (encoded, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.at[text]
	if !ok {
		return encoded{}, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cachedText).encoded, true
}

func (c *textCache) put(text string, row encoded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.at[text]; ok || c.most <= 0 {
		return
	}
	c.at[text] = c.order.PushFront(cachedText{text, row})
	if c.order.Len() > c.most {
		last := c.order.Back()
		delete(c.at, last.Value.(cachedText).text)
		c.order.Remove(last)
	}
}
