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

// score answers POST /v1/score: the similarity of every picture with every text.
func (s *Server) score(w http.ResponseWriter, r *http.Request) error {
	var held bodies
	defer held.release()
	var q scoreRequest
	if err := s.readJSON(w, r, &held, &q); err != nil {
		return err
	}
	words, images, err := s.pairs(q.Model, "texts", q.Texts, q.Images)
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
	rows, err := s.encode(r.Context(), inputs)
	if err != nil {
		return err
	}
	pictures, written := rows[:len(images)], rows[len(images):]
	for _, text := range written {
		if text.err != nil {
			return text.err // without its column there is no table
		}
	}
	a := scoreAnswer{Model: s.name, LogitScale: s.scale, Texts: words, Images: make([]imageScore, len(images))}
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
		a.Images[i].Prob = clip.Softmax(a.Images[i].Cosine, s.scale)
	}
	if failed == len(images) {
		return pictures[0].err
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// pairs reads what score and classify have in common: texts and pictures, at least one of each.
func (s *Server) pairs(model, param string, rawTexts, rawImages json.RawMessage) ([]string, []input, error) {
	if err := s.checkModel("model", model); err != nil {
		return nil, nil, err
	}
	words, err := texts(param, rawTexts, s.limits.Inputs)
	if err != nil {
		return nil, nil, err
	}
	images, err := pictures("images", rawImages, s.limits.Inputs)
	switch {
	case err != nil:
		return nil, nil, err
	case len(words) == 0:
		return nil, nil, badRequest(param, param+" is missing; an array of strings is wanted")
	case len(images) == 0:
		return nil, nil, badRequest("images", "images is missing; an array of data URIs or base64 is wanted")
	}
	return words, images, nil
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

// mostPrompts bounds labels times templates of a request.
const mostPrompts = 4096

// classify answers POST /v1/classify: zero-shot classes. A label's row is the mean of its prompts'
// features, normalised again (paper, section 3.1.4), as clip.Model.Classifier has it.
func (s *Server) classify(w http.ResponseWriter, r *http.Request) error {
	var held bodies
	defer held.release()
	var q classifyRequest
	if err := s.readJSON(w, r, &held, &q); err != nil {
		return err
	}
	labels, images, err := s.pairs(q.Model, "labels", q.Labels, q.Images)
	if err != nil {
		return err
	}
	templates, err := s.templates(q.Templates)
	if err != nil {
		return err
	}
	if n := len(labels) * len(templates); n > mostPrompts {
		return tooMany(fmt.Sprintf("labels times templates, %d,", n), mostPrompts)
	}
	prompts := make([]input, 0, len(labels)*len(templates))
	for _, label := range labels {
		if strings.TrimSpace(label) == "" {
			return badRequest("labels", "a label is empty")
		}
		for _, template := range templates {
			prompts = append(prompts, textInput(strings.ReplaceAll(template, "{}", label)))
		}
	}
	rows, err := s.encode(r.Context(), append(images, prompts...))
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
	a := classifyAnswer{Model: s.name, Images: make([]imageClass, len(images))}
	failed := 0
	for i, picture := range pictures {
		a.Images[i].Index = i
		if picture.err != nil {
			failed++
			a.Images[i].Error = s.itemError(picture.err)
			continue
		}
		a.Images[i].Labels = s.shares(picture.row, labels, classes, q.TopK)
	}
	if failed == len(images) {
		return pictures[0].err
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// shares are the k most probable labels of a picture.
func (s *Server) shares(picture []float32, labels []string, classes [][]float32, k int) []labelShare {
	cosines := make([]float64, len(classes))
	for i, class := range classes {
		cosines[i] = clip.Cosine(picture, class)
	}
	out := make([]labelShare, len(labels))
	for i, p := range clip.Softmax(cosines, s.scale) {
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
			return nil, badRequest("templates", fmt.Sprintf("the template %.100q has no {} for the label, and is none of %s and %s", t, clip.ImageNet80, clip.ImageNet7))
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
