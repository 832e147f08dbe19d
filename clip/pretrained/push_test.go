package pretrained

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pushHub is a hub that takes commits, on loopback, with a storage of its own.
type pushHub struct {
	*server
	storage *server
	chunk   int64 // of parts; 0: whole files
	have    map[string]bool
	repo    string
	private bool
	stored  map[string][]byte // by SHA-256
	parts   map[string]map[string][]byte
	commits []map[string][]byte // files of each commit
	summary string
	fail    func(r *http.Request) int // a status in place of an answer; nil or 0: none
}

func newPushHub(t *testing.T) *pushHub {
	t.Helper()
	h := &pushHub{have: map[string]bool{}, stored: map[string][]byte{}, parts: map[string]map[string][]byte{}}
	h.storage = serve(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		if h.refuses(w, r) {
			return
		}
		sum, part, parted := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Method == http.MethodPost:
			var done struct {
				Parts []struct {
					Number int    `json:"partNumber"`
					ETag   string `json:"etag"`
				}
			}
			assert.NoError(t, json.Unmarshal(body, &done))
			for _, p := range done.Parts {
				h.stored[sum] = append(h.stored[sum], h.parts[sum][fmt.Sprint(p.Number)]...)
				assert.Equal(t, fmt.Sprintf("tag%d", p.Number), p.ETag)
			}
		case parted:
			if h.parts[sum] == nil {
				h.parts[sum] = map[string][]byte{}
			}
			h.parts[sum][part] = body
			w.Header().Set("ETag", "tag"+part)
		default:
			h.stored[sum] = body
		}
	})
	h.server = serve(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		if h.refuses(w, r) {
			return
		}
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.URL.Path == "/api/repos/create":
			var ask struct {
				Name, Organization string
				Private            bool
			}
			assert.NoError(t, json.Unmarshal(body, &ask))
			if h.repo != "" {
				http.Error(w, `{"error":"You already created this model repo"}`, http.StatusConflict)
				return
			}
			h.repo, h.private = ask.Organization+"/"+ask.Name, ask.Private
		case strings.HasSuffix(r.URL.Path, "/preupload/main"):
			var ask struct {
				Files []struct {
					Path   string
					Sample []byte
					Size   int64
				}
			}
			assert.NoError(t, json.Unmarshal(body, &ask))
			var files []map[string]any
			for _, f := range ask.Files {
				want := map[string][]byte{"README.md": []byte("# Model"), "m.safetensors": payload(10_000, 1)[:512]}[f.Path]
				assert.Equal(t, want, f.Sample, f.Path)
				mode := "regular"
				if strings.HasSuffix(f.Path, ".safetensors") {
					mode = "lfs"
				}
				files = append(files, map[string]any{"path": f.Path, "uploadMode": mode, "shouldIgnore": false})
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"files": files})
		case strings.HasSuffix(r.URL.Path, "/info/lfs/objects/batch"):
			h.batch(w, body)
		case strings.HasSuffix(r.URL.Path, "/verify"):
		case strings.HasSuffix(r.URL.Path, "/commit/main"):
			files := map[string][]byte{}
			for line := range strings.Lines(string(body)) {
				var l struct {
					Key   string
					Value struct{ Summary, Path, Content, OID string }
				}
				assert.NoError(t, json.Unmarshal([]byte(line), &l))
				switch l.Key {
				case "header":
					h.summary = l.Value.Summary
				case "file":
					files[l.Value.Path], _ = base64.StdEncoding.DecodeString(l.Value.Content)
				case "lfsFile":
					files[l.Value.Path] = h.stored[l.Value.OID]
				}
			}
			h.commits = append(h.commits, files)
			_ = json.NewEncoder(w).Encode(map[string]any{"commitUrl": h.URL + "/" + h.repo + "/commit/1", "success": true})
		default:
			http.NotFound(w, r)
		}
	})
	t.Setenv("HF_ENDPOINT", h.URL)
	t.Setenv("HF_TOKEN", "hf_secret")
	return h
}

func (h *pushHub) refuses(w http.ResponseWriter, r *http.Request) bool {
	if h.fail == nil {
		return false
	}
	if code := h.fail(r); code != 0 {
		http.Error(w, `{"error":"no"}`, code)
		return true
	}
	return false
}

func (h *pushHub) batch(w http.ResponseWriter, body []byte) {
	var ask struct {
		Objects []struct {
			OID  string
			Size int64
		}
	}
	_ = json.Unmarshal(body, &ask)
	var objects []map[string]any
	for _, o := range ask.Objects {
		answer := map[string]any{"oid": o.OID, "size": o.Size}
		if !h.have[o.OID] {
			header := map[string]any{}
			if h.chunk > 0 {
				header["chunk_size"] = fmt.Sprint(h.chunk)
				for i := int64(0); i*h.chunk < o.Size; i++ {
					header[fmt.Sprintf("%05d", i+1)] = fmt.Sprintf("%s/%s/%d", h.storage.URL, o.OID, i+1)
				}
			}
			answer["actions"] = map[string]any{"upload": map[string]any{"href": h.storage.URL + "/" + o.OID, "header": header},
				"verify": map[string]any{"href": h.URL + "/verify"}}
		}
		objects = append(objects, answer)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": objects})
}

// pushed are two files, a large one from the disk.
func pushed(t *testing.T) []PushFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.safetensors")
	require.NoError(t, os.WriteFile(path, payload(10_000, 1), 0o644))
	return []PushFile{{Name: "README.md", Content: []byte("# Model")}, {Name: "m.safetensors", Path: path}}
}

