package serve

import (
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
func (s *Server) weaviateVectorize(w http.ResponseWriter, r *http.Request) error {
	var held bodies
	defer held.release()
	var q weaviateRequest
	if err := s.readJSON(w, r, &held, &q); err != nil {
		return err
	}
	words, err := texts("texts", q.Texts, s.limits.Inputs)
	if err != nil {
		return err
	}
	images, err := pictures("images", q.Images, s.limits.Inputs)
	if err != nil {
		return err
	}
	rows, err := s.rows(r, "texts", words, images)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, weaviateAnswer{rows[:len(words):len(words)], rows[len(words):]})
	return nil
}

// rows are the features of texts and then pictures; one that cannot be read fails the request.
func (s *Server) rows(r *http.Request, param string, words []string, images []input) ([][]float32, error) {
	if len(words)+len(images) > s.limits.Inputs {
		return nil, tooMany(param+" and images", s.limits.Inputs)
	}
	inputs := make([]input, 0, len(words)+len(images))
	for _, text := range words {
		inputs = append(inputs, textInput(text))
	}
	encoded, err := s.encode(r.Context(), append(inputs, images...))
	if err != nil {
		return nil, err
	}
	rows := make([][]float32, len(encoded))
	for i, e := range encoded {
		if e.err != nil {
			p := *asProblem(e.err)
			if i >= len(words) {
				p.message = fmt.Sprintf("images[%d]: %s", i-len(words), p.message)
			} else {
				p.message = fmt.Sprintf("%s[%d]: %s", param, i, p.message)
			}
			return nil, &p
		}
		rows[i] = e.row
	}
	return rows, nil
}

func (s *Server) weaviateMeta(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, struct {
		Model    string `json:"model"`
		Version  string `json:"version"`
		EmbedDim int    `json:"embed_dim"`
		Norm     string `json:"normalisation"`
	}{s.name, s.version, s.model.Config.EmbedDim, "L2"})
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
