package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/goclip/goclip/clip"
)

// Lesson is what an index learns a concept from.
type Lesson struct {
	Name    string   `json:"name"` // of the word that is stored; "" stores nothing
	Text    string   `json:"text"`
	Yes     []string `json:"yes"` // paths, as searches give them
	No      []string `json:"no"`
	Propose int      `json:"propose"` // how many images whose answer would teach most
}

// Concept is what an index has learned.
type Concept struct {
	Row       []float32 // (E), L2-normalised: what is searched for
	Version   int       // of the stored word; 0 where none was stored
	Proposals []Hit
}

// Teacher is an [Index] that learns from examples. Examples that are not images of the index are
// fs.ErrNotExist; a name where words are not stored is fs.ErrPermission, and one that is no word, or an
// example of both kinds, fs.ErrInvalid. m is the index's model.
type Teacher interface {
	Teach(ctx context.Context, m *clip.Model, l Lesson, f Filter) (Concept, error)
}

// Judge is an [Index] that sets the Probability of what a text's row has found. Where it tells none, as of a
// single image, the error is fs.ErrInvalid. m is the index's model.
type Judge interface {
	Judge(ctx context.Context, m *clip.Model, row []float32, hits []Hit) error
}

// invalid is a request that an index refuses, in its words.
func invalid(param string, err error) error {
	return badRequest(param, strings.TrimPrefix(err.Error(), fs.ErrInvalid.Error()+": "))
}

type learnRequest struct {
	Lesson
	searchScope
}

type learnAnswer struct {
	searchAnswer
	Name      string      `json:"name,omitempty"`
	Version   int         `json:"version,omitempty"`
	Proposals []searchHit `json:"proposals"`
}

// maxJudged bounds the examples of a request.
const maxJudged = 1000

// learn answers POST /v1/learn: what an index finds by examples, and with a name they are stored as
// a word.
func (s *Server) learn(w http.ResponseWriter, r *http.Request, q *learnRequest) error {
	ix, err := s.indexed(q.Index)
	if err != nil {
		return err
	}
	filter, err := q.check()
	if err != nil {
		return err
	}
	switch n := len(q.Yes) + len(q.No); {
	case len(q.Yes) == 0:
		return badRequest("yes", "yes is missing; it must be an array of at least one path that a search gave")
	case n > maxJudged:
		return tooMany("yes and no", maxJudged)
	case q.Propose < 0 || q.Propose > 100:
		return badRequest("propose", "propose must be between 0 and 100")
	case len(q.Text) > s.limits.TextBytes:
		return refuse(http.StatusRequestEntityTooLarge, "text_too_long", "text", fmt.Sprintf("a text of %d bytes is more than %d", len(q.Text), s.limits.TextBytes))
	}
	teacher, ok := ix.Index.(Teacher)
	if !ok {
		return refuse(http.StatusBadRequest, "index_learns_nothing", "index", "this index does not learn from examples")
	}
	e, err := s.engineOf(r.Context(), ix, q.Model)
	if err != nil {
		return err
	}
	defer s.models.release(e)
	c, err := teacher.Teach(r.Context(), e.model, q.Lesson, filter)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return badRequest("yes", err.Error())
	case errors.Is(err, fs.ErrInvalid):
		return invalid("name", err)
	case errors.Is(err, fs.ErrPermission):
		return refuse(http.StatusForbidden, "words_not_stored", "name", "this server does not store words")
	case err != nil:
		return err
	}
	hits, err := ix.Search(r.Context(), c.Row, q.Offset+q.TopK+1, filter)
	if err != nil {
		return err
	}
	a := learnAnswer{searchAnswer: s.answer(ix, hits, &q.searchScope), Name: q.Name, Version: c.Version, Proposals: []searchHit{}}
	for _, h := range c.Proposals {
		a.Proposals = append(a.Proposals, s.hit(h))
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}
