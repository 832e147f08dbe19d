package serve

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tokenizer"
)

// Options say what a server is. The zero value serves the model to whoever reaches it, under
// [DefaultLimits].
type Options struct {
	Name    string   // what the API calls the model; the default is the last part of Model.Name
	Aliases []string // further names that requests may use for it; "*" is every name
	Version string   // of the program, for /meta and /metrics

	Limits Limits
	Token  string   // that requests must bear, except for the page and the probes of health; empty for none
	Hosts  []string // names in the Host header that are answered; nil for every. A page on the web cannot then reach a server on loopback by a name of its own

	AllowFetch bool // pictures may be given by address, in public networks alone
	NoOrient   bool // pictures are taken as they lie in the file, whatever the orientation in their EXIF data

	// Notice is a sentence that the page shows above all else and GET /healthz has as "notice",
	// such as that the model does not know photographs; empty for none.
	Notice string

	// Index is what /v1/search searches; nil for none.
	Index Index
	// Thumbnail makes a small picture of a file that the index found, for the page; nil shows none.
	Thumbnail func(path string) (data []byte, mediaType string, err error)

	Log *slog.Logger // nil for silence
}

// cachedTexts is how many texts' features are kept.
const cachedTexts = 4096

// Server is an [http.Handler] around a model. Close it when it is not used by Serve.
type Server struct {
	model     *clip.Model
	tokenizer tokenizer.Encoder
	scale     float64 // of the cosines in a softmax
	name      string
	aliases   []string
	version   string
	limits    Limits
	token     [32]byte // SHA-256 of the token
	guarded   bool     // by the token
	hosts     []string
	index     Index
	thumbnail func(path string) (data []byte, mediaType string, err error)
	notice    string   // of Options
	fetcher   *fetcher // nil where addresses are refused

	thumbnails chan struct{} // how many are drawn at a time
	log        *slog.Logger

	admission *admission
	batcher   *batcher
	cache     *textCache
	metrics   *metrics
	handler   http.Handler
	routes    []route
	sign      [32]byte // the key of the addresses of found pictures
	draining  atomic.Bool
	answered  atomic.Int64 // requests that were accepted and answered
}

// New makes a server of m, whose weights must not change while it lives.
func New(ctx context.Context, m *clip.Model, o Options) (*Server, error) {
	limits, err := o.Limits.filled()
	if err != nil {
		return nil, err
	}
	t, err := m.Tokenizer(ctx)
	if err != nil {
		return nil, err
	}
	scale, err := m.Scale()
	if err != nil {
		return nil, err
	}
	s := &Server{model: m, tokenizer: t, scale: scale, limits: limits, hosts: o.Hosts, index: o.Index, thumbnail: o.Thumbnail, notice: o.Notice,
		name: cmp.Or(o.Name, filepath.Base(m.Name)), aliases: o.Aliases, version: cmp.Or(o.Version, "goclip"),
		log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), admission: &admission{limits: limits}, cache: newTextCache(cachedTexts)}
	if o.Token != "" {
		s.token, s.guarded = tokenSum(o.Token), true
	}
	if o.AllowFetch {
		s.fetcher = newFetcher(limits)
	}
	if _, err := rand.Read(s.sign[:]); err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	s.thumbnails = make(chan struct{}, 2)
	s.metrics = newMetrics(s)
	if s.batcher, err = newBatcher(m, limits, !o.NoOrient, s.admission, s.metrics, s.log); err != nil {
		return nil, err
	}
	s.routes = s.table()
	s.handler = s.middleware(s.mux())
	return s, nil
}

// Close ends the server's goroutines. No request may be under way.
func (s *Server) Close() { s.batcher.close() }

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Answered counts the requests that were accepted and answered in full.
func (s *Server) Answered() int64 { return s.answered.Load() }

// Serve answers on listener until ctx ends. Then no more is accepted, what was is answered within
// Limits.Grace, and the server is closed.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	defer s.Close()
	server := &http.Server{Handler: s, ReadHeaderTimeout: min(s.limits.Read, 10*time.Second), ReadTimeout: s.limits.Read,
		WriteTimeout: s.limits.Write, IdleTimeout: s.limits.Idle, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.Grace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		n, _ := s.admission.depth()
		return errors.Join(fmt.Errorf("serve: %d inputs were still being computed after %s", n, s.limits.Grace), server.Close())
	}
	return nil
}

// called is whether a request means this model by name. Ollama puts ":latest" behind one.
func (s *Server) called(name string) bool {
	name = strings.TrimSuffix(name, ":latest")
	if name == "" || name == s.name || name == s.model.Name {
		return true
	}
	for _, alias := range s.aliases {
		if alias == name || alias == "*" {
			return true
		}
	}
	return false
}

// checkModel refuses a request for another model: vectors of two models do not mix.
func (s *Server) checkModel(param, name string) error {
	if s.called(name) {
		return nil
	}
	return refuse(http.StatusNotFound, "model_not_found", param, fmt.Sprintf("the model %.100q is not served here; %s is", name, s.name))
}
