package serve

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// route is one operation of the API.
type route struct {
	method, path string
	errors       dialect
	open         bool // without the token
	work         bool // it runs the model: refused at once when the queue is full
	handle       func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) table() []route {
	get := func(path string, handle func(w http.ResponseWriter, r *http.Request) error) route {
		return route{method: http.MethodGet, path: path, errors: asOpenAI, open: true, handle: handle}
	}
	work := func(path string, errors dialect, handle func(w http.ResponseWriter, r *http.Request) error) route {
		return route{method: http.MethodPost, path: path, errors: errors, work: true, handle: handle}
	}
	metrics := get("/metrics", func(w http.ResponseWriter, r *http.Request) error { s.metrics.handler().ServeHTTP(w, r); return nil })
	models, one := get("/v1/models", s.listModels), get("/v1/models/{id...}", s.oneModel)
	meta := get("/meta", s.weaviateMeta)
	tags, ps, info := get("/api/tags", s.ollamaModels(false)), get("/api/ps", s.ollamaModels(true)), get("/info", s.teiInfo)
	infinityModels := get("/models", s.infinityModels)
	for _, r := range []*route{&metrics, &models, &one, &meta, &tags, &ps, &info, &infinityModels} {
		r.open = false
	}
	predict := work("/predict", asDetail, s.immichPredict)
	predict.work = s.immich == nil // else the body reports whether it is work of ours
	show := work("/api/show", asPlain, reads(s, s.ollamaShow))
	show.work = false
	embeddings := asks(s, func(q *embeddingsRequest) string { return q.Model }, s.embeddings)
	return []route{
		work("/v1/embeddings", asOpenAI, embeddings),
		work("/v1/score", asOpenAI, reads(s, s.score)),
		work("/v1/classify", asOpenAI, reads(s, s.classify)),
		work("/v1/search", asOpenAI, reads(s, s.search)),
		work("/v1/learn", asOpenAI, reads(s, s.learn)),
		work("/v1/explain", asOpenAI, s.explain),
		models, one,
		{method: http.MethodPut, path: "/v1/images/{path...}", errors: asOpenAI, work: true, handle: s.putImage},
		{method: http.MethodDelete, path: "/v1/images/{path...}", errors: asOpenAI, handle: s.deleteImage},
		get("/v1/image", s.image), // the address is signed
		predict,
		get("/ping", s.immichPing),
		work("/vectorize", asPlain, asks(s, func(*weaviateRequest) string { return "" }, s.weaviateVectorize)),
		meta,
		get("/.well-known/live", s.weaviateLive),
		get("/.well-known/ready", s.weaviateReady),
		work("/embeddings", asOpenAI, embeddings), // infinity's
		infinityModels,
		work("/embed", asTEI, asks(s, func(q *teiRequest) string { return q.Model }, s.teiEmbed)),
		info,
		get("/health", s.health), // of both
		work("/v2/embed", asMessage, asks(s, func(q *cohereRequest) string { return q.Model }, s.cohereEmbed)),
		tags, ps, show,
		get("/api/version", s.ollamaVersion),
		work("/api/embed", asPlain, asks(s, func(q *ollamaRequest) string { return q.Model }, s.ollamaEmbed)),
		work("/api/embeddings", asPlain, asks(s, func(q *ollamaOldRequest) string { return q.Model }, s.ollamaEmbeddings)),
		get("/healthz", s.health),
		metrics,
		get("/openapi.yaml", asset("openapi.yaml", "application/yaml")),
		get("/", asset("page/index.html", "text/html; charset=utf-8")),
		get("/page.css", asset("page/page.css", "text/css; charset=utf-8")),
		get("/page.js", asset("page/page.js", "text/javascript; charset=utf-8")),
		get("/korean.js", asset("page/korean.js", "text/javascript; charset=utf-8")),
		get("/where.js", asset("page/where.js", "text/javascript; charset=utf-8")),
		get("/samples/dog.png", asset("page/samples/dog.png", "image/png")),
		get("/samples/racing_car.png", asset("page/samples/racing_car.png", "image/png")),
		get("/icon.svg", asset("page/icon.svg", "image/svg+xml")),
	}
}

func (s *Server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, r := range s.routes {
		pattern := strings.TrimSuffix(r.path, "/")
		if pattern == "" {
			pattern = "/{$}"
		}
		mux.Handle(r.method+" "+pattern, s.endpoint(r))
		if methods[r.path] = append(methods[r.path], r.method); len(methods[r.path]) > 1 {
			continue
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			allow := strings.Join(methods[r.path], ", ")
			w.Header().Set("Allow", allow)
			r.errors.write(w, refuse(http.StatusMethodNotAllowed, "method_not_allowed", "", r.path+" takes "+allow))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		dialect(asOpenAI).write(w, refuse(http.StatusNotFound, "not_found", "", "nothing is served here; /openapi.yaml lists what is"))
	})
	return mux
}

// endpoint is a route's handler with what all of them share: the token, refusal when the queue is
// full, errors in the route's dialect, and figures.
func (s *Server) endpoint(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen := &watched{ResponseWriter: w, id: requestID(r)}
		w.Header().Set("X-Request-Id", seen.id)
		r, span := s.begin(r, route, seen.id)
		defer func() { finish(span, seen.code) }()
		answer := &answering{ResponseController: http.NewResponseController(w)}
		defer func() { s.answers.Release(answer.bytes) }()
		r = r.WithContext(context.WithValue(r.Context(), writerKey{}, answer))
		err := s.admit(route, r)
		accepted := err == nil
		if accepted {
			err = s.guard(route, seen, r)
		}
		if err != nil && !seen.began {
			whole := readRest(r)
			s.fail(route, seen, r, err)
			if !whole {
				s.linger(seen, r)
			}
		}
		if accepted && route.work && seen.code < http.StatusTooManyRequests {
			s.answered.Add(1)
		}
		code := strconv.Itoa(seen.code)
		s.metrics.requests.WithLabelValues(route.path, code).Inc()
		took := time.Since(start)
		s.metrics.seconds.WithLabelValues(route.path, code).Observe(took.Seconds())
		s.log.LogAttrs(r.Context(), slog.LevelDebug, "a request was answered", slog.String("request", seen.id), slog.String("method", r.Method), slog.String("path", route.path),
			slog.Int("status", seen.code), slog.Float64("seconds", took.Seconds()), slog.String("client", r.RemoteAddr))
	})
}

