package serve

import (
	"encoding/json"
	"net/http"
	"time"
)

// Ollama's /api/embed and the older /api/embeddings, with the images that its users ask for
// (ollama/ollama issue 5304) and that oclip has.

type ollamaRequest struct {
	Model      string          `json:"model"`
	Input      json.RawMessage `json:"input"`
	Images     json.RawMessage `json:"images"` // base64, as in Ollama's other requests
	Truncate   *bool           `json:"truncate"`
	Dimensions *int            `json:"dimensions"`
	Options    json.RawMessage `json:"options"`    // of generating, hence of no effect
	KeepAlive  json.RawMessage `json:"keep_alive"` // likewise: how long a model stays loaded is the operator's to say
}

type ollamaAnswer struct {
	Model      string      `json:"model"`
	Embeddings [][]float32 `json:"embeddings"`     // of the texts, then of the images
	Total      int64       `json:"total_duration"` // nanoseconds
	Load       int64       `json:"load_duration"`
	Tokens     int         `json:"prompt_eval_count"`
}

// ollamaEmbed answers POST /api/embed.
func (s *Server) ollamaEmbed(w http.ResponseWriter, r *http.Request, q *ollamaRequest, e *engine) error {
	start := time.Now()
	if q.Dimensions != nil && *q.Dimensions != 0 && *q.Dimensions != e.EmbedDim {
		return e.noDimensions()
	}
	words, err := texts("input", q.Input, s.limits.Inputs)
	if err != nil {
		return err
	}
	pictures, err := images("images", q.Images, s.limits.Inputs)
	if err != nil {
		return err
	}
	rows, err := e.rows(r, "input", words, pictures)
	if err != nil {
		return err
	}
	if q.Truncate != nil && !*q.Truncate {
		if err := e.uncut("input", rows); err != nil {
			return err
		}
	}
	tokens := 0
	for _, row := range rows {
		tokens += row.tokens
	}
	writeJSON(w, http.StatusOK, ollamaAnswer{Model: e.name(), Embeddings: vectors(rows), Total: time.Since(start).Nanoseconds(), Tokens: tokens})
	return nil
}

// ollamaOldRequest and its answer are of one text; Ollama keeps them for clients from before
// /api/embed.
type ollamaOldRequest struct {
	Model  string `json:"model"`
	Prompt string `json:"prompt"`

	Options   json.RawMessage `json:"options"`
	KeepAlive json.RawMessage `json:"keep_alive"`
}

type ollamaOldAnswer struct {
	Embedding []float32 `json:"embedding"` // L2-normalised, which Ollama's own are not here
}

// ollamaEmbeddings answers POST /api/embeddings. Without a prompt clients ask whether the model is
// loaded.
func (s *Server) ollamaEmbeddings(w http.ResponseWriter, r *http.Request, q *ollamaOldRequest, e *engine) error {
	a := ollamaOldAnswer{Embedding: []float32{}}
	if q.Prompt != "" {
		rows, err := e.encode(r.Context(), []input{textInput(q.Prompt)})
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
