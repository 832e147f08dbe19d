package pretrained

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever a server stalls at, the end of the context ends the call. The stall itself would last an
// hour.
func TestStoppedWhileTheHubStalls(t *testing.T) {
	for name, stalls := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"list": func(_ http.ResponseWriter, r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/") },
		"amid the list": func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasPrefix(r.URL.Path, "/api/") && begun(w)
		},
		"small file": func(_ http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/config.json")
		},
		"storage": func(_ http.ResponseWriter, r *http.Request) bool { return r.URL.Path == "/model.safetensors" },
		"amid the bytes": func(w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == "/model.safetensors" && begun(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			machine(t)
			h := newFakeHub(t, model())
			ctx, cancel := context.WithCancel(t.Context())
			h.first = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if !stalls(w, r) {
					return false
				}
				cancel()
				untilGone(r)
				return true
			}
			o := impatient(&notes{})
			o.Stall = time.Hour
			_, err := FindRepo(ctx, "org/name", o)
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

func begun(w http.ResponseWriter) bool {
	w.Header().Set("Content-Length", "300000")
	_, _ = w.Write([]byte(`{"sha": "3d74`))
	_ = http.NewResponseController(w).Flush()
	return true
}

func TestHubThatLiesAboutAModel(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(w http.ResponseWriter, r *http.Request, n int) bool
		is    error
		says  string
	}{
		{"small file", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if strings.HasSuffix(r.URL.Path, "/config.json") {
				_, _ = w.Write([]byte(`{"model_type": "clop"}`))
				return true
			}
			return false
		}, ErrChecksum, "sent other bytes than were published: the SHA-1 as git has it of config.json begins with "},
		{"weights", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if r.URL.Path == "/model.safetensors" {
				_, _ = w.Write(payload(len(data), 99))
				return true
			}
			return false
		}, ErrChecksum, "sent other bytes than were published: the SHA-256 of model.safetensors begins with "},
		{"length of the weights", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if r.URL.Path == "/model.safetensors" {
				_, _ = w.Write(data[:1000])
				return true
			}
			return false
		}, nil, "announces 1000 bytes of model.safetensors and the hub 300000"},
		{"list that ends early", func(w http.ResponseWriter, r *http.Request, n int) bool {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"sha":`))
			return true
		}, nil, "unexpected EOF (gave up after 3 tries)"},
		{"list that is none", func(w http.ResponseWriter, r *http.Request, n int) bool {
			_, _ = w.Write([]byte(`<html>`))
			return true
		}, nil, "the list of files of org/name: invalid character"},
		{"no commit", func(w http.ResponseWriter, r *http.Request, n int) bool {
			_, _ = w.Write([]byte(`{"sha": "../../x", "siblings": []}`))
			return true
		}, nil, `its commit is "../../x"; it must be 40 hexadecimal digits`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			h := newFakeHub(t, model())
			h.first = c.first
			_, err := findRepo(t, "org/name", impatient(&notes{}))
			require.ErrorContains(t, err, c.says)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			assert.NoFileExists(t, filepath.Join(cache, "hub", "models--org--name", "refs", "main"))
			_, err = findRepo(t, "org/name", Options{Offline: true})
			require.ErrorIs(t, err, ErrOffline)
		})
	}
}

// What the hub refuses is told apart, with the remedy, and with the way without the download.
func TestHubRefusesAModel(t *testing.T) {
	for _, c := range []struct {
		name, code, token string
		status            int
		gone              bool
		says              string
	}{
		{"no repository", "RepoNotFound", "", 401, true, "answers 401 Unauthorized for the list of files: there is no repository org/name; if it is a private one, set HF_TOKEN"},
		{"no revision", "RevisionNotFound", "", 404, true, "org/name has no revision v9"},
		{"gated", "GatedRepo", "", 401, false, "org/name is gated: accept its terms at https://huggingface.co/org/name and set HF_TOKEN to a token of the account that did"},
		{"a token of no use", "", "hf_secret", 403, false, "answers 403 Forbidden for the list of files (the account of the token that was sent may not read org/name)"},
		{"no token", "", "", 401, false, "(if org/name is private or gated, set HF_TOKEN)"},
		{"nothing", "", "", 404, true, "answers 404 Not Found for the list of files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			t.Setenv("HF_TOKEN", c.token)
			h := newFakeHub(t, nil)
			h.first = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
				w.Header().Set("X-Error-Code", c.code)
				w.WriteHeader(c.status)
				return true
			}
			_, err := findRepo(t, "org/name@v9", impatient(&notes{}))
			require.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "; to do without the download, place its config (open_clip_config.json or config.json), weights (open_clip_model.safetensors,")
			assert.ErrorContains(t, err, "(they are at "+h.URL+"/org/name/tree/v9) in "+filepath.Join(cache, "hub", "models--org--name", "snapshots", "v9"))
			assert.Equal(t, c.gone, errors.Is(err, ErrNotFound))
			assert.Len(t, h.requests(), 1)
		})
	}
}

// A hub that sends the caller elsewhere is followed, without the token.
func TestRedirectedList(t *testing.T) {
	machine(t)
	t.Setenv("HF_TOKEN", "hf_secret")
	h := newFakeHub(t, model())
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request, _ int) { h.answer(w, r) })
	h.first = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if !strings.HasPrefix(r.URL.Path, "/api/") && !strings.HasSuffix(r.URL.Path, ".json") {
			return false
		}
		http.Redirect(w, r, elsewhere.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return true
	}
	s, err := findRepo(t, "org/name", impatient(&notes{}))
	require.NoError(t, err)
	requireSnapshot(t, s, h.files, modelNames...)
	require.Len(t, elsewhere.requests(), 3, "the list and two small files")
	for _, a := range elsewhere.requests() {
		assert.Empty(t, a.token)
	}
	assert.Equal(t, "Bearer hf_secret", h.requests()[0].token)
}
