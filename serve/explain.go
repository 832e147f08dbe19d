package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
)

type explainRequest struct {
	Model  string `json:"model"`
	Image  string `json:"image"` // a data URI, base64 or an address
	Text   string `json:"text"`
	Method string `json:"method"` // windows without
}

// explainAnswer is the JSON of infer explain, without the image's path.
type explainAnswer struct {
	Model  string      `json:"model"`
	Text   string      `json:"text"`
	Method string      `json:"method"`
	Cosine float64     `json:"cosine"`
	Size   [2]int      `json:"size"`
	Region [4]float64  `json:"region"`
	Map    [][]float64 `json:"map"`
}

// explain answers POST /v1/explain: where in an image a text is.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	var held bodies
	defer held.release()
	var q explainRequest
	if err := s.readJSON(w, r, &held, &q); err != nil {
		return err
	}
	method := clip.ExplainWindows
	var err error
	if q.Method != "" {
		if method, err = clip.ParseExplainMethod(q.Method); err != nil {
			return badRequest("method", "method must be windows, values or gradient")
		}
	}
	switch text := textInput(q.Text); {
	case q.Text == "":
		return badRequest("text", "text is missing; it must be what is looked for in the image")
	case q.Image == "":
		return badRequest("image", "image is missing; it must be a data URI or base64")
	case text.err != nil:
		return text.err
	case len(q.Text) > s.limits.TextBytes:
		return refuse(http.StatusRequestEntityTooLarge, "text_too_long", "text", fmt.Sprintf("a text of %d bytes is more than %d", len(q.Text), s.limits.TextBytes))
	}
	e, err := s.engine(r.Context(), "model", q.Model)
	if err != nil {
		return err
	}
	defer s.models.release(e)
	found, err := e.explain(r.Context(), imageInput([]byte(q.Image)), q.Text, method, &held)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, explainAnswer{e.name(), q.Text, method.String(), found.Cosine, found.Size, found.Region, found.Map})
	return nil
}

// explain runs the model alone, between the batches of others. It counts as one input of the
// queue.
func (e *engine) explain(ctx context.Context, in input, text string, method clip.ExplainMethod, held *bodies) (*clip.Explanation, error) {
	s, b := e.server, e.batcher
	ctx, cancel := context.WithTimeoutCause(ctx, s.limits.Wait, s.late())
	defer cancel()
	var err error
	if in.fetch != "" {
		in.file, err = s.fetch(ctx, in.fetch, held)
	}
	if err = errors.Join(in.err, err); err != nil {
		return nil, err
	}
	head, err := preprocess.ReadHeader(in.file, b.decoding)
	if err != nil {
		return nil, imageProblem(err)
	}
	if p := s.admission.enter(b.pace, 1); p != nil {
		return nil, p
	}
	defer s.admission.leave(b.pace)
	if err := s.decoding.Acquire(ctx, head.Memory); err != nil {
		return nil, context.Cause(ctx)
	}
	defer s.decoding.Release(head.Memory)
	if err := s.turn.Acquire(ctx, int64(s.threads)); err != nil {
		return nil, context.Cause(ctx)
	}
	defer s.turn.Release(int64(s.threads))
	start := time.Now()
	found, err := e.model.Explain(ctx, clip.FromBytes(in.file), text, &clip.ExplainOptions{Method: method, Limits: b.decoding})
	s.metrics.stage("explain", time.Since(start))
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, clip.ErrUnsupported):
		return nil, badRequest("method", err.Error())
	case errors.As(err, new(*clip.ImageError)):
		return nil, imageProblem(err)
	}
	return found, err
}
