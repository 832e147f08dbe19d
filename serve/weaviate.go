package serve

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
)

// What Weaviate's module multi2vec-clip sends to its inference container (multi2vec-clip-inference,
// app.py).

type weaviateRequest struct {
	Texts  json.RawMessage `json:"texts"`
	Images json.RawMessage `json:"images"` // base64
}

type weaviateAnswer struct {
	TextVectors  [][]float32 `json:"textVectors"`
	ImageVectors [][]float32 `json:"imageVectors"`
}

// weaviateVectorize answers POST /vectorize. The shape has no place for the error of one input, so
// it is the request's.
func (s *Server) weaviateVectorize(w http.ResponseWriter, r *http.Request, q *weaviateRequest, e *engine) error {
	words, err := texts("texts", q.Texts, s.limits.Inputs)
	if err != nil {
		return err
	}
	pictures, err := images("images", q.Images, s.limits.Inputs)
	if err != nil {
		return err
	}
	rows, err := e.rows(r, "texts", words, pictures)
	if err != nil {
		return err
	}
	all := vectors(rows)
	writeJSON(w, http.StatusOK, weaviateAnswer{all[:len(words):len(words)], all[len(words):]})
	return nil
}

// rows are the embeddings of texts and then images; one that cannot be read fails the request.
func (e *engine) rows(r *http.Request, param string, words []string, images []input) ([]encoded, error) {
	if most := e.server.limits.Inputs; len(words)+len(images) > most {
		return nil, tooMany(param+" and images", most)
	}
	inputs := make([]input, 0, len(words)+len(images))
	for _, text := range words {
		inputs = append(inputs, textInput(text))
	}
	rows, err := e.encode(r.Context(), append(inputs, images...))
	if err != nil {
		return nil, err
	}
	return rows, cmp.Or(firstError(rows[:len(words)], param+"[%d]"), firstError(rows[len(words):], "images[%d]"))
}

// firstError is the first one among rows, behind its place.
func firstError(rows []encoded, place string) error {
	for i, row := range rows {
		if row.err != nil {
			p := *asProblem(row.err)
			p.message = fmt.Sprintf(place, i) + ": " + p.message
			return &p
		}
	}
	return nil
}

func vectors(rows []encoded) [][]float32 {
	list := make([][]float32, len(rows))
	for i, row := range rows {
		list[i] = row.row
	}
	return list
}

func (s *Server) weaviateMeta(w http.ResponseWriter, r *http.Request) error {
	e, err := s.engine(r.Context(), "model", "")
	if err != nil {
		return err
	}
	defer s.models.release(e)
	writeJSON(w, http.StatusOK, struct {
		Model    string `json:"model"`
		Version  string `json:"version"`
		EmbedDim int    `json:"embed_dim"`
		Norm     string `json:"normalisation"`
	}{e.name(), s.version, e.EmbedDim, "L2"})
	return nil
}

func (s *Server) weaviateLive(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) weaviateReady(w http.ResponseWriter, _ *http.Request) error {
	if s.draining.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
