package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
)

// Editor is what an [Index] also is where images may be added and removed: PUT and DELETE of
// /v1/images/{path}, which want the server's token. Errors that are fs.ErrInvalid, fs.ErrNotExist
// and fs.ErrExist are the client's.
type Editor interface {
	// Put stores an image under a path, relative to the index's directory, and makes it findable. m is
	// the index's model.
	Put(ctx context.Context, m *clip.Model, path string, data []byte) error
	// Delete removes an image, its file too.
	Delete(ctx context.Context, m *clip.Model, path string) error
}

// Use runs f with a model, by name, which is loaded if need be and stays so meanwhile.
func (s *Server) Use(ctx context.Context, name string, f func(m *clip.Model) error) error {
	e, err := s.engine(ctx, "model", name)
	if err != nil {
		return err
	}
	defer s.models.release(e)
	return f(e.model)
}

// editor is the index that a request edits.
func (s *Server) editor(r *http.Request) (Editor, string, error) {
	ix, err := s.indexed(r.URL.Query().Get("index"))
	if err != nil {
		return nil, "", err
	}
	e, ok := ix.Index.(Editor)
	if !ok || !s.guarded {
		return nil, "", refuse(http.StatusForbidden, "index_read_only", "", "the images of this index cannot be changed over HTTP")
	}
	return e, s.models.find(ix.Model).Name, nil
}

type editAnswer struct {
	Path string `json:"path"`
}

// putImage answers PUT /v1/images/{path}, whose body is the image's file.
func (s *Server) putImage(w http.ResponseWriter, r *http.Request) error {
	editor, model, err := s.editor(r)
	if err != nil {
		return err
	}
	var held bodies
	defer held.release()
	data, err := s.readBody(w, r, &held)
	if err != nil {
		return err
	}
	if _, err := preprocess.ReadHeader(data, preprocess.Limits{MaxPixels: s.limits.Pixels, MaxBytes: s.limits.Body, MaxMemory: s.limits.Decoding, NoSystem: s.noSystem}); err != nil {
		return imageProblem(err)
	}
	path := r.PathValue("path")
	err = s.Use(r.Context(), model, func(m *clip.Model) error { return editor.Put(r.Context(), m, path, data) })
	if err != nil {
		return editProblem(path, err)
	}
	writeJSON(w, http.StatusCreated, editAnswer{path})
	return nil
}

// deleteImage answers DELETE /v1/images/{path}.
func (s *Server) deleteImage(w http.ResponseWriter, r *http.Request) error {
	editor, model, err := s.editor(r)
	if err != nil {
		return err
	}
	path := r.PathValue("path")
	err = s.Use(r.Context(), model, func(m *clip.Model) error { return editor.Delete(r.Context(), m, path) })
	if err != nil {
		return editProblem(path, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func editProblem(path string, err error) error {
	switch {
	case errors.As(err, new(*preprocess.Error)):
		return imageProblem(err)
	case errors.Is(err, fs.ErrInvalid):
		return badRequest("path", fmt.Sprintf("the path %.200q must stay inside the index's directory, have no hidden part, and end as an image's name does", path))
	case errors.Is(err, fs.ErrNotExist):
		return refuse(http.StatusNotFound, "not_found", "path", fmt.Sprintf("there is no image %.200q", path))
	case errors.Is(err, fs.ErrExist):
		return refuse(http.StatusConflict, "busy", "", "the index is being changed; ask again later")
	}
	return err
}
