package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

// fresh opens the built-in model again each time, under a name, and counts.
func fresh(name string, opened *atomic.Int64) Model {
	return Model{Name: name, Open: func(ctx context.Context) (*clip.Model, error) {
		opened.Add(1)
		return clip.OpenFS(ctx, models.FS(), models.Default, nil)
	}}
}

// threeModels are fresh ones, how often each was opened, and the bytes of the weights of one.
func threeModels(t testing.TB) (list []Model, opened *[3]atomic.Int64, size int64) {
	t.Helper()
	opened = new([3]atomic.Int64)
	for i := range opened {
		list = append(list, fresh(fmt.Sprint("model-", i), &opened[i]))
	}
	for _, p := range model(t).State() {
		size += int64(p.Numel() * p.DType().Size())
	}
	return list, opened, size
}

// loadedModels are those that /v1/models says are loaded.
func loadedModels(t testing.TB, at string) (names []string) {
	t.Helper()
	_, _, body := get(t, at+"/v1/models")
	for _, m := range parse[struct{ Data []modelAnswer }](t, body).Data {
		if m.Loaded {
			names = append(names, m.ID)
		}
	}
	return names
}

func serveModels(t testing.TB, o Options, list ...Model) (*Server, string) {
	t.Helper()
	s, err := New(t.Context(), o, list...)
	require.NoError(t, err)
	h := httptest.NewServer(s)
	t.Cleanup(func() { h.Close(); s.Close() })
	return s, h.URL
}

// A request names its model, which is loaded at its first use and unloaded when nobody uses it.
func TestSeveralModels(t *testing.T) {
	var a, b atomic.Int64
	second := fresh("org/b", &b)
	second.Aliases = []string{"ViT-B-32__openai", "*"}
	s, at := serveModels(t, Options{TTL: 300 * time.Millisecond}, fresh("a", &a), second)
	assert.Empty(t, loadedModels(t, at))
	code, _, body := get(t, at+"/healthz")
	assert.Equal(t, 200, code)
	assert.Contains(t, string(body), `"models":["a","org/b"]`)
	for i, c := range []struct{ name, is string }{{"", "a"}, {"a", "a"}, {"a:latest", "a"}, {"org/b", "org/b"}, {"ViT-B-32__openai", "org/b"}, {"anything", "org/b"}} {
		code, _, body := post(t, at+"/v1/embeddings", object{"model": c.name, "input": fmt.Sprint("text ", i)})
		require.Equal(t, 200, code, "%s", body)
		got := parse[embeddingsOf[[]float32]](t, body)
		assert.Equal(t, c.is, got.Model, c.name)
		near(t, knownTexts(t, fmt.Sprint("text ", i))[0], got.Data[0].Embedding)
	}
	code, _, body = get(t, at+"/v1/models/org/b")
	require.Equal(t, 200, code)
	m := parse[modelAnswer](t, body)
	assert.Equal(t, 128, m.EmbedDim)
	assert.Equal(t, model(t).NumParameters(), m.Parameters)
	assert.Positive(t, m.Bytes)
	require.Eventually(t, func() bool { return len(loadedModels(t, at)) == 0 }, 10*time.Second, 20*time.Millisecond)
	opened := []int64{a.Load() + 1, b.Load()} // on a busy machine more than once so far
	code, _, _ = post(t, at+"/v1/embeddings", object{"model": "a", "input": "again"})
	assert.Equal(t, 200, code)
	assert.Equal(t, opened, []int64{a.Load(), b.Load()})
	s.models.mu.Lock()
	defer s.models.mu.Unlock()
	assert.Equal(t, m.Bytes, s.models.bytes, "the other one's memory is free")
}

// Three models, of which two fit: clients of all three are answered, each by its model, and the
// bound holds.
func TestModelsTakeTurnsInMemory(t *testing.T) {
	list, _, size := threeModels(t)
	before := settled.Count(torch.LiveTensors)
	s, err := New(t.Context(), Options{TTL: 20 * time.Millisecond, Memory: 2*size + size/2}, list...)
	require.NoError(t, err)
	h := httptest.NewServer(s)
	want := knownTexts(t, "a dog")[0]
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			for turn := range 8 {
				name := fmt.Sprint("model-", (i+turn)%3)
				code, _, body := post(t, h.URL+"/v1/embeddings", object{"model": name, "input": []string{"a dog", fmt.Sprint(i, turn)}})
				if assert.Equal(t, 200, code, "%s", body) {
					a := parse[embeddingsOf[[]float32]](t, body)
					assert.Equal(t, name, a.Model)
					assert.InDelta(t, 1, clip.Cosine(want, a.Data[0].Embedding), 1e-5)
				}
				s.models.mu.Lock()
				held := s.models.bytes
				s.models.mu.Unlock()
				assert.LessOrEqual(t, held, 2*size+size/2)
			}
		})
	}
	all.Wait()
	assert.Eventually(t, func() bool {
		s.models.mu.Lock()
		defer s.models.mu.Unlock()
		return s.models.bytes == 0
	}, 10*time.Second, 10*time.Millisecond)
	h.Close()
	s.Close()
	assert.Eventually(t, func() bool { return settled.Count(torch.LiveTensors) == before }, 10*time.Second, 10*time.Millisecond)
}

