package serve

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip"
)

type scoreRequest struct {
	Model  string          `json:"model"`
	Images json.RawMessage `json:"images"`
	Texts  json.RawMessage `json:"texts"`
}

// scoreAnswer has an index in the place of an image's path.
type scoreAnswer struct {
	Model      string       `json:"model"`
	LogitScale float64      `json:"logit_scale"`
	Texts      []string     `json:"texts"`
	Images     []imageScore `json:"images"`
}

type imageScore struct {
	Index  int              `json:"index"`
	Cosine []float64        `json:"cosine,omitempty"`
	Prob   []float64        `json:"prob,omitempty"` // softmax over the texts of logit_scale * cosine
	Error  *openAIErrorBody `json:"error,omitempty"`
}

// score answers POST /v1/score: the similarity of every image with every text.
func (s *Server) score(w http.ResponseWriter, r *http.Request, q *scoreRequest) error {
	words, images, err := s.pairs("texts", q.Texts, q.Images)
	if err != nil {
		return err
	}
	if len(words)+len(images) > s.limits.Inputs {
		return tooMany("images and texts", s.limits.Inputs)
	}
	inputs := slices.Clone(images)
	for _, text := range words {
		inputs = append(inputs, textInput(text))
	}
	e, err := s.engine(r.Context(), "model", q.Model)
	if err != nil {
		return err
	}
	defer s.models.release(e)
	rows, err := e.encode(r.Context(), inputs)
	if err != nil {
		return err
	}
	pictures, written := rows[:len(images)], rows[len(images):]
	for _, text := range written {
		if text.err != nil {
			return text.err // without its column there is no table
		}
	}
	a := scoreAnswer{Model: e.name(), LogitScale: e.scale, Texts: words, Images: make([]imageScore, len(images))}
	failed := 0
	for i, picture := range pictures {
		a.Images[i].Index = i
		if picture.err != nil {
			failed++
			a.Images[i].Error = s.itemError(picture.err)
			continue
		}
		for _, text := range written {
			a.Images[i].Cosine = append(a.Images[i].Cosine, clip.Cosine(picture.row, text.row))
		}
		a.Images[i].Prob = clip.Softmax(a.Images[i].Cosine, e.scale)
	}
	if failed == len(images) {
		return pictures[0].err
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// pairs reads what score and classify have in common: texts and images, at least one of each.
func (s *Server) pairs(param string, rawTexts, rawImages json.RawMessage) ([]string, []input, error) {
	words, err := texts(param, rawTexts, s.limits.Inputs)
	if err != nil {
		return nil, nil, err
	}
	pictures, err := images("images", rawImages, s.limits.Inputs)
	switch {
	case err != nil:
		return nil, nil, err
	case len(words) == 0:
		return nil, nil, badRequest(param, param+" is missing; it must be an array of strings")
	case len(pictures) == 0:
		return nil, nil, badRequest("images", "images is missing; it must be an array of data URIs or base64")
	}
	return words, pictures, nil
}

type classifyRequest struct {
	Model     string          `json:"model"`
	Images    json.RawMessage `json:"images"`
	Labels    json.RawMessage `json:"labels"`
	Templates json.RawMessage `json:"templates"` // "a photo of a {}." or several, or a named set; "{}" without
	TopK      int             `json:"top_k"`     // 5 without
}

type classifyAnswer struct {
	Model  string       `json:"model"`
	Images []imageClass `json:"images"`
}

type imageClass struct {
	Index  int              `json:"index"`
	Labels []labelShare     `json:"labels,omitempty"` // the most probable first
	Error  *openAIErrorBody `json:"error,omitempty"`
}

type labelShare struct {
	Label string  `json:"label"`
	Prob  float64 `json:"prob"` // of the softmax over all labels
}

// Of a request: labels times templates, and the bytes of the prompts that they make.
const (
	maxPrompts     = 4096
	maxPromptBytes = 1 << 20
)

// classify answers POST /v1/classify: zero-shot classes. A label's row is the mean of its prompts'
// features, normalised again (paper, section 3.1.4), as clip.Model.Classifier has it.
func (s *Server) classify(w http.ResponseWriter, r *http.Request, q *classifyRequest) error {
	labels, images, err := s.pairs("labels", q.Labels, q.Images)
	if err != nil {
		return err
	}
	templates, err := s.templates(q.Templates)
	if err != nil {
		return err
	}
	prompts, err := prompts(labels, templates, s.limits.TextBytes)
	if err != nil {
		return err
	}
	e, err := s.engine(r.Context(), "model", q.Model)
	if err != nil {
		return err
	}
	defer s.models.release(e)
	rows, err := e.encode(r.Context(), append(images, prompts...))
	if err != nil {
		return err
	}
	pictures, written := rows[:len(images)], rows[len(images):]
	classes := make([][]float32, 0, len(labels))
	for prompts := range slices.Chunk(written, len(templates)) {
		row, err := meanRow(prompts)
		if err != nil {
			return err
		}
		classes = append(classes, row)
	}
	a := classifyAnswer{Model: e.name(), Images: make([]imageClass, len(images))}
	failed := 0
	for i, picture := range pictures {
		a.Images[i].Index = i
		if picture.err != nil {
			failed++
			a.Images[i].Error = s.itemError(picture.err)
			continue
		}
		a.Images[i].Labels = e.shares(picture.row, labels, classes, q.TopK)
	}
	if failed == len(images) {
		return pictures[0].err
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// prompts puts every label into every template, when it is known that they are neither too many nor
// too long: a label of many bytes in a template of many {} makes their product.
func prompts(labels, templates []string, textBytes int) ([]input, error) {
	if n := len(labels) * len(templates); n > maxPrompts {
		return nil, tooMany(fmt.Sprintf("labels times templates, %d,", n), maxPrompts)
	}
	total := 0
	for _, template := range templates {
		places := strings.Count(template, "{}")
		for _, label := range labels {
			n := len(template) + places*(len(label)-len("{}"))
			if n > textBytes {
				return nil, refuse(http.StatusRequestEntityTooLarge, "text_too_long", "labels", fmt.Sprintf("a label in its template makes a text of %d bytes, more than %d", n, textBytes))
			}
			if total += n; total > maxPromptBytes {
				return nil, refuse(http.StatusRequestEntityTooLarge, "text_too_long", "labels", fmt.Sprintf("the labels in their templates make texts of more than %d bytes", maxPromptBytes))
			}
		}
	}
	list := make([]input, 0, len(labels)*len(templates))
	for _, label := range labels {
		if strings.TrimSpace(label) == "" {
			return nil, badRequest("labels", "a label is empty")
		}
		if in := textInput(label); in.err != nil {
			return nil, in.err
		}
		for _, template := range templates {
			text := strings.ReplaceAll(template, "{}", label)
			list = append(list, input{text: &text})
		}
	}
	return list, nil
}

// shares are the k most probable labels of an image.
func (e *engine) shares(picture []float32, labels []string, classes [][]float32, k int) []labelShare {
	cosines := make([]float64, len(classes))
	for i, class := range classes {
		cosines[i] = clip.Cosine(picture, class)
	}
	out := make([]labelShare, len(labels))
	for i, p := range clip.Softmax(cosines, e.scale) {
		out[i] = labelShare{labels[i], p}
	}
	slices.SortStableFunc(out, func(a, b labelShare) int { return cmp.Compare(b.Prob, a.Prob) })
	if k <= 0 {
		k = 5
	}
	return out[:min(k, len(out))]
}

// templates reads templates: each has {}, or is the name of a set. A file is never read.
func (s *Server) templates(raw json.RawMessage) (list []string, err error) {
	given, err := texts("templates", raw, s.limits.Inputs)
	if err != nil {
		return nil, err
	}
	for _, t := range given {
		switch {
		case strings.Contains(t, "{}"):
			list = append(list, t)
		case t == clip.ImageNet80, t == clip.ImageNet7:
			set, err := clip.Templates(t)
			if err != nil {
				return nil, err
			}
			list = append(list, set...)
		default:
			return nil, badRequest("templates", fmt.Sprintf("the template %.100q must have {} for the label, or be %s or %s", t, clip.ImageNet80, clip.ImageNet7))
		}
	}
	if len(list) == 0 {
		list = []string{"{}"}
	}
	return list, nil
}

// meanRow is the mean of L2-normalised rows, normalised.
func meanRow(rows []encoded) ([]float32, error) {
	var sum []float64
	for _, r := range rows {
		if r.err != nil {
			return nil, r.err
		}
		if sum == nil {
			sum = make([]float64, len(r.row))
		}
		for i, x := range r.row {
			sum[i] += float64(x)
		}
	}
	return clip.Normalized(sum), nil
}
