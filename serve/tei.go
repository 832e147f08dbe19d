package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// The routes of Hugging Face's text-embeddings-inference: /embed, /info and /health.

type teiRequest struct {
	Inputs     json.RawMessage `json:"inputs"`
	Model      string          `json:"model"` // ours: there it has one
	Truncate   *bool           `json:"truncate"`
	Normalize  *bool           `json:"normalize"`
	Dimensions *int            `json:"dimensions"`
	Direction  *string         `json:"truncation_direction"`
	Prompt     *string         `json:"prompt_name"`
}

// asTEI is {"error": ..., "error_type": ...}.
func asTEI(p *problem) any {
	kind := "Validation"
	switch {
	case p.status == http.StatusTooManyRequests:
		kind = "Overloaded"
	case p.status >= 500:
		kind = "Backend"
	}
	return struct {
		Error string `json:"error"`
		Type  string `json:"error_type"`
	}{p.message, kind}
}

// teiEmbed answers POST /embed: rows without names. One that cannot be read fails the request.
func (s *Server) teiEmbed(w http.ResponseWriter, r *http.Request, q *teiRequest, e *engine) error {
	switch {
	case q.Normalize != nil && !*q.Normalize:
		return badRequest("normalize", "normalize must be true: every embedding here is L2-normalised")
	case q.Dimensions != nil && *q.Dimensions != e.EmbedDim:
		return e.noDimensions()
	case q.Direction != nil && *q.Direction != "Right" && *q.Direction != "right":
		return badRequest("truncation_direction", "truncation_direction must be Right: a text is cut at its end")
	case q.Prompt != nil && *q.Prompt != "":
		return badRequest("prompt_name", "prompt_name must be empty: CLIP has no prompts of its own")
	}
	inputs, err := embeddingInputs(q.Inputs, anyModality, s.limits, e.ContextLength)
	if err != nil {
		return err
	}
	rows, err := e.encode(r.Context(), inputs)
	if err != nil {
		return err
	}
	if err := firstError(rows, "inputs[%d]"); err != nil {
		return err
	}
	if q.Truncate != nil && !*q.Truncate {
		if err := e.uncut("inputs", rows); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, vectors(rows))
	return nil
}

func (e *engine) noDimensions() error {
	return badRequest("dimensions", fmt.Sprintf("dimensions can only be %d: this model's embeddings are not made to be cut", e.EmbedDim))
}

// teiInfo answers GET /info.
func (s *Server) teiInfo(w http.ResponseWriter, r *http.Request) error {
	e, err := s.engine(r.Context(), "model", "")
	if err != nil {
		return err
	}
	defer s.models.release(e)
	writeJSON(w, http.StatusOK, struct {
		ID        string `json:"model_id"`
		DType     string `json:"model_dtype"`
		Length    int    `json:"max_input_length"`
		Batch     int    `json:"max_client_batch_size"`
		Truncate  bool   `json:"auto_truncate"`
		Version   string `json:"version"`
		ModelType any    `json:"model_type"`
	}{e.name(), "float32", e.ContextLength, s.limits.Inputs, true, s.version, struct {
		Embedding struct {
			Pooling string `json:"pooling"`
		} `json:"embedding"`
	}{}})
	return nil
}
