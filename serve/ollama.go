package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Ollama's /api/embed and the older /api/embeddings, with the pictures that its users ask for
// (ollama/ollama issue 5304) and that oclip has.

type ollamaRequest struct {
	Model      string          `json:"model"`
	Input      json.RawMessage `json:"input"`
	Images     json.RawMessage `json:"images"` // base64, as in Ollama's other requests
	Truncate   *bool           `json:"truncate"`
	Dimensions *int            `json:"dimensions"`
}

type ollamaAnswer struct {
	Model      string      `json:"model"`
	Embeddings [][]float32 `json:"embeddings"`     // of the texts, then of the pictures
	Total      int64       `json:"total_duration"` // nanoseconds
	Load       int64       `json:"load_duration"`
	Tokens     int         `json:"prompt_eval_count"`
}

// ollamaEmbed answers POST /api/embed.
func (s *Server) ollamaEmbed(w http.ResponseWriter, r *http.Request) error {
	start := time.Now()
	var held bodies
	defer held.release()
	var q ollamaRequest
	if err := s.readJSON(w, r, &held, &q); err != nil {
		return err
	}
	if err := s.checkModel("model", q.Model); err != nil {
		return err
	}
	if width := s.model.Config.EmbedDim; q.Dimensions != nil && *q.Dimensions != 0 && *q.Dimensions != width {
		return badRequest("dimensions", fmt.Sprintf("dimensions can only be %d: this model's features are not made to be cut", width))
	}
	words, err := texts("input", q.Input, s.limits.Inputs)
	if err != nil {
		return err
	}
	images, err := pictures("images", q.Images, s.limits.Inputs)
	if err != nil {
		return err
	}
	tokens := 0
	for _, text := range words[:min(len(words), s.limits.Inputs)] {
		if len(text) > s.limits.TextBytes {
			continue // its error comes below
		}
		n := len(s.tokenizer.Encode(text)) + 2
		if q.Truncate != nil && !*q.Truncate && n > s.model.ContextLength() {
			return badRequest("input", fmt.Sprintf("a text of %d tokens is longer than the model's %d, and truncate is false", n, s.model.ContextLength()))
		}
		tokens += min(n, s.model.ContextLength())
	}
	rows, err := s.rows(r, "input", words, images)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ollamaAnswer{Model: s.name, Embeddings: rows, Total: time.Since(start).Nanoseconds(), Tokens: tokens})
	return nil
}

// ollamaOldRequest and its answer are of one text; Ollama keeps them for clients from before
// /api/embed.
type ollamaOldRequest struct {
	Model  string `json:"model"`
	Prompt string `json:"prompt"`
}

type ollamaOldAnswer struct {
	Embedding []float32 `json:"embedding"` // L2-normalised, which Ollama's own are not here
}

// ollamaEmbeddings answers POST /api/embeddings. Without a prompt clients ask whether the model is
// loaded.
func (s *Server) ollamaEmbeddings(w http.ResponseWriter, r *http.Request) error {
	var held bodies
	defer held.release()
	var q ollamaOldRequest
	if err := s.readJSON(w, r, &held, &q); err != nil {
		return err
	}
	if err := s.checkModel("model", q.Model); err != nil {
		return err
	}
	a := ollamaOldAnswer{Embedding: []float32{}}
	if q.Prompt != "" {
		rows, err := s.encode(r.Context(), []input{textInput(q.Prompt)})
		if err != nil {
			return err
		}
		if rows[0].err != nil {
			return rows[0].err
		}
		a.Embedding = rows[0].row
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}
