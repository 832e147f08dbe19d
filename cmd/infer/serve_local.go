package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/serve"
)

// A server that has an index open answers infer search of the same user: opening a model takes far
// longer than a query.

// localName is the socket in an index's directory.
const localName = "serve.sock"

var errNoServer = errors.New("no server answers")

// localRows are the answer to texts: their rows, and of which model they are.
type localRows struct {
	Weights, Transform string // of index.Model
	Rows               [][]float32
}

// local listens beside each index until ctx ends. Where no socket can be, as on a read-only disk,
// infer search opens the model.
func (c *serveCmd) local(ctx context.Context, s *serve.Server, all shelves, f modelFlags) {
	if o, err := f.options(io.Discard); err != nil || o.Precision != clip.FP32 || o.PlainText {
		return // its rows are not those that infer search computes
	}
	for _, shelf := range all {
		l, err := listenOn(ctx, address{network: "unix", at: filepath.Join(shelf.dir, localName)})
		if err != nil {
			continue
		}
		if err := os.Chmod(l.Addr().String(), 0o600); err != nil {
			l.Close()
			continue
		}
		server := &http.Server{ReadTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer, err := shelf.localRows(r, s)
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			_ = json.NewEncoder(w).Encode(answer) // a client that has gone
		})}
		go server.Serve(l)
		context.AfterFunc(ctx, func() { server.Close() })
	}
}

func (s *shelf) localRows(r *http.Request, to *serve.Server) (a localRows, err error) {
	var texts []string
	if err = json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20)).Decode(&texts); err != nil {
		return a, err
	}
	now := s.now()
	info, err := now.Info(r.Context())
	if err != nil {
		return a, err
	}
	a.Weights, a.Transform = info.Model.Weights, info.Model.Transform
	a.Rows, err = to.Texts(r.Context(), now.model, texts...)
	return a, err
}

// askLocal has the server of an index make the rows of texts. Any error means that the model has to
// be opened.
func askLocal(ctx context.Context, dir string, known index.Model, texts []string) ([][]float32, error) {
	path := filepath.Join(dir, localName)
	if info, err := os.Stat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		return nil, errNoServer
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(texts)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var a localRows
	if err := json.NewDecoder(answer.Body).Decode(&a); err != nil || answer.StatusCode != http.StatusOK {
		return nil, errNoServer
	}
	wrong := func(row []float32) bool { return len(row) != known.EmbedDim }
	if a.Weights != known.Weights || a.Transform != known.Transform || len(a.Rows) != len(texts) || slices.ContainsFunc(a.Rows, wrong) {
		return nil, fmt.Errorf("%s: the server has another model", path)
	}
	return a.Rows, nil
}
