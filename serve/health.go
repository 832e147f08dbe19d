package serve

import "net/http"

// healthAnswer is also what the page needs to know. What is of a model is of the first, and missing
// until it was loaded once.
type healthAnswer struct {
	Status    string        `json:"status"`
	Model     string        `json:"model"`
	Models    []string      `json:"models"`
	Device    string        `json:"device"`
	EmbedDim  int           `json:"embed_dim"`
	ImageSize [2]int        `json:"image_size"` // height, width
	Index     *int          `json:"index"`      // how many images the first index has; null without one
	Indices   []indexAnswer `json:"indices"`
	Token     bool          `json:"token"` // requests must have one
	Inputs    int           `json:"max_inputs"`
	Scale     float64       `json:"logit_scale"`
	Notice    string        `json:"notice,omitempty"`  // what users should know of the first model
	Changed   []string      `json:"changed,omitempty"` // models whose weights file is no longer what was opened
}

type indexAnswer struct {
	Name   string `json:"name"`
	Model  string `json:"model"`
	Images int    `json:"images"`
}

// health answers GET /healthz: 200 while requests are accepted, 503 when the server is about to end
// or a loaded model's weights file was changed.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	h := healthAnswer{Status: "ok", Token: s.guarded, Inputs: s.limits.Inputs, Notice: s.notice, Indices: []indexAnswer{}}
	for i, m := range s.models.answers() {
		h.Models = append(h.Models, m.ID)
		if i == 0 && m.ImageSize != nil {
			h.Device, h.EmbedDim, h.ImageSize, h.Scale = m.Device, m.EmbedDim, *m.ImageSize, m.LogitScale
		}
	}
	h.Model = h.Models[0]
	for i, ix := range s.indices {
		ix = ix.now()
		h.Indices = append(h.Indices, indexAnswer{ix.Name, s.models.find(ix.Model).Name, ix.Len()})
		if i == 0 {
			n := ix.Len()
			h.Index = &n
		}
	}
	code := http.StatusOK
	if h.Changed = s.models.changed(); len(h.Changed) > 0 {
		h.Status, code = "weights changed", http.StatusServiceUnavailable
	}
	if s.draining.Load() {
		h.Status, code = "ending", http.StatusServiceUnavailable
	}
	writeJSON(w, code, h)
	return nil
}
