package serve

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"time"
)

type embeddingsRequest struct {
	Model          string          `json:"model"`
	Input          json.RawMessage `json:"input"`
	Messages       json.RawMessage `json:"messages"` // vLLM's, in place of input
	EncodingFormat string          `json:"encoding_format"`
	Dimensions     *int            `json:"dimensions"`
	Modality       string          `json:"modality"`   // infinity's: what input holds
	Normalized     *bool           `json:"normalized"` // Jina's
	Truncate       *bool           `json:"truncate"`   // Jina's: whether a longer text is cut or refused

	// Of no effect: OpenAI's name of a user, and what vLLM does with a conversation that is answered.
	User       json.RawMessage `json:"user"`
	Generation json.RawMessage `json:"add_generation_prompt"`
	Continue   json.RawMessage `json:"continue_final_message"`
	AddSpecial json.RawMessage `json:"add_special_tokens"`
}

type embeddingsAnswer struct {
	ID      string      `json:"id"`
	Created int64       `json:"created"`
	Object  string      `json:"object"` // "list"
	Model   string      `json:"model"`
	Data    []embedding `json:"data"`
	Usage   usage       `json:"usage"`
}

type embedding struct {
	Object    string           `json:"object"` // "embedding"
	Index     int              `json:"index"`
	Embedding any              `json:"embedding"` // numbers, or base64 of little-endian float32, or null with an error
	Truncated bool             `json:"truncated,omitempty"`
	Error     *openAIErrorBody `json:"error,omitempty"`
}

type usage struct {
	PromptTokens int `json:"prompt_tokens"`
	TotalTokens  int `json:"total_tokens"`
}

// embeddings answers POST /v1/embeddings. An input that cannot be read has an error in its place;
// when none could be read, the first one's error is the answer.
func (s *Server) embeddings(w http.ResponseWriter, r *http.Request, q *embeddingsRequest, e *engine) error {
	switch q.EncodingFormat {
	case "", "float", "base64":
	default:
		return badRequest("encoding_format", `encoding_format must be "float" or "base64"`)
	}
	switch q.Modality {
	case anyModality, textModality, imageModality:
	default:
		return badRequest("modality", fmt.Sprintf(`modality must be "text" or "image": CLIP has no %.20q`, q.Modality))
	}
	if q.Normalized != nil && !*q.Normalized {
		return badRequest("normalized", "normalized must be true: every embedding here is L2-normalised")
	}
	if q.Dimensions != nil && *q.Dimensions != 0 && *q.Dimensions != e.EmbedDim { // infinity's client says 0
		return e.noDimensions()
	}
	inputs, err := e.embeddingsOf(q)
	if err != nil {
		return err
	}
	rows, err := e.encode(r.Context(), inputs)
	if err != nil {
		return err
	}
	if q.Truncate != nil && !*q.Truncate {
		if err := e.uncut("input", rows); err != nil {
			return err
		}
	}
	a := embeddingsAnswer{ID: "embd-" + w.Header().Get("X-Request-Id"), Created: time.Now().Unix(), Object: "list", Model: e.name(), Data: make([]embedding, len(rows))}
	failed := 0
	for i, row := range rows {
		d := embedding{Object: "embedding", Index: i, Truncated: row.truncated}
		switch {
		case row.err != nil:
			failed++
			d.Error = s.itemError(row.err)
		case q.EncodingFormat == "base64":
			d.Embedding = float32Base64(row.row)
		default:
			d.Embedding = row.row
		}
		a.Data[i] = d
		a.Usage.PromptTokens += row.tokens
	}
	if failed == len(rows) {
		return rows[0].err
	}
	a.Usage.TotalTokens = a.Usage.PromptTokens
	writeJSON(w, http.StatusOK, a)
	return nil
}

// embeddingsOf are a request's inputs: those of input, or the one of messages.
func (e *engine) embeddingsOf(q *embeddingsRequest) ([]input, error) {
	given := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
	if !given(q.Messages) {
		return embeddingInputs(q.Input, q.Modality, e.server.limits, e.ContextLength)
	}
	if given(q.Input) {
		return nil, badRequest("messages", "input and messages are given; a request has one of them")
	}
	in, err := conversationInput(q.Messages, e.server.limits.Inputs)
	return []input{in}, err
}

// itemError is an input's error inside the answer to its request.
func (s *Server) itemError(err error) *openAIErrorBody {
	p := asProblem(err)
	s.metrics.failed.WithLabelValues(p.code).Inc()
	body := asOpenAI(p).(openAIError).Error
	return &body
}

// float32Base64 is OpenAI's base64: the numbers as little-endian float32.
func float32Base64(row []float32) string {
	data := make([]byte, 0, 4*len(row))
	for _, x := range row {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(data)
}

// uncut refuses texts that were cut at the context length.
func (e *engine) uncut(param string, rows []encoded) error {
	for i, row := range rows {
		if row.truncated {
			return badRequest(param, fmt.Sprintf("text %d is longer than the model's %d tokens, and truncate is false", i, e.ContextLength))
		}
	}
	return nil
}
