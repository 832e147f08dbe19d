package serve

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// Index is what /v1/search asks: pictures by their features, from the model that is served. Its
// methods are called from several goroutines.
type Index interface {
	// Search gives the k pictures whose rows have the largest cosine with an L2-normalised row (E),
	// the largest first.
	Search(ctx context.Context, row []float32, k int) ([]Hit, error)
	// Len is how many pictures there are.
	Len() int
}

// Hit is a picture that was found.
type Hit struct {
	Path  string
	Score float32 // cosine
}

// mostHits bounds top_k.
const mostHits = 1000

type searchRequest struct {
	Model string  `json:"model"`
	Text  *string `json:"text"`
	Image *string `json:"image"` // a data URI or base64
	TopK  int     `json:"top_k"` // 20 without
}

type searchAnswer struct {
	Model string      `json:"model"`
	Hits  []searchHit `json:"hits"`
}

type searchHit struct {
	Path    string  `json:"path"`
	Score   float32 `json:"score"`
	Picture string  `json:"picture,omitempty"` // where a small one is served
}

// search answers POST /v1/search: the pictures of the index that are nearest to a text or a
// picture.
func (s *Server) search(w http.ResponseWriter, r *http.Request) error {
	if s.index == nil {
		return refuse(http.StatusNotFound, "no_index", "", "this server has no index, so there is nothing to search")
	}
	var held bodies
	defer held.release()
	var q searchRequest
	if err := s.readJSON(w, r, &held, &q); err != nil {
		return err
	}
	e, err := s.engine(r.Context(), "model", q.Model)
	if err != nil {
		return err
	}
	defer s.models.release(e)
	if q.TopK == 0 {
		q.TopK = 20
	}
	var in input
	switch {
	case (q.Text == nil) == (q.Image == nil):
		return badRequest("text", "a search has either text or image")
	case q.TopK < 1 || q.TopK > mostHits:
		return badRequest("top_k", fmt.Sprintf("top_k must be between 1 and %d", mostHits))
	case q.Text != nil:
		in = textInput(*q.Text)
	default:
		in = imageInput([]byte(*q.Image))
	}
	rows, err := e.encode(r.Context(), []input{in})
	if err != nil {
		return err
	}
	if rows[0].err != nil {
		return rows[0].err
	}
	hits, err := s.index.Search(r.Context(), rows[0].row, q.TopK)
	if err != nil {
		return err
	}
	a := searchAnswer{Model: e.name(), Hits: make([]searchHit, len(hits))}
	for i, h := range hits {
		a.Hits[i] = searchHit{Path: h.Path, Score: h.Score}
		if s.thumbnail != nil {
			a.Hits[i].Picture = s.pictureAddress(h.Path)
		}
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// pictureAddress is where a found picture is served, relative to the server's root: signed, so that
// no other file is.
func (s *Server) pictureAddress(path string) string {
	return "v1/picture?" + url.Values{"path": {path}, "sum": {hex.EncodeToString(s.pictureSum(path))}}.Encode()
}

func (s *Server) pictureSum(path string) []byte {
	m := hmac.New(sha256.New, s.sign[:])
	m.Write([]byte(path))
	return m.Sum(nil)
}

// picture answers GET /v1/picture with a small picture of a file that a search found.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.Query().Get("path")
	sum, err := hex.DecodeString(r.URL.Query().Get("sum"))
	if err != nil || s.thumbnail == nil || !hmac.Equal(sum, s.pictureSum(path)) {
		return refuse(http.StatusNotFound, "not_found", "", "no search of this server found such a picture")
	}
	select {
	case s.thumbnails <- struct{}{}:
		defer func() { <-s.thumbnails }()
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
	data, mediaType, err := s.thumbnail(path)
	if err != nil {
		s.log.Warn("a found picture could not be shown", "error", err)
		return refuse(http.StatusNotFound, "picture_gone", "", "the picture cannot be read any more")
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Cache-Control", "private, max-age=3600")
	_, _ = w.Write(data) // a client that has gone
	return nil
}
