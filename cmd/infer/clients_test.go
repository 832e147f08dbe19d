//go:build clients

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
)

// asked is what a client says of its requests.
type asked struct{ Client, Version, Does, Wrong string }

// TestClients has the clients that GOCLIP_CLIENTS holds (make clients) ask a server, and writes their
// table into docs/serve.md.
func TestClients(t *testing.T) {
	home := os.Getenv("GOCLIP_CLIENTS")
	require.NotEmpty(t, home, "make clients sets GOCLIP_CLIENTS")
	scripts, err := filepath.Abs(filepath.Join("..", "..", "testdata", "clients"))
	require.NoError(t, err)
	dog, err := filepath.Abs(filepath.Join("..", "..", "data", "demo", "dog.png"))
	require.NoError(t, err)

	m, err := clip.OpenFS(t.Context(), models.FS(), models.Default, nil)
	require.NoError(t, err)
	texts := []string{"a cute dog", "a fast car", "ein Fußball ⚽"}
	rows, err := m.EncodeTexts(t.Context(), texts...)
	require.NoError(t, err)
	image, err := m.EncodeImages(t.Context(), clip.FromFile(dog))
	require.NoError(t, err)
	want := map[string]any{"dog": image[0], "texts": map[string][]float32{texts[0]: rows[0], texts[1]: rows[1], texts[2]: rows[2]}}
	data, err := json.Marshal(want)
	require.NoError(t, err)
	expected := writeFile(t, t.TempDir(), "expected.json", data)

	s := begin(t, "--alias", "ViT-B-32__openai")
	front := newRecorder(t, s.at)
	var table []asked
	for _, run := range []struct {
		dir     string
		command []string
	}{
		{home, []string{filepath.Join(home, "py", "bin", "python"), filepath.Join(scripts, "clients.py")}},
		{home, []string{"node", filepath.Join(scripts, "clients.mjs")}},
		{filepath.Join(scripts, "go"), []string{"go", "run", "."}},
	} {
		cmd := exec.Command(run.command[0], append(run.command[1:], front.server.URL, expected, dog)...)
		cmd.Dir = run.dir
		cmd.Env = append(os.Environ(), "HF_HUB_DISABLE_TELEMETRY=1", "GOFLAGS=")
		var said, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &errs
		require.NoError(t, cmd.Run(), "%s", errs.String())
		for line := range strings.Lines(said.String()) {
			var a asked
			require.NoError(t, json.Unmarshal([]byte(line), &a), line)
			assert.Empty(t, a.Wrong, a.Client)
			table = append(table, a)
		}
	}
	s.end(t)
	require.Len(t, table, 16)
	if !t.Failed() {
		writeTable(t, table)
		front.write(t, filepath.Join(scripts, "requests.jsonl"))
	}
}

// recorded is a request that a client sent: what the fuzz targets of package serve begin with.
type recorded struct {
	Path string `json:"path"`
	Body []byte `json:"body"`
}

// recorder keeps the requests that pass through it.
type recorder struct {
	server *httptest.Server
	mu     sync.Mutex
	seen   map[string]recorded
}

func newRecorder(t *testing.T, at string) *recorder {
	to, err := url.Parse(at)
	require.NoError(t, err)
	r := &recorder{seen: map[string]recorded{}}
	proxy := httputil.NewSingleHostReverseProxy(to)
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		assert.NoError(t, err)
		q.Body = io.NopCloser(bytes.NewReader(body))
		if q.Method == http.MethodPost && len(body) < 16<<10 {
			if _, given, err := mime.ParseMediaType(q.Header.Get("Content-Type")); err == nil && given["boundary"] != "" {
				body = bytes.ReplaceAll(body, []byte(given["boundary"]), []byte("b")) // else each run has its own
			}
			r.mu.Lock()
			r.seen[q.URL.Path+" "+string(body)] = recorded{q.URL.Path, body}
			r.mu.Unlock()
		}
		proxy.ServeHTTP(w, q)
	}))
	t.Cleanup(r.server.Close)
	return r
}

func (r *recorder) write(t *testing.T, path string) {
	var lines bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(r.seen)) {
		require.NoError(t, json.NewEncoder(&lines).Encode(r.seen[key]))
	}
	require.NoError(t, os.WriteFile(path, lines.Bytes(), 0o644))
}

func writeTable(t *testing.T, table []asked) {
	path := filepath.Join("..", "..", "docs", "serve.md")
	text := "| client | version | what it asked for |\n|---|---|---|\n"
	for _, a := range table {
		text += fmt.Sprintf("| %s | %s | %s |\n", a.Client, a.Version, a.Does)
	}
	page := string(readFile(t, path))
	between := regexp.MustCompile(`(?s)(<!-- clients: make clients writes this table -->\n).*?(<!-- end of clients -->)`)
	require.Regexp(t, between, page)
	require.NoError(t, os.WriteFile(path, []byte(between.ReplaceAllString(page, "${1}\n"+text+"\n${2}")), 0o644))
}
