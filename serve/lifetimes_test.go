package serve

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// unload closes a model that nobody uses, as another that needs its memory does.
func unload(t testing.TB, s *Server, name string) {
	t.Helper()
	r := s.models
	r.mu.Lock()
	r.retire(r.find(name).engine)
	r.mu.Unlock()
	require.Eventually(t, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.retiring == 0 }, 10*time.Second, time.Millisecond)
}

// What is loaded can be asked while a model is unloaded.
func TestMetricsWhileAModelIsUnloaded(t *testing.T) {
	var opened atomic.Int64
	s, at := serveModels(t, Options{}, fresh("a", &opened), fresh("b", &opened))
	for _, name := range []string{"a", "b"} {
		code, _, body := post(t, at+"/v1/embeddings", object{"model": name, "input": "a dog"})
		require.Equal(t, 200, code, "%s", body)
	}
	metrics := make(chan prometheus.Metric)
	go func() {
		defer close(metrics)
		modelInfo{s}.Collect(metrics)
	}()
	time.Sleep(50 * time.Millisecond) // the first waits to be taken
	unload(t, s, "b")
	n := 0
	for range metrics {
		n++
	}
	assert.LessOrEqual(t, n, 2)
	_, err := s.metrics.registry.Gather()
	assert.NoError(t, err)
}

// Inputs whose clients have gone are not counted any more when their model is closed.
func TestInputsOfAClosedModelAreNotCounted(t *testing.T) {
	var opened atomic.Int64
	s, _ := serveModels(t, Options{Limits: Limits{BatchSize: 1}}, fresh("a", &opened))
	for range 3 {
		e, err := s.engine(t.Context(), "model", "a")
		require.NoError(t, err)
		require.NoError(t, s.turn.Acquire(t.Context(), int64(s.threads))) // a batch of another model takes long
		var inputs []input
		for i := range 20 {
			inputs = append(inputs, textInput(fmt.Sprint("text ", i)), input{file: dogFile(t)})
		}
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, leave)
		_, err = e.encode(ctx, inputs)
		assert.ErrorIs(t, err, context.Canceled)
		s.models.release(e)
		time.AfterFunc(50*time.Millisecond, func() { s.turn.Release(int64(s.threads)) })
		unload(t, s, "a")
	}
	inputs, _ := s.admission.depth()
	assert.Zero(t, inputs)
}

// A model that unloads while it is opened again, and is asked for meanwhile, is opened for both at once.
func TestReloadWhileItsTimeIsOver(t *testing.T) {
	var opened atomic.Int64
	first := fresh("a", &opened)
	open, again, through := first.Open, make(chan struct{}), make(chan struct{})
	first.Open = func(ctx context.Context) (*clip.Model, error) {
		if opened.Load() == 1 {
			close(again)
			<-through
		}
		return open(ctx)
	}
	s, at := serveModels(t, Options{TTL: 50 * time.Millisecond}, first)
	ask := func() {
		code, _, body := post(t, at+"/v1/embeddings", object{"input": "a dog"})
		assert.Equal(t, 200, code, "%s", body)
	}
	ask()
	var all sync.WaitGroup
	all.Go(func() { assert.NoError(t, s.Reload()) })
	<-again
	require.Eventually(t, func() bool { return len(loadedModels(t, at)) == 0 }, 10*time.Second, 10*time.Millisecond)
	all.Go(ask)
	require.Eventually(t, func() bool {
		s.models.mu.Lock()
		defer s.models.mu.Unlock()
		return len(s.models.list[0].waiting) == 1
	}, 10*time.Second, time.Millisecond)
	close(through)
	all.Wait()
	assert.EqualValues(t, 2, opened.Load())
	assert.Eventually(t, func() bool {
		s.models.mu.Lock()
		defer s.models.mu.Unlock()
		return s.models.bytes == 0
	}, 10*time.Second, 10*time.Millisecond, "none stays")
}

// A model that is too large for the bound is not kept, however often it is asked for.
func TestModelThatIsTooLargeIsFreed(t *testing.T) {
	var opened atomic.Int64
	s, at := serveModels(t, Options{Memory: 1000}, fresh("a", &opened))
	before := settled.Count(torch.LiveTensors)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // as if Go's own heap gave no reason to collect
	for turn := range 3 {
		code, _, body := post(t, at+"/v1/embeddings", object{"input": "a dog"})
		require.Equal(t, 503, code, "%s", body)
		s.models.mu.Lock()
		s.models.list[0].failure = nil // as after retryAfter
		s.models.mu.Unlock()
		assert.EqualValues(t, turn+1, opened.Load())
		assert.Eventually(t, func() bool { return torch.LiveTensors() == before }, 10*time.Second, 10*time.Millisecond)
	}
}
