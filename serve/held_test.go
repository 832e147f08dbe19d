package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// heap is what Go's heap holds.
func heap() int64 {
	for range 3 { // of a pool two collections take all
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A text's embedding is kept alone, not with the batch that it was computed in.
func TestCacheKeepsRowsAlone(t *testing.T) {
	s, _ := start(t, Options{})
	e, err := s.engine(t.Context(), "model", "")
	require.NoError(t, err)
	defer s.models.release(e)
	long := strings.Repeat("a dog ", cachedBytes/4)
	batch := func(i int) {
		inputs := slices.Repeat([]input{textInput(long)}, s.limits.BatchSize)
		inputs[len(inputs)/2] = textInput(fmt.Sprint("text ", i))
		_, err := e.encode(t.Context(), inputs)
		require.NoError(t, err)
	}
	batch(0)
	const n = 100
	before := heap()
	for i := range n {
		batch(i + 1)
	}
	row := int64(4 * e.EmbedDim)
	assert.Less(t, heap()-before, n*row*int64(s.limits.BatchSize)/4)
}

// Images whose clients have gone are not held until the model comes to them.
func TestImagesOfGoneClientsAreNotHeld(t *testing.T) {
	s, _ := start(t, Options{Limits: Limits{BatchSize: 1}})
	e, err := s.engine(t.Context(), "model", "")
	require.NoError(t, err)
	defer s.models.release(e)
	require.NoError(t, s.turn.Acquire(t.Context(), int64(s.threads))) // a batch of another model takes long
	defer s.turn.Release(int64(s.threads))
	const n, size = 60, 1 << 20
	large := append(slices.Clone(dogFile(t)), make([]byte, size)...)
	before := heap()
	ctx, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			_, err := e.encode(ctx, []input{{file: slices.Clone(large)}})
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	require.Eventually(t, func() bool { n, _ := s.admission.depth(); return n >= 60 }, 10*time.Second, time.Millisecond)
	leave()
	all.Wait()
	assert.Less(t, heap()-before, int64(n*size/4))
}

// longFile is an image of any length.
type longFile struct{ *io.SectionReader }

func (longFile) Close() error { return nil }

type png struct{}

func (png) ReadAt(p []byte, at int64) (int, error) {
	clear(p)
	if at == 0 {
		copy(p, "\x89PNG\r\n\x1a\n")
	}
	return len(p), nil
}

// Clients that take a file slowly keep no other from seeing images.
func TestSlowReadersOfImages(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.png")
	require.NoError(t, os.WriteFile(large, []byte("\x89PNG\r\n\x1a\n"), 0o644))
	require.NoError(t, os.Truncate(large, 1<<30))
	s, at := start(t, Options{Indices: []Indexed{{Index: shelf{}}},
		Thumbnail: func(_ context.Context, _ string, hold func(int64) error) ([]byte, string, error) {
			return []byte("small"), "image/png", hold(1)
		},
		Original: func(string) (io.ReadSeekCloser, error) { return os.Open(large) }})
	for range cap(s.thumbnails) {
		answer, err := http.Get(at + "/" + s.imageAddress("a.png") + "&full=1")
		require.NoError(t, err)
		defer answer.Body.Close() // of which nothing is read
		require.Equal(t, 200, answer.StatusCode)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at+"/"+s.imageAddress("a.png"), nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	assert.True(t, bytes.Equal([]byte("small"), body), "%s", body)
}

// Of what is no file, such as a video's frame, the content is in memory, and is counted until it is sent.
func TestFramesAreCounted(t *testing.T) {
	s, at := start(t, Options{Indices: []Indexed{{Index: shelf{}}}, Limits: Limits{Wait: 300 * time.Millisecond},
		Thumbnail: func(context.Context, string, func(int64) error) ([]byte, string, error) {
			return nil, "", errors.New("none")
		},
		Original: func(string) (io.ReadSeekCloser, error) {
			return longFile{io.NewSectionReader(png{}, 0, DefaultLimits.Bodies)}, nil
		}})
	for _, want := range []int{200, http.StatusTooManyRequests} {
		answer, err := http.Get(at + "/" + s.imageAddress("film.mp4#t=1") + "&full=1")
		require.NoError(t, err)
		defer answer.Body.Close() // of which nothing is read
		assert.Equal(t, want, answer.StatusCode)
	}
}

// What /healthz says of an index is of the one that is searched by now.
func TestHealthOfASwitchedIndex(t *testing.T) {
	list := []Model{Loaded(model(t)), Loaded(model(t))}
	list[0].Name, list[1].Name = "former", "now"
	now := Indexed{Name: "photos", Model: "now", Index: shelf{}}
	_, at := serveModels(t, Options{Indices: []Indexed{{Name: "photos", Model: "former", Index: shelf{}, Current: func() Indexed { return now }}}}, list...)
	_, _, body := get(t, at+"/healthz")
	assert.Equal(t, []indexAnswer{{"photos", "now", 2}}, parse[healthAnswer](t, body).Indices)
}

// A client that takes a large answer slowly has the room of it: another large one waits, small ones do not.
func TestLargeAnswersTogether(t *testing.T) {
	const inputs = 20_000
	s, at := start(t, Options{Limits: Limits{Inputs: inputs, Body: 1 << 20, Bodies: 100 << 20, Wait: 300 * time.Millisecond}})
	large, small := object{"input": slices.Repeat([]string{"a"}, inputs)}, object{"input": "a"}
	code, _, _ := post(t, at+"/v1/embeddings", small) // which is kept
	require.Equal(t, 200, code)
	ask := func() *http.Response {
		answer, err := http.Post(at+"/v1/embeddings", "application/json", bytes.NewReader(encode(t, large)))
		require.NoError(t, err)
		return answer
	}
	slow := ask() // of which nothing is read
	require.Equal(t, 200, slow.StatusCode)
	answer := ask()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	assert.Equal(t, http.StatusTooManyRequests, answer.StatusCode, "%.200s", body)
	assert.Contains(t, string(body), "memory_full")
	assert.NotEmpty(t, answer.Header.Get("Retry-After"))
	code, _, _ = post(t, at+"/v1/embeddings", small)
	assert.Equal(t, 200, code)
	require.NoError(t, slow.Body.Close())
	require.Eventually(t, func() bool {
		answer := ask()
		defer answer.Body.Close()
		_, err := io.Copy(io.Discard, answer.Body)
		return answer.StatusCode == 200 && err == nil
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, s.answers.Acquire(t.Context(), s.limits.Bodies), "all is given back")
}
