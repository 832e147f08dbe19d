package serve

import "net/http"

// modelAnswer is a model in OpenAI's shape, with what is known of it since it was first loaded.
type modelAnswer struct {
	ID            string   `json:"id"`
	Object        string   `json:"object"` // "model"
	Created       int64    `json:"created"`
	OwnedBy       string   `json:"owned_by"`
	Aliases       []string `json:"aliases,omitempty"`
	Loaded        bool     `json:"loaded"`
	Device        string   `json:"device,omitempty"`
	EmbedDim      int      `json:"embed_dim,omitempty"`
	ImageSize     *[2]int  `json:"image_size,omitempty"` // height, width
	ContextLength int      `json:"context_length,omitempty"`
	Parameters    int      `json:"parameters,omitempty"`
	Bytes         int64    `json:"bytes,omitempty"` // of its weights in memory
	LogitScale    float64  `json:"logit_scale,omitempty"`
}

// answer describes m. The caller holds the registry's mu.
func (m *served) answer() modelAnswer {
	a := modelAnswer{ID: m.Name, Object: "model", OwnedBy: "goclip", Aliases: m.Aliases, Loaded: m.engine != nil}
	if f := m.known; f != nil {
		a.Created, a.Device, a.EmbedDim, a.ImageSize, a.ContextLength = f.Loaded.Unix(), f.Device, f.EmbedDim, &f.ImageSize, f.ContextLength
		a.Parameters, a.Bytes, a.LogitScale = f.Parameters, f.Bytes, f.Scale
	}
	return a
}

func (r *registry) answers() (list []modelAnswer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.list {
		list = append(list, m.answer())
	}
	return list
}

// listModels answers GET /v1/models.
func (s *Server) listModels(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, struct {
		Object string        `json:"object"`
		Data   []modelAnswer `json:"data"`
	}{"list", s.models.answers()})
	return nil
}

// oneModel answers GET /v1/models/{id}; a name may have slashes.
func (s *Server) oneModel(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("id")
	m := s.models.find(name)
	if m == nil || name == "" {
		return s.noModel("model", name)
	}
	s.models.mu.Lock()
	a := m.answer()
	s.models.mu.Unlock()
	writeJSON(w, http.StatusOK, a)
	return nil
}

// infinityModel is a model as infinity's client reads it, which accepts no other owner.
type infinityModel struct {
	ID           string   `json:"id"`
	Object       string   `json:"object"`
	OwnedBy      string   `json:"owned_by"` // "infinity"
	Created      int64    `json:"created"`
	Backend      string   `json:"backend"`
	Capabilities []string `json:"capabilities"`
	Stats        struct{} `json:"stats"`
}

// infinityModels answers GET /models.
func (s *Server) infinityModels(w http.ResponseWriter, _ *http.Request) error {
	var list []infinityModel
	for _, a := range s.models.answers() {
		list = append(list, infinityModel{ID: a.ID, Object: "model", OwnedBy: "infinity", Created: a.Created, Backend: "torch", Capabilities: []string{"embed", "image_embed"}})
	}
	writeJSON(w, http.StatusOK, struct {
		Object string          `json:"object"`
		Data   []infinityModel `json:"data"`
	}{"list", list})
	return nil
}
