package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"time"
)

// isClip is whether a form's entries are of the task clip, or of none that could be passed on.
func isClip(entries []byte) bool {
	var tasks map[string]json.RawMessage
	if json.Unmarshal(entries, &tasks) != nil || len(tasks) != 1 {
		return true // its error comes from here
	}
	_, clip := tasks["clip"]
	return clip
}

// immichTime is how long Immich's own service may take for faces or for text in an image.
const immichTime = 2 * time.Minute

// passOn has Immich's own machine learning service answer, which has the models for faces and OCR.
func (s *Server) passOn(w http.ResponseWriter, r *http.Request, form *immichForm) error {
	body, contentType, err := form.encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), immichTime)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, s.immich.JoinPath("predict").String(), body)
	if err != nil {
		return err
	}
	ask.Header.Set("Content-Type", contentType)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(immichTime + s.limits.Write)) // a recorder in a test has none
	answer, err := http.DefaultClient.Do(ask)
	if err != nil {
		if r.Context().Err() != nil {
			return context.Cause(r.Context())
		}
		s.log.Error("Immich's own service does not answer", "error", err)
		return refuse(http.StatusBadGateway, "upstream_failed", "", "the service that faces and OCR are passed on to does not answer")
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.WriteHeader(answer.StatusCode)
	if n, err := io.Copy(w, io.LimitReader(answer.Body, s.limits.Body+1)); err != nil || n > s.limits.Body {
		s.log.Error("the answer of Immich's own service was cut", "bytes", n, "error", err)
		panic(http.ErrAbortHandler) // so that the client sees it, too
	}
	return nil
}

// encode writes the form as Immich does.
func (f *immichForm) encode() (body io.Reader, contentType string, err error) {
	var head bytes.Buffer
	w := multipart.NewWriter(&head)
	err = w.WriteField("entries", string(f.entries))
	for name, value := range map[string]*string{"text": f.text, "assetId": f.asset} {
		if err == nil && value != nil {
			err = w.WriteField(name, *value)
		}
	}
	if err == nil && f.image != nil {
		_, err = w.CreateFormFile("image", "blob")
	}
	if err != nil {
		return nil, "", err
	}
	if f.image == nil {
		err = w.Close()
		return &head, w.FormDataContentType(), err
	}
	end := fmt.Sprintf("\r\n--%s--\r\n", w.Boundary())
	return io.MultiReader(&head, bytes.NewReader(f.image), bytes.NewReader([]byte(end))), w.FormDataContentType(), nil
}
