package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Index is what /v1/search asks: images by their embeddings, from one of the models that are served.
// Its methods are called from several goroutines.
type Index interface {
	// Search gives the k images whose rows have the largest cosine with an L2-normalised row (E), the
	// largest first, among those that pass the filter.
	Search(ctx context.Context, row []float32, k int, f Filter) ([]Hit, error)
	// Len is how many images there are. It must not count rows: probes of health ask it.
	Len() int
}

// Learned is an index that has learned words of its own by infer learn.
type Learned interface {
	// Learned is the row of a query in which such a word stands, alone or with others after + and -; nil
	// for any other text. A query that finds nothing, whatever the index holds, is fs.ErrInvalid. encode makes L2-normalised rows (E) of the other words.
	Learned(ctx context.Context, query string, encode func(texts ...string) ([][]float32, error)) ([]float32, error)
}

// Filter narrows a search. The zero value lets every image pass.
type Filter struct {
	Folder           string    // images in it or below it, as their paths have it
	Since, Until     time.Time // when they were taken, or else changed: from Since on, before Until
	MinSize, MaxSize int64     // bytes of the file; 0 for no bound
}

// Indexed is an index and what requests call it.
type Indexed struct {
	Name  string // "" for the only one
	Model string // name of the model that its rows are of; "" for the first
	Index

	// Current, if it is set, is what is asked in its place by now: an index may be switched to another of
	// the models that are served.
	Current func() Indexed
}

func (ix Indexed) now() Indexed {
	if ix.Current == nil {
		return ix
	}
	return ix.Current()
}

// Hit is an image that was found.
type Hit struct {
	Path  string
	Score float32 // cosine

	Probability float64 // set by a [Judge]
}

// maxHits bounds offset and top_k together.
const maxHits = 1000

// searchScope is where a search looks, and what part of its answer to return.
type searchScope struct {
	Model   string `json:"model"`
	Index   string `json:"index"` // the first without
	TopK    int    `json:"top_k"` // 20 without
	Offset  int    `json:"offset"`
	Folder  string `json:"folder"`
	Since   string `json:"since"` // 2024-06-01, or a time as RFC 3339 has it
	Until   string `json:"until"`
	MinSize int64  `json:"min_size"` // bytes of the file
	MaxSize int64  `json:"max_size"`
}

type searchRequest struct {
	searchScope
	Text  *string `json:"text"`
	Image *string `json:"image"` // a data URI or base64

	// Of a text: adds probabilities if it is set. 0 is allowed with every query.
	MinProbability *float64 `json:"min_probability"`
}

type searchAnswer struct {
	Model string      `json:"model"`
	Index string      `json:"index"`
	Total int         `json:"total"` // images in the index
	More  bool        `json:"more"`  // there are others behind these
	Hits  []searchHit `json:"hits"`
}

type searchHit struct {
	Path  string  `json:"path"`
	Score float32 `json:"score"`
	Image string  `json:"image,omitempty"` // where a small one is served

	Probability *float64 `json:"probability,omitempty"` // with min_probability
}

