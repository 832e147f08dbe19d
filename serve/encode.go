package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// encoded is an input's embedding, or why there is none.
type encoded struct {
	row           []float32 // (E), L2-normalised
	tokens        int       // of a text, the start and end tokens included
	truncated     bool      // a text was cut at the context length
	width, height int       // of an image as it was given
	err           error
}

// encode runs inputs through the model, in batches with those of other requests. An input that
// cannot be read has its error in its place; the second error is that of the request. More inputs
// than a part of the queue go through it one part after the other: only the first may find the
// queue full, and each has its own time.
func (e *engine) encode(ctx context.Context, inputs []input) ([]encoded, error) {
	out := make([]encoded, 0, len(inputs))
	l := e.server.limits
	for part := range slices.Chunk(inputs, min(l.Queue, max(l.Queue/4, 2*l.BatchSize))) {
		rows, err := e.encodePart(ctx, part, len(out) > 0)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
		extend(ctx, l)
	}
	if err := e.server.room(ctx, int64(len(inputs))*int64(e.EmbedDim)*numberBytes); err != nil {
		return nil, err
	}
	return out, nil
}

// rowsOf are the embeddings, or the first error among them.
func rowsOf(list []encoded) (rows [][]float32, err error) {
	for _, r := range list {
		if r.err != nil {
			return nil, r.err
		}
		rows = append(rows, r.row)
	}
	return rows, nil
}

// Texts gives the rows (E) of texts, L2-normalised, by the model that a request means by such a
// name. A text that is longer than the model's context length is an error.
func (s *Server) Texts(ctx context.Context, model string, texts ...string) ([][]float32, error) {
	e, err := s.engine(ctx, "model", model)
	if err != nil {
		return nil, err
	}
	defer s.models.release(e)
	inputs := make([]input, len(texts))
	for i, text := range texts {
		inputs[i] = textInput(text)
	}
	list, err := e.encode(ctx, inputs)
	if err == nil {
		err = e.uncut("texts", list)
	}
	if err != nil {
		return nil, err
	}
	return rowsOf(list)
}

func (e *engine) encodePart(ctx context.Context, inputs []input, patient bool) ([]encoded, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.server.limits.Wait, e.server.late())
	defer cancel()
	var held bodies
	defer held.release()
	out := make([]encoded, len(inputs))
	var jobs []*job
	var places []int
	for i := range inputs {
		j, err := e.job(ctx, &inputs[i], &out[i], &held)
		if err != nil {
			out[i].err = err
		} else if j != nil {
			jobs, places = append(jobs, j), append(places, i)
		}
	}
	for {
		p := e.server.admission.enter(e.batcher.pace, len(jobs))
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
	g, err := e.batcher.submit(ctx, jobs)
	if err != nil {
		return nil, err
	}
	for n, i := range places {
		out[i].row, out[i].err = g.rows[n], g.errs[n]
		out[i].width, out[i].height = jobs[n].width, jobs[n].height
		if in := &inputs[i]; in.text != nil && out[i].err == nil && len(*in.text) <= cachedBytes {
			kept := out[i]
			kept.row = slices.Clone(kept.row) // else it would keep its whole batch's
			e.cache.Add(*in.text, kept)
		}
	}
	for i := range out {
		var p *problem
		if err := out[i].err; err != nil && (!errors.As(err, &p) || p.status >= 500 || p.status == http.StatusTooManyRequests) {
			return nil, err // not the input's fault
		}
	}
	return out, nil
}

// late is the answer to a request that the model did not come to. Too many requests are the reason,
// hence 429: a proxy takes a server that answers 503 out of service.
func (s *Server) late() *problem {
	p := refuse(http.StatusTooManyRequests, "queue_timeout", "", fmt.Sprintf("the model did not come to this request within %s", s.limits.Wait))
	p.retry = 1
	return p
}

// job prepares an input. Neither a job nor an error: out is complete already.
func (e *engine) job(ctx context.Context, in *input, out *encoded, held *bodies) (*job, error) {
	switch {
	case in.err != nil:
		return nil, in.err
	case in.fetch != "":
		file, err := e.server.fetch(ctx, in.fetch, held)
		return imageJob(file), err
	case in.file != nil:
		return imageJob(in.file), nil
	case in.ids != nil:
		ids, err := e.padded(in.ids)
		out.tokens = len(in.ids)
		return &job{ids: ids}, err
	}
	text := *in.text
	if len(text) > e.server.limits.TextBytes {
		return nil, refuse(http.StatusRequestEntityTooLarge, "text_too_long", "", fmt.Sprintf("a text of %d bytes is more than %d", len(text), e.server.limits.TextBytes))
	}
	if known, ok := e.cache.Get(text); ok {
		*out = known
		return nil, nil
	}
	ids, cut := e.tokenizer.Tokenize(text, e.model.ContextLength())
	out.truncated, out.tokens = cut, len(ids)
	if at := slices.Index(ids, e.tokenizer.End()); at >= 0 {
		out.tokens = at + 1
	}
	return &job{ids: ids}, nil
}

// padded checks token ids: one outside the vocabulary would fail the whole batch, and a text
// without its end token has no feature.
func (e *engine) padded(ids []int64) ([]int64, error) {
	vocabulary, length := e.tokenizer.VocabSize(), e.model.ContextLength()
	for _, id := range ids {
		if id < 0 || id >= int64(vocabulary) {
			return nil, badRequest("input", fmt.Sprintf("the token id %d is not between 0 and %d", id, vocabulary-1))
		}
	}
	if !slices.Contains(ids, e.tokenizer.End()) {
		return nil, badRequest("input", fmt.Sprintf("the token ids lack the end token %d, which every text has", e.tokenizer.End()))
	}
	row := slices.Clone(ids)
	for len(row) < length {
		row = append(row, e.tokenizer.Pad())
	}
	return row, nil
}

// cachedTexts is how many texts' embeddings a model keeps, the latest that were asked for, of texts of at most
// cachedBytes: labels come again with every image.
const (
	cachedTexts = 4096
	cachedBytes = 1024
)
