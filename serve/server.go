package serve

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/sync/semaphore"

	"github.com/goclip/goclip/torch"
)

// Options configure a server. The zero value serves its models to every client that reaches it, under
// [DefaultLimits].
type Options struct {
	Version string // of the program, for /meta and /metrics

	TTL    time.Duration // after which a model that nobody uses is unloaded; 0: never
	Memory int64         // bytes of weights that are loaded together at most: the model used the longest ago makes room; 0: no bound

	Limits Limits
	Token  string   // that requests must bear, except for the page and the probes of health; empty for none
	Hosts  []string // names in the Host header that are answered; nil for every. A page on the web cannot then reach a server on loopback by a name of its own

	BasePath string         // such as "/clip", below which everything is served, too; a proxy may leave it or take it away
	Proxies  []netip.Prefix // proxies whose X-Forwarded-Host and X-Forwarded-For are believed; a unix socket's always are
	Origins  []string       // sites ("https://photos.example") whose pages may ask from a browser; "*" is every site

	AllowFetch bool // images may be given by address, in public networks alone
	NoSystem   bool // HEIC, AVIF, JPEG XL and JPEG 2000 are refused, which libraries of the system decode: C++ that strangers' files would reach
	NoOrient   bool // images are taken as they lie in the file, whatever the orientation in their EXIF data

	// Notice is a sentence that the page shows above all else and GET /healthz has as "notice",
	// such as that the model does not know photographs; empty for none.
	Notice string

	// ImmichUpstream is Immich's own machine learning service, which gets the requests of POST /predict
	// that are not of CLIP: faces and OCR. nil refuses them.
	ImmichUpstream *url.URL

	// Indices are what /v1/search searches; the first is meant where a request names none.
	Indices []Indexed
	// Thumbnail makes a small image of a file that the index found, for the page; nil shows none. It
	// calls hold once with the bytes that it takes, which waits until [Limits].Decoding has room.
	Thumbnail func(ctx context.Context, path string, hold func(bytes int64) error) (data []byte, mediaType string, err error)
	// Original opens such a file unchanged, for a click on the page; nil shows Thumbnail's.
	Original func(path string) (io.ReadSeekCloser, error)

	Log *slog.Logger // nil for silence
	// Tracing makes a span of each request, and of the stages of its inputs: decode, queue, and
	// forward_image or forward_text with the size of the batch. nil for none.
	Tracing trace.TracerProvider
}

// Server is an [http.Handler] around models. Close it when it is not used by Serve.
type Server struct {
	models    *registry
	version   string
	limits    Limits
	token     [32]byte // SHA-256 of the token
	guarded   bool     // by the token
	hosts     []string
	base      string
	immich    *url.URL
	proxies   []netip.Prefix
	origins   []string
	indices   []Indexed
	thumbnail func(ctx context.Context, path string, hold func(bytes int64) error) (data []byte, mediaType string, err error)
	original  func(path string) (io.ReadSeekCloser, error)
	notice    string   // of Options
	orient    bool     // images are turned upright
	noSystem  bool     // no library of the system decodes
	fetcher   *fetcher // nil where addresses are refused
	log       *slog.Logger
	tracer    trace.Tracer

	admission  *admission
	decoding   *semaphore.Weighted // bytes of Limits.Decoding
	answers    *semaphore.Weighted // bytes of large answers, of Limits.Bodies too
	decoders   chan struct{}       // how many images are decoded at a time
	threads    int                 // of libtorch's kernels
	turn       *semaphore.Weighted // the threads, which the batches hold that are computed
	thumbnails chan struct{}       // how many are drawn at a time
	lingering  chan struct{}       // clients that send on after their refusal
	metrics    *metrics
	handler    http.Handler
	routes     []route
	sign       [32]byte // the key of the addresses of found images
	draining   atomic.Bool
	lost       chan error   // why nothing will be computed any more
	answered   atomic.Int64 // requests that were accepted and answered
}