// admit refuses what needs no look at the body.
func (s *Server) admit(route route, r *http.Request) error {
	if s.guarded && !route.open {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		sum := tokenSum(strings.TrimSpace(given))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(sum[:], s.token[:]) != 1 {
			return refuse(http.StatusUnauthorized, "unauthorized", "", "the request needs a header Authorization: Bearer TOKEN with this server's token")
		}
	}
	if !route.work {
		return nil
	}
	if r.ContentLength > s.limits.Body {
		return refuse(http.StatusRequestEntityTooLarge, "body_too_large", "", fmt.Sprintf("the request has more than %d bytes", s.limits.Body))
	}
	if p := s.admission.full(); p != nil {
		return p
	}
	return nil
}

// guard turns a panic of a handler into an error.
func (s *Server) guard(route route, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return route.handle(w, r)
}

// writerKey is where a request's context has its answering.
type writerKey struct{}

// answering is an answer to come.
type answering struct {
	*http.ResponseController
	bytes int64 // of Server.answers that it has
}

// Of an answer: the bytes that a number takes as text, in the buffers that it passes through; and up to which
// size it does not wait for others.
const (
	numberBytes = 32
	smallAnswer = 1 << 20
)

// room waits until the answer to a request, of so many bytes, has room beside the other large ones: a short
// request can have a long answer, which its client may take slowly.
func (s *Server) room(ctx context.Context, bytes int64) error {
	answer, ok := ctx.Value(writerKey{}).(*answering)
	bytes = min(bytes, s.limits.Bodies)
	if !ok || bytes <= smallAnswer {
		return nil
	}
	full := refuse(http.StatusTooManyRequests, "memory_full", "", "other large answers are being sent; ask again after the seconds of Retry-After")
	full.retry = 1
	waiting, cancel := context.WithTimeoutCause(ctx, s.limits.Wait, full)
	defer cancel()
	if s.answers.Acquire(waiting, bytes) != nil {
		return context.Cause(waiting)
	}
	answer.bytes += bytes
	extend(ctx, s.limits)
	return nil
}

// extend gives the answer to a request its time from now on: a long one is computed in parts.
func extend(ctx context.Context, l Limits) {
	if c, ok := ctx.Value(writerKey{}).(*answering); ok {
		_ = c.SetWriteDeadline(time.Now().Add(l.Wait + l.Write)) // a recorder in a test has none
	}
}

// arrived says that a request has arrived whole: its time to arrive would otherwise end the wait for
// the model, too.
func arrived(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// requestID is what the log calls a request: the client's own name for it if that is one word.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return rand.Text()
	}
	return id
}

// fail answers with an error, and logs what is ours.
func (s *Server) fail(route route, w *watched, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		err = refuse(499, "client_gone", "", "the client has gone") // nobody reads it; the figures do
	}
	p := asProblem(err)
	if !errors.As(err, new(*problem)) {
		s.log.Error("a request failed", "request", w.id, "path", route.path, "error", err)
	}
	switch p.status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusRequestEntityTooLarge:
		s.metrics.rejected.WithLabelValues(p.code).Inc()
	}
	if p.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	route.errors.write(w, p)
}

// watched remembers the status.
type watched struct {
	http.ResponseWriter
	id    string
	code  int
	began bool
}

func (w *watched) WriteHeader(code int) {
	if !w.began {
		w.code, w.began = code, true
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *watched) Write(p []byte) (int, error) {
	if !w.began {
		w.code, w.began = http.StatusOK, true
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController through.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func tokenSum(token string) [32]byte { return sha256.Sum256([]byte(token)) }

// readJSON reads a request's body into the struct that v points to. held has the memory until the
// request is answered.
func (s *Server) readJSON(w http.ResponseWriter, r *http.Request, held *bodies, v any) error {
	data, err := s.readBody(w, r, held)
	if err != nil {
		return err
	}
	return readObject(data, v)
}

// reads is a handler of requests whose body is JSON of the struct Q.
func reads[Q any](s *Server, answer func(w http.ResponseWriter, r *http.Request, q *Q) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var held bodies
		defer held.release()
		q := new(Q)
		if err := s.readJSON(w, r, &held, q); err != nil {
			return err
		}
		return answer(w, r, q)
	}
}

// asks is one whose requests name a model, which is loaded and stays so until they are answered.
func asks[Q any](s *Server, model func(q *Q) string, answer func(w http.ResponseWriter, r *http.Request, q *Q, e *engine) error) func(http.ResponseWriter, *http.Request) error {
	return reads(s, func(w http.ResponseWriter, r *http.Request, q *Q) error {
		e, err := s.engine(r.Context(), "model", model(q))
		if err != nil {
			return err
		}
		defer s.models.release(e)
		return answer(w, r, q, e)
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil { // a NaN: the batcher lets none through
		panic(err)
	}
	data = append(data, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data))) // one write, whether it is flushed or not
	w.WriteHeader(status)
	_, _ = w.Write(data) // a client that has gone
}
