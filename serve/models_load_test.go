//go:build load

package serve

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
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

// TestModelsUnderLoad has 64 clients ask three models, of which two fit into memory, with pauses in
// which they are unloaded, while they are replaced again and again: for GOCLIP_LOAD_TIME, five minutes
// without it.
func TestModelsUnderLoad(t *testing.T) {
	length := 5 * time.Minute
	if text := os.Getenv("GOCLIP_LOAD_TIME"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	list, opened, size := threeModels(t)
	bound := 2*size + size/2
	dog, words := knownImages(t, "data/demo/dog.png")[0], knownTexts(t, "a cute dog")[0]
	picture := dataURI(dogFile(t))
	before := settled.Count(torch.LiveTensors)
	s, err := New(t.Context(), Options{TTL: 50 * time.Millisecond, Memory: bound, Limits: Limits{Queue: 4096}}, list...)
	require.NoError(t, err)
	h := httptest.NewServer(s)
	var asked, most atomic.Int64
	var all sync.WaitGroup
	end := time.Now().Add(length)
	for i := range 64 {
		all.Go(func() {
			draw := rand.New(rand.NewPCG(uint64(i), 0))
			for time.Now().Before(end) {
				if time.Now().Unix()%10 == 9 { // nobody asks: the models are unloaded
					time.Sleep(100 * time.Millisecond)
					continue
				}
				name := fmt.Sprint("model-", draw.IntN(3))
				code, _, body := post(t, h.URL+"/v1/embeddings", object{"model": name, "input": []string{"a cute dog", picture, fmt.Sprint(draw.IntN(1e6))}})
				if !assert.Equal(t, 200, code, "%s", body) {
					return
				}
				a := parse[embeddingsOf[[]float32]](t, body)
				assert.Equal(t, name, a.Model)
				assert.InDelta(t, 1, clip.Cosine(words, a.Data[0].Embedding), 1e-5)
				assert.InDelta(t, 1, clip.Cosine(dog, a.Data[1].Embedding), 1e-5)
				asked.Add(1)
				s.models.mu.Lock()
				most.Store(max(most.Load(), s.models.bytes))
				s.models.mu.Unlock()
			}
		})
	}
	reloads := 0
	for ; time.Now().Before(end); reloads++ {
		time.Sleep(3 * time.Second)
		require.NoError(t, s.Reload())
	}
	all.Wait()
	assert.Eventually(t, func() bool {
		s.models.mu.Lock()
		defer s.models.mu.Unlock()
		return s.models.bytes == 0
	}, 20*time.Second, 10*time.Millisecond, "all are unloaded")
	h.Close()
	s.Close()
	assert.Eventually(t, func() bool { return settled.Count(torch.LiveTensors) == before }, 20*time.Second, 10*time.Millisecond, "nothing is left")
	assert.LessOrEqual(t, most.Load(), bound)
	t.Logf("%d requests in %s, none refused or lost; models opened %d, %d and %d times, %d reloads; at most %.1f models' weights in memory",
		asked.Load(), length, opened[0].Load(), opened[1].Load(), opened[2].Load(), reloads, float64(most.Load())/float64(size))
}
