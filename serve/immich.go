package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
)

// What Immich's server sends to its machine learning service
// (server/src/repositories/machine-learning.repository.ts) and gets from it
// (machine-learning/immich_ml/main.py): a form of "entries", JSON of task, kind and model, with
// "image" or "text"; the features come as a JSON array in a JSON string.

type immichEntry struct {
	ModelName string `json:"modelName"`
}

// immichForm is a form that was read.
type immichForm struct {
	entries []byte
	image   []byte
	text    *string
	asset   *string // in place of an image, of services that read Immich's files
}

func (s *Server) immichPing(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := io.WriteString(w, "pong")
	return err
}

// immichPredict answers POST /predict for the task clip.
func (s *Server) immichPredict(w http.ResponseWriter, r *http.Request) error {
	var held bodies
	defer held.release()
	form, err := s.readForm(w, r, &held)
	if err != nil {
		return err
	}
	if s.immich != nil && !isClip(form.entries) {
		return s.passOn(w, r, &form)
	}
	kind, name, err := immichKind(form.entries)
	if err != nil {
		return err
	}
	e, err := s.engine(r.Context(), "entries", name)
	if err != nil {
		return err
	}
	defer s.models.release(e)
	var in input
	switch {
	case kind == "visual" && form.image != nil:
		in.file = form.image
	case kind == "textual" && form.text != nil:
		in = textInput(*form.text)
	default:
		return badRequest("entries", "clip.visual needs an image in the form, clip.textual a text")
	}
	rows, err := e.encode(r.Context(), []input{in})
	if err != nil {
		return err
	}
	if rows[0].err != nil {
		return rows[0].err
	}
	features, err := json.Marshal(rows[0].row)
	if err != nil {
		return err
	}
	answer := struct {
		Clip        string `json:"clip"`
		ImageHeight int    `json:"imageHeight,omitempty"`
		ImageWidth  int    `json:"imageWidth,omitempty"`
	}{Clip: string(features)}
	if in.file != nil {
		answer.ImageWidth, answer.ImageHeight = rows[0].width, rows[0].height
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// immichKind checks the entries: {"clip": {"visual": {"modelName": ...}}}, or "textual".
func immichKind(entries []byte) (kind, model string, err error) {
	var tasks map[string]map[string]immichEntry
	if json.Unmarshal(entries, &tasks) != nil || len(tasks) != 1 {
		return "", "", refuse(http.StatusUnprocessableEntity, "invalid_request", "entries", `entries is JSON of one task: {"clip": {"visual": {"modelName": ...}}}`)
	}
	for task, kinds := range tasks {
		if task != "clip" || len(kinds) != 1 {
			return "", "", refuse(http.StatusUnprocessableEntity, "invalid_request", "entries", fmt.Sprintf("this server computes clip.visual or clip.textual; it has no model for %.50q", task))
		}
		for k, entry := range kinds {
			if !slices.Contains([]string{"visual", "textual"}, k) {
				return "", "", refuse(http.StatusUnprocessableEntity, "invalid_request", "entries", "clip is visual or textual")
			}
			kind, model = k, entry.ModelName
		}
	}
	return kind, model, nil
}

// The parts of a form, and bytes of its entries, beyond which it is none that Immich sends.
const (
	maxParts   = 8
	maxEntries = 64 << 10
)

func (s *Server) readForm(w http.ResponseWriter, r *http.Request, held *bodies) (form immichForm, err error) {
	from, err := s.plainBody(w, r)
	if err != nil {
		return form, err
	}
	b := &body{from: from, a: s.admission}
	*held = append(*held, b)
	counting := r.WithContext(r.Context()) // r keeps its body: what is read of it after the answer is not held
	counting.Body = io.NopCloser(b)
	parts, err := counting.MultipartReader()
	if err != nil {
		return form, badRequest("", "the request must be a form (multipart/form-data) with entries, and image or text")
	}
	for range maxParts {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			arrived(w)
			return form, nil
		}
		if err == nil {
			err = form.take(part, s.limits)
		}
		if errors.As(err, new(*problem)) {
			return form, err
		}
		if err != nil {
			return form, badRequest("", "the form is incomplete or malformed")
		}
	}
	return form, badRequest("", fmt.Sprintf("the form has more than %d parts", maxParts))
}

func (f *immichForm) take(part *multipart.Part, limits Limits) error {
	most := limits.Body
	switch part.FormName() {
	case "entries":
		most = maxEntries
	case "text":
		most = int64(limits.TextBytes)
	case "assetId":
		most = maxEntries
	}
	data, err := io.ReadAll(io.LimitReader(part, most+1))
	if err != nil {
		return err
	}
	if int64(len(data)) > most {
		return refuse(http.StatusRequestEntityTooLarge, "body_too_large", part.FormName(), fmt.Sprintf("%.50q has more than %d bytes", part.FormName(), most))
	}
	switch part.FormName() {
	case "entries":
		f.entries = data
	case "image":
		f.image = data
	case "text":
		text := string(data)
		f.text = &text
	case "assetId":
		asset := string(data)
		f.asset = &asset
	}
	return nil
}
