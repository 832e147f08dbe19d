package serve

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
)

// A weights file that is written into while it is served is an error of each request and of
// /healthz, until the model is opened again.
func TestChangedWeights(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, model(t).Save(dir))
	weights := clip.WeightsIn(dir)
	hourAgo := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(weights, hourAgo, hourAgo))
	whole, err := os.ReadFile(weights)
	require.NoError(t, err)
	s, at := serveModels(t, Options{}, Model{Name: "saved", Open: func(ctx context.Context) (*clip.Model, error) { return clip.Open(ctx, dir, nil) }})
	ask := func(text string) (int, string) {
		code, _, body := post(t, at+"/v1/embeddings", object{"input": text})
		return code, string(body)
	}
	health := func() (int, healthAnswer) {
		code, _, body := get(t, at+"/healthz")
		return code, parse[healthAnswer](t, body)
	}
	code, body := ask("one")
	require.Equal(t, 200, code, body)
	code, h := health()
	require.Equal(t, 200, code)
	assert.Empty(t, h.Changed)
	for i, change := range []func() error{
		func() error { return os.WriteFile(weights, whole[:len(whole)-1], 0o600) },
		func() error { return os.Truncate(weights, 0) },
	} {
		require.NoError(t, change())
		code, body = ask(fmt.Sprint("new ", i)) // the vectors of known texts are kept
		assert.Equal(t, 500, code)
		assert.NotContains(t, body, "embedding")
		code, h = health()
		assert.Equal(t, 503, code)
		assert.Equal(t, "weights changed", h.Status)
		assert.Equal(t, []string{"saved"}, h.Changed)
		assert.Error(t, s.Reload(), "the file is not a model")
		require.NoError(t, os.WriteFile(weights, whole, 0o600))
		require.NoError(t, s.Reload())
		code, h = health()
		assert.Equal(t, 200, code)
		assert.Equal(t, "ok", h.Status)
		code, body = ask(fmt.Sprint("new ", i))
		assert.Equal(t, 200, code, body)
	}
}

// Decoders wait for the bytes of Limits.Decoding, and an image that alone takes more is refused.
func TestDecodingBudget(t *testing.T) {
	lim := Limits{Decoding: 8 << 20, Decoders: 4}
	s, at := start(t, Options{Limits: lim})
	require.NoError(t, s.decoding.Acquire(t.Context(), lim.Decoding))
	answered := make(chan int, 1)
	go func() {
		code, _, _ := post(t, at+"/v1/embeddings", object{"input": object{"image": dogFile(t)}})
		answered <- code
	}()
	require.Eventually(t, func() bool { n, _ := s.admission.depth(); return n == 1 }, 10*time.Second, time.Millisecond)
	assert.Never(t, func() bool { return len(answered) > 0 }, 300*time.Millisecond, 10*time.Millisecond, "another image has all bytes")
	s.decoding.Release(lim.Decoding)
	assert.Equal(t, 200, <-answered)
	code, _, body := post(t, at+"/v1/embeddings", object{"input": object{"image": bomb(2000, 2000)}})
	assert.Equal(t, 413, code, "%s", body)
	assert.True(t, s.decoding.TryAcquire(lim.Decoding), "all bytes were given back")
	s.decoding.Release(lim.Decoding)
}