// New makes a server of models, of which the first is the one that requests without a name mean.
// Those that are to be preloaded are opened.
func New(ctx context.Context, o Options, models ...Model) (*Server, error) {
	limits, err := o.Limits.filled()
	if err != nil {
		return nil, err
	}
	if limits.Decoders == 0 {
		limits.Decoders = runtime.GOMAXPROCS(0)
	}
	s := &Server{limits: limits, hosts: o.Hosts, base: strings.TrimSuffix(o.BasePath, "/"), proxies: o.Proxies, origins: o.Origins, immich: o.ImmichUpstream,
		indices: o.Indices, thumbnail: o.Thumbnail, original: o.Original, notice: o.Notice, orient: !o.NoOrient, noSystem: o.NoSystem, version: cmp.Or(o.Version, "goclip"),
		log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), admission: &admission{limits: limits},
		decoding: semaphore.NewWeighted(limits.Decoding), answers: semaphore.NewWeighted(limits.Bodies), decoders: make(chan struct{}, limits.Decoders), threads: torch.NumThreads(), turn: semaphore.NewWeighted(int64(torch.NumThreads())),
		thumbnails: make(chan struct{}, 2), lingering: make(chan struct{}, maxLingering), lost: make(chan error, 1)}
	if o.Tracing == nil {
		o.Tracing = noop.NewTracerProvider()
	}
	s.tracer = o.Tracing.Tracer("github.com/goclip/goclip/serve")
	if o.Token != "" {
		s.token, s.guarded = tokenSum(o.Token), true
	}
	if s.base != "" && s.base[0] != '/' {
		return nil, fmt.Errorf("serve: BasePath %q must begin with a slash", o.BasePath)
	}
	if o.AllowFetch {
		s.fetcher = newFetcher(limits)
	}
	if _, err := rand.Read(s.sign[:]); err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	if s.models, err = newRegistry(ctx, models, &o, s.log); err != nil {
		return nil, err
	}
	for _, ix := range o.Indices {
		if s.models.find(ix.Model) == nil {
			return nil, fmt.Errorf("serve: the index %q is of the model %q, which is not served", ix.Name, ix.Model)
		}
	}
	s.models.open = s.openEngine
	s.metrics = newMetrics(s)
	s.routes = s.table()
	s.handler = s.middleware(s.mux())
	if err := s.models.preload(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the server's goroutines. No request may be under way.
func (s *Server) Close() { s.models.end() }

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Answered counts the requests that were accepted and answered in full.
func (s *Server) Answered() int64 { return s.answered.Load() }

// Reload opens the loaded models again, as after their files were replaced. Requests are answered
// meanwhile: those in progress by the former model, later ones by the new one. A model that
// cannot be opened stays as it was.
func (s *Server) Reload() error {
	var failures []error
	for _, m := range s.models.list {
		failures = append(failures, s.models.reload(m))
	}
	return errors.Join(failures...)
}

// Serve answers on listeners until ctx ends. Then no more is accepted, what was is answered within
// Limits.Grace, and the server is closed. Serve does not wait longer than a second more, even if a
// library of the system still decodes an image. It ends at once, with [torch.ErrDeviceLost], when
// the GPU is lost: the process should then be restarted.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: min(s.limits.Read, 10*time.Second), ReadTimeout: s.limits.Read,
		WriteTimeout: s.limits.Write, IdleTimeout: s.limits.Idle, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(&loggedListener{Listener: l, log: s.log}) }()
	}
	select {
	case err := <-failed:
		err = errors.Join(fmt.Errorf("serve: %w", err), server.Close())
		s.Close()
		return err
	case err := <-s.lost: // freeing what is on the device could end the process without a word
		return errors.Join(fmt.Errorf("serve: the server must be restarted: %w", err), server.Close())
	case <-ctx.Done():
	}
	s.draining.Store(true)
	end := time.After(s.limits.Grace + time.Second)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.Grace)
	defer cancel()
	err := server.Shutdown(grace)
	if err != nil {
		n, _ := s.admission.depth()
		err = errors.Join(fmt.Errorf("serve: %d inputs were still being computed after %s", n, s.limits.Grace), server.Close())
	}
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	select {
	case <-closed:
	case <-end: // a library of the system decodes, which cannot be stopped
	}
	return err
}

// lose tells Serve that the device is gone.
func (s *Server) lose(err error) {
	s.draining.Store(true)
	select {
	case s.lost <- err:
	default:
	}
}

// loggedListener says why no connection is accepted, such as for want of file descriptors, once in
// ten seconds: http.Server tries again and again.
type loggedListener struct {
	net.Listener
	log  *slog.Logger
	said time.Time
}

func (l *loggedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) && time.Since(l.said) > 10*time.Second {
		l.said = time.Now()
		l.log.Error("no connection can be accepted; the server tries again", "error", err)
	}
	return c, err
}

// engine is the model that a request means by name. The caller releases it.
func (s *Server) engine(ctx context.Context, param, name string) (*engine, error) {
	m := s.models.find(name)
	if m == nil {
		return nil, s.noModel(param, name)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.limits.Wait, s.late())
	defer cancel()
	return s.models.acquire(ctx, m)
}

// noModel refuses a request for another model: vectors of two models do not mix.
func (s *Server) noModel(param, name string) error {
	verb := "is"
	if len(s.models.list) > 1 {
		verb = "are"
	}
	return refuse(http.StatusNotFound, "model_not_found", param, fmt.Sprintf("the model %.100q is not served here; %s %s", name, s.models.names(), verb))
}
