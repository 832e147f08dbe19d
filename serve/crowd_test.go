package serve

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// 64 clients of all kinds at once: every answer is right, batches gather the inputs of several, and
// nothing is left.
func TestManyClients(t *testing.T) {
	dog, words := knownImages(t, "data/demo/dog.png")[0], knownTexts(t, "a cute dog")[0]
	before := settled.Count(torch.LiveTensors)
	s, err := New(t.Context(), Options{}, Loaded(model(t)))
	require.NoError(t, err)
	h := httptest.NewServer(s)
	picture, bad := dataURI(dogFile(t)), dataURI(bomb(60_000, 60_000))
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for turn := range 6 {
				code, _, body := post(t, h.URL+"/v1/embeddings", object{"input": []string{picture, "a cute dog", bad, fmt.Sprint(i, turn)}})
				if !assert.Equal(t, 200, code, "%s", body) {
					return
				}
				a := parse[embeddingsOf[[]float32]](t, body)
				assert.InDelta(t, 1, clip.Cosine(dog, a.Data[0].Embedding), 1e-5)
				assert.InDelta(t, 1, clip.Cosine(words, a.Data[1].Embedding), 1e-5)
				assert.Equal(t, "image_too_large", a.Data[2].Error.Code)
				assert.Len(t, a.Data[3].Embedding, 128)
			}
		})
	}
	all.Wait()
	_, _, page := get(t, h.URL+"/metrics")
	h.Close()
	s.Close()
	var batches, sum float64
	for line := range strings.Lines(string(page)) {
		fmt.Sscanf(line, `goclip_serve_batch_size_count{tower="image"} %g`, &batches)
		fmt.Sscanf(line, `goclip_serve_batch_size_sum{tower="image"} %g`, &sum)
	}
	assert.Equal(t, 64*6.0, sum)
	assert.Less(t, batches, sum, "images of several requests share batches")
	inputs, held := s.admission.depth()
	assert.Zero(t, inputs)
	assert.Zero(t, held)
	assert.Equal(t, before, torch.LiveTensors())
}

// A decoder that cannot be stopped does not keep the server from ending.
func TestEndsWithoutItsDecoders(t *testing.T) {
	s, _, end := serveOn(t, Options{Limits: Limits{Grace: 100 * time.Millisecond}})
	decoders := &s.models.engines()[0].batcher.ended
	decoders.Add(1)
	ended := make(chan error, 1)
	go func() { ended <- end() }()
	select {
	case err := <-ended:
		assert.NoError(t, err)
	case <-time.After(time.Minute):
		assert.Fail(t, "the server waits for its decoder")
	}
	decoders.Done()
}

// What was accepted is answered, also when the server is told to end in the middle.
func TestShutdownLosesNothing(t *testing.T) {
	s, at, end := serveOn(t, Options{})
	picture := dataURI(dogFile(t))
	var all sync.WaitGroup
	var whole atomic.Int64
	var stop atomic.Bool
	for range 16 {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			for !stop.Load() {
				answer, err := client.Post(at+"/v1/embeddings", "application/json", strings.NewReader(`{"input":"`+picture+`"}`))
				if err != nil {
					return // no more is accepted
				}
				body, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if assert.NoError(t, err) && assert.Equal(t, 200, answer.StatusCode) {
					assert.Len(t, parse[embeddingsOf[[]float32]](t, body).Data[0].Embedding, 128)
					whole.Add(1)
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	require.NoError(t, end())
	stop.Store(true)
	all.Wait()
	assert.Positive(t, whole.Load())
	assert.Equal(t, s.Answered(), whole.Load())
}
