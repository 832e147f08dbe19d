package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goclip/goclip/clip"
)

// Model is a model that a server answers with.
type Model struct {
	Name    string   // what the API calls it
	Aliases []string // further names that requests may use for it; "*" is every name
	Preload bool     // open it when the server is made, and not when the first request asks for it

	// Open opens the model: at its first use, again after it was unloaded, and by [Server.Reload].
	// Its weights must not change while it is served.
	Open func(ctx context.Context) (*clip.Model, error)
}

// Loaded returns a model that is open already.
func Loaded(m *clip.Model) Model {
	return Model{Name: filepath.Base(m.Name), Aliases: []string{m.Name}, Preload: true,
		Open: func(context.Context) (*clip.Model, error) { return m, nil }}
}

// served is a model and, while it is loaded, its engine. The registry's mu guards what changes.
type served struct {
	Model
	engine  *engine // nil before it is loaded
	known   *facts  // since it was first loaded
	waiting []chan loading
	opening bool
	used    time.Time
	idle    *time.Timer // of the TTL; nil before the first use
	failure error       // of the latest try, until it is tried again
	failed  time.Time
}

// loading is what those who wait for a model are given.
type loading struct {
	engine *engine
	err    error
}

// registry has the models and decides which are loaded.
type registry struct {
	open   func(ctx context.Context, m *served) (*engine, error)
	ttl    time.Duration // after which an unused model is unloaded; 0: never
	memory int64         // bytes of weights that are loaded together at most; 0: no bound
	log    *slog.Logger
	ctx    context.Context // of opening; ends with the server
	stop   context.CancelFunc

	turn     chan struct{} // models are opened one after the other
	starting bool          // preload has the errors

	mu       sync.Mutex
	list     []*served
	bytes    int64      // of the weights of all engines that are not closed
	retiring int        // engines that are to be closed when their requests are answered
	freed    *sync.Cond // one was closed
}

// retryAfter is how long a model that could not be opened is not tried again.
const retryAfter = 5 * time.Second

func newRegistry(ctx context.Context, models []Model, o *Options, log *slog.Logger) (*registry, error) {
	r := &registry{ttl: o.TTL, memory: o.Memory, log: log, turn: make(chan struct{}, 1)}
	r.freed = sync.NewCond(&r.mu)
	r.ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	names := map[string]bool{}
	for _, m := range models {
		if m.Name == "" || m.Open == nil {
			return nil, errors.New("serve: a Model must have a Name and Open")
		}
		for _, name := range append([]string{m.Name}, m.Aliases...) {
			if name != m.Name && name == "" || names[name] && (name == m.Name || name == "*") {
				return nil, fmt.Errorf("serve: two models are called %q", name)
			}
		}
		names[m.Name] = true
		r.list = append(r.list, &served{Model: m})
	}
	if len(r.list) == 0 {
		return nil, errors.New("serve: at least one Model must be given")
	}
	return r, nil
}

// find is the model that a request means by name. Ollama puts ":latest" behind one. Without a name
// it is the first.
func (r *registry) find(name string) *served {
	name = strings.TrimSuffix(name, ":latest")
	if name == "" {
		return r.list[0]
	}
	for _, m := range r.list {
		if m.Name == name || slices.Contains(m.Aliases, name) {
			return m
		}
	}
	for _, m := range r.list {
		if slices.Contains(m.Aliases, "*") {
			return m
		}
	}
	return nil
}

