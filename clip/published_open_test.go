package clip

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// cleanUser has no cache, and no variable that the search for published weights reads.
func cleanUser(t *testing.T) (cache string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{"XDG_CACHE_HOME", "GOCLIP_MIRROR", "GOCLIP_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("GOCLIP_CACHE", filepath.Join(home, "cache"))
	return filepath.Join(home, "cache")
}

// published is a ViT-B-32 file of two bytes a number, which is the smallest that its shapes allow.
func published(t *testing.T) (file []byte, sum string) {
	t.Helper()
	file, end := safetensorsHeader(t, "ViT-B-32", checkpoint.BF16)
	numbers := make([]byte, end)
	_, err := rand.NewChaCha8([32]byte{1}).Read(numbers)
	require.NoError(t, err)
	for i := 1; i < end; i += 2 {
		numbers[i] &^= 0x40 // none is infinite or NaN
	}
	file = append(file, numbers...)
	return file, fmt.Sprintf("%x", sha256.Sum256(file))
}

// TestOpenPublished opens a published tag from a hub on loopback that breaks off once: the download continues, is
// checked, and becomes the model; the second time nothing is asked. A hub that lies about the hash gives no model.
func TestOpenPublished(t *testing.T) {
	const name, tag, path = "ViT-B-32", "laion2b_s34b_b79k", "/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/main/open_clip_model.safetensors"
	file, sum := published(t)
	asked, said := 0, sum
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, path, r.URL.Path)
		w.Header().Set("X-Linked-ETag", `"`+said+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(file)))
		w.Header().Set("ETag", `"`+said+`"`)
		if asked++; asked == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(file)))
			_, _ = w.Write(file[:len(file)/3])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
	}))
	defer hub.Close()
	fetch := pretrained.Options{Backoff: time.Millisecond, Retries: 2}

	cache := cleanUser(t)
	t.Setenv("HF_ENDPOINT", hub.URL)
	m, err := Open(t.Context(), name, &OpenOptions{Pretrained: tag, Fetch: fetch})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, asked, 2)
	assert.Equal(t, filepath.Join(cache, name, tag, WeightsFile), m.Weights)
	last := torch.ToSlice[float32](m.Visual.(*tower.ViT).Proj.Detach())
	at := bytes.Index(file, []byte(`"visual.proj":`))
	var entry struct {
		Offsets [2]int `json:"data_offsets"`
	}
	require.NoError(t, json.NewDecoder(bytes.NewReader(file[at+len(`"visual.proj":`):])).Decode(&entry))
	start := 8 + int(binary.LittleEndian.Uint64(file)) + entry.Offsets[0]
	for i, x := range last[:1000] {
		require.Equal(t, math.Float32frombits(uint32(binary.LittleEndian.Uint16(file[start+2*i:]))<<16), x)
	}

	before := asked
	_, err = Open(t.Context(), "ViT-B/32", &OpenOptions{Pretrained: tag, Fetch: fetch})
	require.NoError(t, err)
	assert.Equal(t, before, asked, "the cache has it")

	cleanUser(t)
	said = strings.Repeat("ab", 32)
	_, err = Open(t.Context(), name, &OpenOptions{Pretrained: tag, Fetch: fetch})
	require.ErrorContains(t, err, "SHA-256")
}

// blobOf is git's hash of a file.
func blobOf(b []byte) string {
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(b), b))
	return fmt.Sprintf("%x", sum)
}

// TestFetchTokenizer has a published model's tokenizer come from the hub once, and then from the cache. A repository
// without tokenizer_config.json will do; a hub that fails is not taken for one.
func TestFetchTokenizer(t *testing.T) {
	packed, err := os.Open("../testdata/tokenizer/roberta/tokenizer.json.gz")
	require.NoError(t, err)
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	require.NoError(t, err)
	text, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	const commit = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
	files := map[string][]byte{"tokenizer.json": text, "tokenizer_config.json": []byte("{}")}
	asked, config := 0, http.StatusOK
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("X-Repo-Commit", commit)
		has := func(name string) bool {
			return files[name] != nil && (name == "tokenizer.json" || config == http.StatusOK)
		}
		if strings.HasPrefix(r.URL.Path, "/api/models/tiny/") {
			if config == http.StatusInternalServerError {
				w.WriteHeader(config)
				return
			}
			siblings := []map[string]any{}
			for name, text := range files {
				if has(name) {
					siblings = append(siblings, map[string]any{"rfilename": name, "size": len(text), "blobId": blobOf(text)})
				}
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"id": "tiny", "sha": commit, "siblings": siblings})
			return
		}
		name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if !has(name) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", `"`+blobOf(files[name])+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(files[name]))
	}))
	defer hub.Close()
	t.Setenv("HF_ENDPOINT", hub.URL)
	c := golden.Variants(t)["roberta-mean"].Clone()
	hf := *c.Text.HFModelConfig
	hf.VocabSize = 50265
	c.Text.HFModelConfig, c.Text.VocabSize = &hf, hf.VocabSize
	for _, config = range []int{http.StatusOK, http.StatusNotFound} {
		cleanUser(t)
		asked = 0
		for i := range 2 {
			m := allocate(c)
			_, err = m.Tokenizer(t.Context())
			require.ErrorContains(t, err, "put its tokenizer.json")
			require.ErrorIs(t, err, ErrNotFound)
			m.fetch = &pretrained.Options{Backoff: time.Millisecond, Retries: 1}
			tk, err := m.Tokenizer(t.Context())
			require.NoError(t, err)
			ids, _ := tk.Tokenize("a dog", 12)
			assert.Equal(t, int64(0), ids[0])
			first := asked
			if i == 1 {
				assert.Equal(t, first, asked, "the cache has it")
			}
		}
	}
	cleanUser(t)
	config = http.StatusInternalServerError
	m := allocate(c)
	m.fetch = &pretrained.Options{Backoff: time.Millisecond, Retries: 1}
	_, err = m.Tokenizer(t.Context())
	require.ErrorContains(t, err, "answers 500")
	m = allocate(c)
	m.fetch = &pretrained.Options{Offline: true, Cache: t.TempDir()}
	_, err = m.Tokenizer(t.Context())
	require.ErrorIs(t, err, pretrained.ErrOffline)
}