// A model that makes room is gone at once, however long its TTL still is.
func TestRoomIsMadeBeforeTTL(t *testing.T) {
	list, _, size := threeModels(t)
	before := settled.Count(torch.LiveTensors)
	_, at := serveModels(t, Options{TTL: time.Hour, Memory: size + size/2}, list...)
	ask := func(i int) int64 {
		code, _, body := post(t, at+"/v1/embeddings", object{"model": list[i].Name, "input": "a dog"})
		require.Equal(t, 200, code, "%s", body)
		return settled.Count(torch.LiveTensors) - before
	}
	one := ask(0)
	for turn := range 6 {
		assert.Equal(t, one, ask(turn%3), "handles of one model")
	}
}

// While clients ask, the model is replaced again and again: nothing is lost.
func TestReload(t *testing.T) {
	var opened atomic.Int64
	s, at := serveModels(t, Options{}, fresh("a", &opened))
	others := crowdOf(t, at, "a", 6)
	for range 5 {
		time.Sleep(50 * time.Millisecond)
		require.NoError(t, s.Reload())
	}
	others()
	assert.EqualValues(t, 6, opened.Load())
}

// crowdOf is crowd, once the model is loaded.
func crowdOf(t testing.TB, at, name string, n int) (end func()) {
	code, _, body := post(t, at+"/v1/embeddings", object{"model": name, "input": "first"})
	require.Equal(t, 200, code, "%s", body)
	return crowd(t, at, n)
}

// A model that cannot be opened is said so, is not tried at once again, and takes no other along.
func TestModelThatCannotBeOpened(t *testing.T) {
	var opened, tried atomic.Int64
	broken := Model{Name: "broken", Open: func(context.Context) (*clip.Model, error) {
		tried.Add(1)
		return nil, errors.New("no such weights")
	}}
	s, at := serveModels(t, Options{}, fresh("a", &opened), broken)
	for range 3 {
		code, header, body := post(t, at+"/v1/embeddings", object{"model": "broken", "input": "x"})
		assert.Equal(t, http.StatusServiceUnavailable, code)
		assert.NotEmpty(t, header.Get("Retry-After"))
		assert.Contains(t, string(body), "cannot be loaded")
		assert.NotContains(t, string(body), "no such weights")
	}
	assert.EqualValues(t, 1, tried.Load())
	code, _, _ := post(t, at+"/v1/embeddings", object{"model": "a", "input": "x"})
	assert.Equal(t, 200, code)
	require.NoError(t, s.Reload(), "it is not loaded")

	broken.Preload = true
	_, err := New(t.Context(), Options{}, broken)
	assert.ErrorContains(t, err, "no such weights")
	_, err = New(t.Context(), Options{}, fresh("a", &opened), fresh("a", &opened))
	assert.ErrorContains(t, err, `two models are called "a"`)
	_, err = New(t.Context(), Options{})
	assert.ErrorContains(t, err, "at least one Model")
	_, err = New(t.Context(), Options{Indices: []Indexed{{Model: "b", Index: shelf{}}}}, fresh("a", &opened))
	assert.ErrorContains(t, err, `"b", which is not served`)
	small := fresh("small", &opened)
	small.Preload = true
	_, err = New(t.Context(), Options{Memory: 1000}, small)
	assert.ErrorContains(t, err, "more than Memory")
}

// When the GPU is lost, Serve ends at once: the process is to be started again.
func TestDeviceLost(t *testing.T) {
	s, err := New(t.Context(), Options{}, Loaded(model(t)))
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(t.Context(), listener) }()
	b := s.models.engines()[0].batcher
	g := &group{rows: make([][]float32, 1), errs: make([]error, 1), done: make(chan struct{})}
	g.left.Store(1)
	require.Nil(t, s.admission.enter(b.pace, 1))
	b.forward(batch{"text", []*job{{ctx: t.Context(), group: g}}, func([]*job, []float32) ([]float32, error) {
		return nil, &torch.Error{Op: "linear", Msg: "CUDA error: an illegal memory access was encountered"}
	}}, nil)
	assert.Error(t, g.errs[0])
	select {
	case err := <-ended:
		assert.ErrorIs(t, err, torch.ErrDeviceLost)
		assert.ErrorContains(t, err, "must be restarted")
	case <-time.After(20 * time.Second):
		t.Fatal("the server continues")
	}
	s.Close()
}
