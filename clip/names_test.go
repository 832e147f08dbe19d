package clip

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/models"
)

// hubOf answers as the Hugging Face hub does for one repository, org/emoji, that holds the built-in model. stall, while it
// is open, holds back the weights.
func hubOf(t *testing.T, stall <-chan struct{}) {
	t.Helper()
	const commit = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
	read := func(name string) []byte {
		data, _ := fs.ReadFile(models.FS(), path.Join(models.Default, name))
		return data
	}
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Repo-Commit", commit)
		if strings.HasPrefix(r.URL.Path, "/api/models/org/emoji/") {
			var siblings []map[string]any
			for _, name := range []string{ConfigFile, WeightsFile} {
				data := read(name)
				sum := fmt.Sprintf("%x", sha256.Sum256(data))
				siblings = append(siblings, map[string]any{"rfilename": name, "size": len(data), "blobId": blobOf(data),
					"lfs": map[string]any{"sha256": sum, "size": len(data), "pointerSize": 134}})
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"id": "org/emoji", "sha": commit, "siblings": siblings})
			return
		}
		name := path.Base(r.URL.Path)
		data := read(name)
		if data == nil || !strings.HasPrefix(r.URL.Path, "/org/emoji/resolve/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		w.Header().Set("X-Linked-ETag", `"`+sum+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(data)))
		w.Header().Set("ETag", `"`+sum+`"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if stall != nil && name == WeightsFile {
			_, _ = w.Write(data[:1000])
			w.(http.Flusher).Flush()
			<-stall
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(hub.Close)
	t.Setenv("HF_ENDPOINT", hub.URL)
}

// TestOpenHub opens a model of the hub in every spelling: the first time over the network, then from the cache.
func TestOpenHub(t *testing.T) {
	cleanUser(t)
	hubOf(t, nil)
	want, err := shippedModel(t).EncodeTexts(t.Context(), "a dog")
	require.NoError(t, err)
	told := 0
	for i, name := range []string{"hf-hub:org/emoji", "org/emoji", "hf-hub:org/emoji@main", "org/emoji"} {
		o := &OpenOptions{Offline: i == 3, Progress: func(pretrained.Progress) { told++ }}
		m, err := Open(t.Context(), name, o)
		require.NoError(t, err, name)
		assert.Equal(t, name, m.Name)
		got, err := m.EncodeTexts(t.Context(), "a dog")
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
		if i == 0 {
			assert.Positive(t, told, "a download is told of")
		}
	}
	_, length, err := OpenTokenizer(t.Context(), "org/emoji", nil)
	require.NoError(t, err)
	assert.Equal(t, shippedModel(t).ContextLength(), length)
	_, err = Open(t.Context(), "org/other", &OpenOptions{Fetch: pretrained.Options{Retries: 1, Backoff: time.Millisecond}})
	assert.ErrorIs(t, err, ErrNotFound)
	_, err = Open(t.Context(), "org/other", &OpenOptions{Offline: true})
	assert.ErrorIs(t, err, ErrOffline)
}

// TestOpenStops ends the context while the hub holds the weights back: Open returns while the hub still does.
func TestOpenStops(t *testing.T) {
	cleanUser(t)
	stall := make(chan struct{})
	hubOf(t, stall)
	defer close(stall)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	began := make(chan struct{}, 100)
	result := make(chan error, 1)
	go func() {
		_, err := Open(ctx, "org/emoji", &OpenOptions{Progress: func(p pretrained.Progress) {
			if p.File == WeightsFile {
				began <- struct{}{}
			}
		}})
		result <- err
	}()
	<-began
	at := time.Now()
	end()
	assert.ErrorIs(t, <-result, context.Canceled)
	t.Logf("Open returned %v after its context's end", time.Since(at))
	_, err := Open(ctx, "org/emoji", nil)
	assert.ErrorIs(t, err, context.Canceled)
}

// TestOpenNames has names that are none say what would be right.
func TestOpenNames(t *testing.T) {
	cleanUser(t)
	t.Setenv("GOCLIP_OFFLINE", "1")
	for name, c := range map[string]struct {
		o    *OpenOptions
		is   error
		says string
	}{
		"ViT-B-32":        {nil, ErrNoWeights, "the config ViT-B-32 has no weights of its own"},
		"ViT-B-23":        {nil, ErrNotFound, "did you mean ViT-B-16, ViT-B-32 or"},
		"./gone":          {nil, ErrNotFound, "neither a model directory"},
		"gone.pt":         {nil, fs.ErrNotExist, "file does not exist"},
		"ViT-B-32:opnai":  {nil, ErrNotFound, "openai"},
		"vit-b/32:openai": {nil, ErrOffline, "ViT-B-32 openai"},
		"ViT-B-32__openai": {&OpenOptions{Pretrained: "laion2b_s34b_b79k"}, nil,
			"the name ViT-B-32__openai and Pretrained laion2b_s34b_b79k both name weights; drop one"},
	} {
		_, err := Open(t.Context(), name, c.o)
		require.ErrorContains(t, err, c.says, name)
		if c.is != nil {
			assert.ErrorIs(t, err, c.is, name)
		}
	}
}

func TestPrecisionNames(t *testing.T) {
	for _, p := range []Precision{FP32, BF16, FP16, Int8} {
		again, err := ParsePrecision(p.String())
		require.NoError(t, err)
		assert.Equal(t, p, again)
	}
	_, err := ParsePrecision("fp8")
	assert.ErrorContains(t, err, `the precision "fp8" is unknown: it must be fp32, fp32-strict, bf16, fp16 or int8`)
	_, err = OpenFS(t.Context(), models.FS(), models.Default, &OpenOptions{Precision: FP16})
	assert.ErrorIs(t, err, ErrUnsupported)
	for _, p := range []Precision{BF16, Int8} {
		m, err := OpenFS(t.Context(), models.FS(), models.Default, &OpenOptions{Precision: p})
		require.NoError(t, err)
		near, err := m.EncodeTexts(t.Context(), "a dog")
		require.NoError(t, err)
		want, err := shippedModel(t).EncodeTexts(t.Context(), "a dog")
		require.NoError(t, err)
		assert.Greater(t, Cosine(near[0], want[0]), 0.995)
		assert.NotEqual(t, want, near)
	}
}