// TestPush makes a repository and commits its files, whole and in parts. The storage gets no token.
func TestPush(t *testing.T) {
	for _, chunk := range []int64{0, 4096} {
		h := newPushHub(t)
		h.chunk = chunk
		at, err := Push(t.Context(), "org/name", pushed(t), &PushOptions{Private: true, Message: "First"})
		require.NoError(t, err)
		assert.Equal(t, h.URL+"/org/name/commit/1", at)
		assert.Equal(t, "org/name", h.repo)
		assert.True(t, h.private)
		assert.Equal(t, "First", h.summary)
		require.Len(t, h.commits, 1)
		assert.Equal(t, map[string][]byte{"README.md": []byte("# Model"), "m.safetensors": payload(10_000, 1)}, h.commits[0])
		for _, r := range h.server.seen {
			assert.Equal(t, "Bearer hf_secret", r.token, r.path)
		}
		for _, r := range append(h.server.seen, h.storage.seen...) {
			assert.Equal(t, "goclip", r.agent, r.path)
		}
		for _, r := range h.storage.seen {
			assert.Empty(t, r.token, r.path)
		}
		h.have[sumOf(payload(10_000, 1))] = true
		sent := len(h.storage.seen)
		_, err = Push(t.Context(), "org/name", pushed(t), nil)
		require.NoError(t, err, "the repository is there")
		assert.Len(t, h.storage.seen, sent, "the file is there")
		assert.Len(t, h.commits, 2)
	}
}

// TestPushRetries sends again what a server could not take, and gives up in the end.
func TestPushRetries(t *testing.T) {
	h := newPushHub(t)
	n := 0
	h.fail = func(*http.Request) int {
		if n++; n%2 == 1 {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	_, err := Push(t.Context(), "org/name", pushed(t), &PushOptions{Retry: time.Millisecond})
	require.NoError(t, err)
	assert.Equal(t, payload(10_000, 1), h.commits[0]["m.safetensors"])
	h.fail = func(r *http.Request) int { return http.StatusBadGateway }
	_, err = Push(t.Context(), "org/name", pushed(t), &PushOptions{Retry: time.Millisecond})
	assert.ErrorContains(t, err, "answers 502 Bad Gateway: no")
	assert.Len(t, h.commits, 1)
}

func TestPushRefusals(t *testing.T) {
	h := newPushHub(t)
	h.fail = func(*http.Request) int { return http.StatusForbidden }
	_, err := Push(t.Context(), "org/name", pushed(t), nil)
	assert.ErrorContains(t, err, "answers 403 Forbidden: no; the token must be allowed to write")
	h.fail = func(r *http.Request) int {
		if r.Method == http.MethodPut {
			return http.StatusForbidden
		}
		return 0
	}
	_, err = Push(t.Context(), "org/name", pushed(t), nil)
	assert.ErrorContains(t, err, "m.safetensors: ")
	assert.Empty(t, h.commits, "nothing is half there")
	for _, name := range []string{"name", "a/b/c", "a/..", "", "-a/b", "a/b.git", "a/b c"} {
		_, err = Push(t.Context(), name, nil, nil)
		assert.ErrorContains(t, err, "is not the name of a repository", name)
	}
	asked := len(h.server.requests())
	_, err = Push(t.Context(), "org/name", []PushFile{{Name: "x", Path: "/none"}}, nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = Push(t.Context(), "org/name", []PushFile{{Name: "x", Path: t.TempDir()}}, nil)
	assert.ErrorContains(t, err, "is a directory")
	assert.Len(t, h.server.requests(), asked, "files are read first")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Push(ctx, "org/name", pushed(t), nil)
	assert.ErrorIs(t, err, context.Canceled)
	t.Setenv("HF_HUB_OFFLINE", "1")
	_, err = Push(t.Context(), "org/name", pushed(t), nil)
	assert.ErrorIs(t, err, ErrOffline)
	t.Setenv("HF_HUB_OFFLINE", "")
	t.Setenv("HF_TOKEN", "")
	t.Setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
	_, err = Push(t.Context(), "org/name", pushed(t), nil)
	assert.ErrorIs(t, err, ErrNoToken)
	t.Setenv("HF_ENDPOINT", "http://example.org")
	_, err = Push(t.Context(), "org/name", pushed(t), nil)
	assert.ErrorContains(t, err, "HF_ENDPOINT is http://example.org; it must be https")
}
