package pretrained

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const commit = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"

func gitOf(b []byte) string {
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(b), b))
	return hex.EncodeToString(sum[:])
}

// fakeHub answers for every repository as the hub does for one: a list of files with their hashes,
// small files itself, large ones by a redirect to another host.
type fakeHub struct {
	*server
	storage *server
	files   map[string][]byte
	// first is asked before; it reports whether it has answered. n counts the requests to both hosts.
	first func(w http.ResponseWriter, r *http.Request, n int) bool
}

// model is a repository in transformers' layout.
func model() map[string][]byte {
	return map[string][]byte{"config.json": []byte(`{"model_type": "clip"}`), "model.safetensors": data, "tokenizer.json": []byte("{}"),
		"README.md": []byte("A model."), "onnx/model.onnx": other}
}

func newFakeHub(t *testing.T, files map[string][]byte) *fakeHub {
	t.Helper()
	h := &fakeHub{files: files}
	var n atomic.Int64
	h.storage = serve(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		if i := n.Add(1); h.first != nil && h.first(w, r, int(i)) {
			return
		}
		w.Header().Set("ETag", `"`+sumOf(h.files[r.URL.Path[1:]])+`"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(h.files[r.URL.Path[1:]])))
	})
	h.server = serve(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		if i := n.Add(1); h.first != nil && h.first(w, r, int(i)) {
			return
		}
		h.answer(w, r)
	})
	t.Setenv("HF_ENDPOINT", h.URL)
	return h
}

// isLarge tells what the hub keeps elsewhere.
func isLarge(name string) bool {
	return slices.Contains([]string{".safetensors", ".bin", ".onnx"}, filepath.Ext(name))
}

func (h *fakeHub) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Repo-Commit", commit)
	if strings.HasPrefix(r.URL.Path, "/api/") {
		type object = map[string]any
		siblings, tree := []object{}, []object{}
		for _, name := range slices.Sorted(maps.Keys(h.files)) {
			text := h.files[name]
			sibling := object{"rfilename": name, "blobId": gitOf(text), "size": len(text)}
			entry := object{"type": "file", "path": name, "oid": gitOf(text), "size": len(text)}
			if isLarge(name) {
				sibling["lfs"] = object{"sha256": sumOf(text), "size": len(text), "pointerSize": 134}
				entry["lfs"] = object{"oid": sumOf(text), "size": len(text), "pointerSize": 134}
			}
			siblings, tree = append(siblings, sibling), append(tree, entry)
		}
		var answer any = object{"id": "org/name", "sha": commit, "siblings": siblings}
		if strings.Contains(r.URL.Path, "/tree/") { // Python asks for it too
			answer = tree
		}
		_ = json.NewEncoder(w).Encode(answer)
		return
	}
	_, name, _ := strings.Cut(r.URL.EscapedPath(), "/resolve/")
	_, name, _ = strings.Cut(name, "/")
	name, err := url.PathUnescape(name)
	text, ok := h.files[name]
	switch {
	case err != nil || !ok:
		w.Header().Set("X-Error-Code", "EntryNotFound")
		w.WriteHeader(http.StatusNotFound)
	case isLarge(name):
		linked(w, text)
		http.Redirect(w, r, h.storage.URL+"/"+name, http.StatusFound)
	default:
		w.Header().Set("ETag", `"`+gitOf(text)+`"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(text)))
	}
}

// asked lists the paths that either host was asked for since the last call.
func (h *fakeHub) asked() (paths []string) {
	for _, s := range []*server{h.server, h.storage} {
		s.mu.Lock()
		for _, a := range s.seen {
			paths = append(paths, a.path)
		}
		s.seen = nil
		s.mu.Unlock()
	}
	return paths
}

// requireSnapshot asserts that s has these files, whole, and the directory no other.
func requireSnapshot(t *testing.T, s Snapshot, files map[string][]byte, want ...string) {
	t.Helper()
	var got []string
	for _, f := range s.Files {
		name, err := filepath.Rel(s.Dir, f.Path)
		require.NoError(t, err)
		got = append(got, name)
		text, err := os.ReadFile(f.Path)
		require.NoError(t, err)
		require.True(t, string(files[name]) == string(text), "%s has %d bytes, not the %d that were published", name, len(text), len(files[name]))
		require.Equal(t, sumOf(files[name]), f.Sum)
		require.Equal(t, int64(len(text)), f.Size)
	}
	require.Equal(t, want, got)
	require.Equal(t, slices.Sorted(slices.Values(want)), names(t, s.Dir))
}
