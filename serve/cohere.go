package serve

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
)

// Cohere's POST /v2/embed: texts, images as data URIs, or inputs of either.

type cohereRequest struct {
	Model     string          `json:"model"`
	InputType string          `json:"input_type"` // of no effect: CLIP encodes queries and documents alike
	Texts     json.RawMessage `json:"texts"`
	Images    json.RawMessage `json:"images"`
	Inputs    json.RawMessage `json:"inputs"`
	Types     []string        `json:"embedding_types"`
	Dimension *int            `json:"output_dimension"`
	Truncate  string          `json:"truncate"`
}

type cohereAnswer struct {
	ID         string           `json:"id"`
	Type       string           `json:"response_type"` // "embeddings_by_type"
	Embeddings cohereEmbeddings `json:"embeddings"`
	Texts      []string         `json:"texts"`
	Meta       cohereMeta       `json:"meta"`
}

type cohereEmbeddings struct {
	Float  [][]float32 `json:"float,omitempty"`
	Base64 []string    `json:"base64,omitempty"`
}

type cohereMeta struct {
	API struct {
		Version string `json:"version"`
	} `json:"api_version"`
}

// asMessage is {"message": "..."}: Cohere's.
func asMessage(p *problem) any {
	return struct {
		Message string `json:"message"`
	}{p.message}
}

func (s *Server) cohereEmbed(w http.ResponseWriter, r *http.Request, q *cohereRequest, e *engine) error {
	switch {
	case q.Dimension != nil && *q.Dimension != e.EmbedDim:
		return badRequest("output_dimension", fmt.Sprintf("output_dimension can only be %d: this model's embeddings are not made to be cut", e.EmbedDim))
	case q.Truncate != "" && q.Truncate != "END" && q.Truncate != "NONE":
		return badRequest("truncate", "truncate must be END or NONE: a text is cut at its end")
	}
	words, inputs, err := q.inputs(s.limits)
	if err != nil {
		return err
	}
	rows, err := e.encode(r.Context(), inputs)
	if err != nil {
		return err
	}
	if err := firstError(rows, "input %d"); err != nil {
		return err
	}
	if q.Truncate == "NONE" {
		if err := e.uncut("texts", rows); err != nil {
			return err
		}
	}
	a := cohereAnswer{ID: rand.Text(), Type: "embeddings_by_type", Texts: words}
	a.Meta.API.Version = "2"
	if len(q.Types) == 0 {
		q.Types = []string{"float"}
	}
	for _, kind := range q.Types {
		switch kind {
		case "float":
			a.Embeddings.Float = vectors(rows)
		case "base64":
			a.Embeddings.Base64 = make([]string, len(rows))
			for i, row := range rows {
				a.Embeddings.Base64[i] = float32Base64(row.row)
			}
		default:
			return badRequest("embedding_types", fmt.Sprintf(`embedding_types must be "float" or "base64"; %.20q is not computed here`, kind))
		}
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// inputs reads the one of texts, images and inputs that is given.
func (q *cohereRequest) inputs(l Limits) (words []string, list []input, err error) {
	words = []string{}
	given := 0
	for _, raw := range []json.RawMessage{q.Texts, q.Images, q.Inputs} {
		if len(raw) > 0 && string(raw) != "null" {
			given++
		}
	}
	if given != 1 {
		return nil, nil, badRequest("texts", "a request has one of texts, images and inputs")
	}
	more, err := texts("texts", q.Texts, l.Inputs)
	if err != nil {
		return nil, nil, err
	}
	words = append(words, more...)
	for _, text := range words {
		list = append(list, textInput(text))
	}
	pictures, err := images("images", q.Images, l.Inputs)
	if err != nil {
		return nil, nil, err
	}
	list = append(list, pictures...)
	err = elements("inputs", q.Inputs, l.Inputs, func(raw json.RawMessage) error {
		in, err := conversationInput(raw, l.Inputs)
		list = append(list, in)
		return err
	})
	if err == nil && len(list) == 0 {
		err = badRequest("texts", "there is nothing to embed")
	}
	return words, list, err
}
