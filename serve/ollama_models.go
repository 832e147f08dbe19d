package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// What clients of Ollama ask of its models: /api/tags, /api/ps, /api/show and /api/version.

type ollamaModel struct {
	Name       string        `json:"name"`
	Model      string        `json:"model"`
	ModifiedAt time.Time     `json:"modified_at"`
	Size       int64         `json:"size"`
	Digest     string        `json:"digest"`
	Details    ollamaDetails `json:"details"`
	SizeVRAM   int64         `json:"size_vram"`
}

type ollamaDetails struct {
	Format        string   `json:"format"`
	Family        string   `json:"family"`
	Families      []string `json:"families"`
	ParameterSize string   `json:"parameter_size"`
}

func (a *modelAnswer) ollama() ollamaModel {
	m := ollamaModel{Name: a.ID, Model: a.ID, ModifiedAt: time.Unix(a.Created, 0).UTC(), Size: a.Bytes, Details: a.ollamaDetails()}
	if a.Device != "" && a.Device != "cpu" {
		m.SizeVRAM = a.Bytes
	}
	return m
}

func (a *modelAnswer) ollamaDetails() ollamaDetails {
	d := ollamaDetails{Format: "safetensors", Family: "clip", Families: []string{"clip"}}
	if a.Parameters > 0 {
		d.ParameterSize = fmt.Sprintf("%.1fM", float64(a.Parameters)/1e6)
	}
	return d
}

// ollamaModels answers GET /api/tags and, for what is loaded, GET /api/ps.
func (s *Server) ollamaModels(loaded bool) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		list := []ollamaModel{}
		for _, a := range s.models.answers() {
			if a.Loaded || !loaded {
				list = append(list, a.ollama())
			}
		}
		writeJSON(w, http.StatusOK, struct {
			Models []ollamaModel `json:"models"`
		}{list})
		return nil
	}
}

type ollamaShowRequest struct {
	Model string `json:"model"`
	Name  string `json:"name"` // of older clients

	Verbose  json.RawMessage `json:"verbose"` // of no effect, as what follows
	System   json.RawMessage `json:"system"`
	Template json.RawMessage `json:"template"`
	Options  json.RawMessage `json:"options"`
}

type ollamaShowAnswer struct {
	License      string        `json:"license"`
	Modelfile    string        `json:"modelfile"`
	Parameters   string        `json:"parameters"`
	Template     string        `json:"template"`
	ModifiedAt   time.Time     `json:"modified_at"`
	Details      ollamaDetails `json:"details"`
	Info         ollamaInfo    `json:"model_info"`
	Capabilities []string      `json:"capabilities"`
}

type ollamaInfo struct {
	Architecture  string `json:"general.architecture"`
	Parameters    int    `json:"general.parameter_count"`
	EmbedDim      int    `json:"clip.embedding_length"`
	ContextLength int    `json:"clip.context_length"`
}

// ollamaShow answers POST /api/show.
func (s *Server) ollamaShow(w http.ResponseWriter, r *http.Request, q *ollamaShowRequest) error {
	if q.Model == "" {
		q.Model = q.Name
	}
	m := s.models.find(q.Model)
	if m == nil {
		return s.noModel("model", q.Model)
	}
	s.models.mu.Lock()
	a := m.answer()
	s.models.mu.Unlock()
	writeJSON(w, http.StatusOK, ollamaShowAnswer{ModifiedAt: time.Unix(a.Created, 0).UTC(), Details: a.ollamaDetails(), Capabilities: []string{"embedding"},
		Info: ollamaInfo{"clip", a.Parameters, a.EmbedDim, a.ContextLength}})
	return nil
}

func (s *Server) ollamaVersion(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, struct {
		Version string `json:"version"`
	}{s.version})
	return nil
}