// search answers POST /v1/search: the images of the index that are nearest to a text or an image.
func (s *Server) search(w http.ResponseWriter, r *http.Request, q *searchRequest) error {
	ix, err := s.indexed(q.Index)
	if err != nil {
		return err
	}
	filter, err := q.check()
	if err != nil {
		return err
	}
	var in input
	switch p := q.MinProbability; {
	case (q.Text == nil) == (q.Image == nil):
		return badRequest("text", "a search has either text or image")
	case p != nil && !(*p >= 0 && *p <= 1):
		return badRequest("min_probability", "min_probability must be between 0 and 1")
	case q.Text != nil:
		in = textInput(*q.Text)
	default:
		in = imageInput([]byte(*q.Image))
	}
	hits, judged, err := s.hits(r.Context(), ix, in, q, filter)
	if now := ix.now(); err != nil && now.Model != ix.Model { // it was switched meanwhile
		ix = now
		hits, judged, err = s.hits(r.Context(), ix, in, q, filter)
	}
	if err != nil {
		return err
	}
	a := s.answer(ix, hits, &q.searchScope)
	for i := range a.Hits {
		if judged {
			a.Hits[i].Probability = &hits[q.Offset+i].Probability
		}
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// answer is the part of the hits that a request asks for.
func (s *Server) answer(ix Indexed, hits []Hit, q *searchScope) searchAnswer {
	a := searchAnswer{Model: s.models.find(ix.Model).Name, Index: ix.Name, Total: ix.Len(), More: len(hits) > q.Offset+q.TopK, Hits: []searchHit{}}
	for _, h := range hits[min(q.Offset, len(hits)):min(q.Offset+q.TopK, len(hits))] {
		a.Hits = append(a.Hits, s.hit(h))
	}
	return a
}

func (s *Server) hit(h Hit) searchHit {
	hit := searchHit{Path: h.Path, Score: h.Score}
	if s.thumbnail != nil {
		hit.Image = s.imageAddress(h.Path)
	}
	return hit
}

// engineOf is the loaded model of an index; named is what a request calls it, if it does.
func (s *Server) engineOf(ctx context.Context, ix Indexed, named string) (*engine, error) {
	of := s.models.find(ix.Model)
	if named != "" && s.models.find(named) != of {
		return nil, refuse(http.StatusBadRequest, "model_not_of_index", "model", fmt.Sprintf("the index is of the model %s, and embeddings of two models do not mix", of.Name))
	}
	return s.engine(ctx, "model", of.Name)
}

// hits are an index's answer, and one more, to a query in the embedding of its model. judged: they
// have probabilities, which a query of words has if it asks for them.
func (s *Server) hits(ctx context.Context, ix Indexed, in input, q *searchRequest, filter Filter) (hits []Hit, judged bool, err error) {
	e, err := s.engineOf(ctx, ix, q.Model)
	if err != nil {
		return nil, false, err
	}
	defer s.models.release(e)
	encode := func(inputs ...input) ([][]float32, error) {
		list, err := e.encode(ctx, inputs)
		if err != nil {
			return nil, err
		}
		return rowsOf(list)
	}
	var row []float32
	if l, ok := ix.Index.(Learned); ok && q.Text != nil {
		row, err = l.Learned(ctx, *q.Text, func(texts ...string) ([][]float32, error) {
			var inputs []input
			for _, text := range texts {
				inputs = append(inputs, textInput(text))
			}
			return encode(inputs...)
		})
		if errors.Is(err, fs.ErrInvalid) {
			err = invalid("text", err)
		}
		if err != nil {
			return nil, false, err
		}
	}
	judge, _ := ix.Index.(Judge)
	judged = q.MinProbability != nil && q.Text != nil && row == nil && judge != nil
	switch {
	case judged || q.MinProbability == nil || *q.MinProbability == 0:
	case judge == nil:
		return nil, false, badRequest("min_probability", "this index does not tell probabilities")
	default:
		return nil, false, badRequest("min_probability", "min_probability needs a query of words, without an image and learned words")
	}
	if row == nil {
		rows, err := encode(in)
		if err != nil {
			return nil, false, err
		}
		row = rows[0]
	}
	hits, err = ix.Search(ctx, row, q.Offset+q.TopK+1, filter)
	if err != nil || !judged {
		return hits, false, err
	}
	err = judge.Judge(ctx, e.model, row, hits)
	switch {
	case errors.Is(err, fs.ErrInvalid) && *q.MinProbability == 0: // which leaves none out
		return hits, false, nil
	case errors.Is(err, fs.ErrInvalid):
		return nil, false, invalid("min_probability", err)
	case err != nil:
		return nil, false, err
	}
	return slices.DeleteFunc(hits, func(h Hit) bool { return h.Probability < *q.MinProbability }), true, nil
}

// indexed is the index that a request means by name.
func (s *Server) indexed(name string) (Indexed, error) {
	var names []string
	for _, ix := range s.indices {
		if name == "" || ix.Name == name {
			return ix.now(), nil
		}
		names = append(names, ix.Name)
	}
	if len(names) > 0 {
		return Indexed{}, refuse(http.StatusNotFound, "no_index", "index", fmt.Sprintf("there is no index %.100q; there is %s", name, strings.Join(names, ", ")))
	}
	return Indexed{}, refuse(http.StatusNotFound, "no_index", "", "this server has no index, so there is nothing to search")
}

// check fills in what was left out, and gives the filter.
func (q *searchScope) check() (f Filter, err error) {
	if q.TopK == 0 {
		q.TopK = 20
	}
	if q.TopK < 1 || q.Offset < 0 || q.TopK+q.Offset > maxHits {
		return f, badRequest("top_k", fmt.Sprintf("top_k must be at least 1, and offset and top_k together at most %d", maxHits))
	}
	f = Filter{Folder: q.Folder, MinSize: q.MinSize, MaxSize: q.MaxSize}
	if q.MinSize < 0 || q.MaxSize < 0 {
		return f, badRequest("min_size", "min_size and max_size are numbers of bytes")
	}
	for _, date := range []struct {
		param, text string
		to          *time.Time
	}{{"since", q.Since, &f.Since}, {"until", q.Until, &f.Until}} {
		if date.text == "" {
			continue
		}
		if *date.to, err = time.ParseInLocation(time.DateOnly, date.text, time.Local); err != nil {
			*date.to, err = time.Parse(time.RFC3339, date.text)
		}
		if err != nil {
			return f, badRequest(date.param, date.param+" must be a day (2024-06-01) or a time (2024-06-01T15:04:05Z)")
		}
	}
	return f, nil
}
