package clip

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
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

// published is a ViT-B-32 file of one byte a number, which is the smallest that its shapes allow.
func published(t *testing.T) (file []byte, sum string) {
	t.Helper()
	file, end := safetensorsHeader(t, "ViT-B-32", checkpoint.U8)
	numbers := make([]byte, end)
	_, err := rand.NewChaCha8([32]byte{1}).Read(numbers)
	require.NoError(t, err)
	file = append(file, numbers...)
	return file, fmt.Sprintf("%x", sha256.Sum256(file))
}

// TestOpenPublished opens a published tag from a hub on loopback that breaks off once: the download goes on, is
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
	m, err := Open(name, OpenOptions{Pretrained: tag, Fetch: fetch})
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
		require.Equal(t, float32(file[start+i]), x)
	}

	before := asked
	_, err = Open("ViT-B/32", OpenOptions{Pretrained: tag, Fetch: fetch})
	require.NoError(t, err)
	assert.Equal(t, before, asked, "the cache has it")

	cleanUser(t)
	said = strings.Repeat("ab", 32)
	_, err = Open(name, OpenOptions{Pretrained: tag, Fetch: fetch})
	require.ErrorContains(t, err, "SHA-256")
}

// TestFetchTokenizer has a published model's tokenizer come from the hub once, and then from the cache. A repository
// without tokenizer_config.json will do, and is told of; a hub that fails is not taken for one.
func TestFetchTokenizer(t *testing.T) {
	packed, err := os.Open("../testdata/tokenizer/roberta/tokenizer.json.gz")
	require.NoError(t, err)
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	require.NoError(t, err)
	text, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	asked, config := 0, http.StatusOK
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch file := strings.TrimPrefix(r.URL.Path, "/tiny/resolve/main/"); {
		case file == "tokenizer.json":
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
		case file == "tokenizer_config.json" && config == http.StatusOK:
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("{}"))
		default:
			w.WriteHeader(config)
		}
	}))
	defer hub.Close()
	t.Setenv("HF_ENDPOINT", hub.URL)
	c := golden.Variants(t)["roberta-mean"].Clone()
	hf := *c.Text.HFModelConfig
	hf.VocabSize = 50265
	c.Text.HFModelConfig, c.Text.VocabSize = &hf, hf.VocabSize
	var said []string
	log := func(message string) { said = append(said, message) }
	for _, config = range []int{http.StatusOK, http.StatusNotFound} {
		cleanUser(t)
		asked, said = 0, nil
		for i := range 2 {
			m := allocate(c)
			_, err = m.Tokenizer()
			require.ErrorContains(t, err, "put its tokenizer.json")
			m.fetch = &pretrained.Options{Backoff: time.Millisecond, Retries: 1, Log: log}
			tk, err := m.Tokenizer()
			require.NoError(t, err)
			ids, _ := tk.Tokenize("a dog", 12)
			assert.Equal(t, int64(0), ids[0])
			if config == http.StatusOK {
				assert.Equal(t, 2, asked)
				continue
			}
			assert.Equal(t, 2+i, asked, "the configuration may have come")
			assert.Contains(t, said[len(said)-1], "tiny has no tokenizer_config.json")
		}
	}
	cleanUser(t)
	config = http.StatusInternalServerError
	m := allocate(c)
	m.fetch = &pretrained.Options{Backoff: time.Millisecond, Retries: 1}
	_, err = m.Tokenizer()
	require.ErrorContains(t, err, "tokenizer_config.json")
	m = allocate(c)
	m.fetch = &pretrained.Options{Offline: true, Cache: t.TempDir()}
	_, err = m.Tokenizer()
	require.ErrorIs(t, err, pretrained.ErrOffline)
}