func (r *registry) names() string {
	var names []string
	for _, m := range r.list {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

// acquire gives a model's engine, which is not closed before it is released.
func (r *registry) acquire(ctx context.Context, m *served) (*engine, error) {
	r.mu.Lock()
	if e := m.engine; e != nil {
		e.users++
		m.used = time.Now()
		r.mu.Unlock()
		return e, nil
	}
	if m.failure != nil && time.Since(m.failed) < retryAfter {
		r.mu.Unlock()
		return nil, m.unavailable()
	}
	wait := make(chan loading, 1)
	m.waiting = append(m.waiting, wait)
	if !m.opening {
		m.opening = true
		go r.load(m)
	}
	r.mu.Unlock()
	select {
	case l := <-wait:
		return l.engine, l.err
	case <-ctx.Done():
	}
	r.mu.Lock()
	if i := slices.Index(m.waiting, wait); i >= 0 {
		m.waiting = slices.Delete(m.waiting, i, i+1)
		r.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	r.mu.Unlock()
	if l := <-wait; l.engine != nil { // it was handed over meanwhile
		r.release(l.engine)
	}
	return nil, context.Cause(ctx)
}

func (m *served) unavailable() error {
	p := refuse(http.StatusServiceUnavailable, "model_unavailable", "model", fmt.Sprintf("the model %.100q cannot be loaded; the server's log says why", m.Name))
	p.retry = int(retryAfter.Seconds())
	return p
}

func (r *registry) release(e *engine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.users--
	e.of.used = time.Now()
	r.settle(e)
}

// settle closes an engine that is no longer needed, or sets its time. The caller holds mu.
func (r *registry) settle(e *engine) {
	switch {
	case e.users > 0:
	case e.retired:
		go r.close(e)
	case r.ttl > 0 && e.of.idle == nil:
		m := e.of // the timer must not hold the engine, which another model may have to make room for
		m.idle = time.AfterFunc(r.ttl, func() { r.expire(m) })
	case r.ttl > 0:
		e.of.idle.Reset(r.ttl)
	}
}

// expire unloads a model that nobody has used for the TTL.
func (r *registry) expire(m *served) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := m.engine; e != nil && e.users == 0 && time.Since(m.used) >= r.ttl {
		r.log.Info("a model is unloaded: nobody used it", "model", m.Name)
		r.retire(e)
	}
}

// retire takes an engine from those that come; those that have it keep it. The caller holds mu.
func (r *registry) retire(e *engine) {
	if e.of.engine == e {
		e.of.engine = nil
	}
	e.retired = true
	r.retiring++
	r.settle(e)
}

func (r *registry) close(e *engine) {
	e.end()
	runtime.GC() // the weights are freed with their handles
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes -= e.Bytes
	r.retiring--
	r.freed.Broadcast()
}

// load opens a model for those who wait for it.
func (r *registry) load(m *served) {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.engine != nil { // its time was over while it was reloaded
		r.handOver(m, m.engine, nil)
		return
	}
	r.makeRoom(m, r.expected(m))
	r.mu.Unlock()
	e, err := (*engine)(nil), r.ctx.Err()
	if err == nil {
		e, err = r.opened(m)
	}
	r.mu.Lock()
	r.handOver(m, e, err)
	if err == nil {
		r.shrink(m, 0) // it may be larger than expected
	}
}

// handOver gives those who wait for a model its engine, or why there is none. The caller holds mu.
func (r *registry) handOver(m *served, e *engine, err error) {
	m.failure, m.failed = err, time.Now()
	if err != nil {
		err = m.unavailable()
	} else {
		m.engine, m.used = e, time.Now()
		e.users += len(m.waiting)
		r.settle(e)
	}
	for _, wait := range m.waiting {
		wait <- loading{e, err}
	}
	m.waiting, m.opening = nil, false
}

// opened is an engine of m, counted.
func (r *registry) opened(m *served) (*engine, error) {
	start := time.Now()
	e, err := r.open(r.ctx, m)
	if err == nil && r.memory > 0 && e.Bytes > r.memory {
		err = fmt.Errorf("its weights have %d bytes, more than Memory, %d", e.Bytes, r.memory)
		e.end()
	}
	if err != nil {
		runtime.GC() // what was opened is freed with its handles
		if !r.starting {
			r.log.Error("a model could not be loaded", "model", m.Name, "error", err)
		}
		return nil, err
	}
	r.log.Info("a model is loaded", "model", m.Name, "bytes", e.Bytes, "seconds", time.Since(start).Seconds())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes += e.Bytes
	f := e.facts
	m.known = &f
	return e, nil
}

// reload opens a loaded model again, and answers with the new one from then on. One that cannot be
// opened stays as it was. The former stays until then, so other models are unloaded for both.
func (r *registry) reload(m *served) error {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	r.mu.Lock()
	old := m.engine
	if old != nil {
		r.makeRoom(m, old.Bytes)
	}
	r.mu.Unlock()
	if old == nil {
		return nil
	}
	e, err := r.opened(m)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := m.engine
	m.engine, m.used = e, time.Now()
	if now != nil { // its time may have come meanwhile
		r.retire(now)
	}
	r.settle(e)
	return nil
}

// preload opens the models that are needed from the start.
func (r *registry) preload(ctx context.Context) error {
	r.starting = true
	defer func() { r.starting = false }()
	for _, m := range r.list {
		if !m.Preload {
			continue
		}
		e, err := r.acquire(ctx, m)
		if m.failure != nil {
			return m.failure
		}
		if err != nil {
			return err
		}
		r.release(e)
	}
	return nil
}

// end closes all engines. No request may be under way.
func (r *registry) end() {
	r.stop()
	r.turn <- struct{}{} // what is being opened is waited for
	defer func() { <-r.turn }()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.list {
		if m.engine != nil {
			r.retire(m.engine)
		}
		if m.idle != nil {
			m.idle.Stop()
		}
	}
	for r.retiring > 0 {
		r.freed.Wait()
	}
}

// changed names the loaded models that answer with errors until they are opened again, by
// [Server.Reload].
func (r *registry) changed() (names []string) {
	r.each(func(e *engine) {
		if e.model.CheckWeights() != nil {
			names = append(names, e.name())
		}
	})
	return names
}

// each runs f on the engines that are loaded, none of which is closed meanwhile.
func (r *registry) each(f func(e *engine)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.list {
		if m.engine != nil {
			f(m.engine)
		}
	}
}
