package pretrained

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var modelNames = []string{"config.json", "tokenizer.json", "model.safetensors"}

func findRepo(t *testing.T, repo string, o Options) (Snapshot, error) {
	t.Helper()
	return FindRepo(t.Context(), repo, o)
}

func TestFindRepo(t *testing.T) {
	cache := machine(t)
	h := newFakeHub(t, model())
	t.Setenv("HF_TOKEN", "hf_secret")
	s, err := findRepo(t, "org/name", impatient(&notes{}))
	require.NoError(t, err)
	requireSnapshot(t, s, h.files, modelNames...)
	assert.Equal(t, FromNetwork, s.Origin)
	repo := filepath.Join(cache, "hub", "models--org--name")
	assert.Equal(t, filepath.Join(repo, "snapshots", commit), s.Dir)
	link, err := os.Readlink(filepath.Join(s.Dir, "model.safetensors"))
	require.NoError(t, err)
	assert.Equal(t, "../../blobs/"+sumOf(data), link)
	link, err = os.Readlink(filepath.Join(s.Dir, "config.json"))
	require.NoError(t, err)
	assert.Equal(t, "../../blobs/"+gitOf(h.files["config.json"]), link)
	assert.Len(t, names(t, filepath.Join(repo, "blobs")), 3, "and no part")
	ref, err := os.ReadFile(filepath.Join(repo, "refs", "main"))
	require.NoError(t, err)
	assert.Equal(t, commit, string(ref))
	for _, a := range h.requests() {
		assert.Equal(t, "Bearer hf_secret", a.token)
	}
	assert.Equal(t, "/api/models/org/name/revision/main", h.requests()[0].path)
	require.Len(t, h.storage.requests(), 1)
	assert.Empty(t, h.storage.requests()[0].token, "no other host gets the token")

	h.asked()
	for _, o := range []Options{{}, {Offline: true}} {
		s, err = findRepo(t, "org/name", o)
		require.NoError(t, err)
		requireSnapshot(t, s, h.files, modelNames...)
		assert.Equal(t, FromCache, s.Origin)
	}
	_, err = findRepo(t, "org/name@"+commit, Options{Offline: true})
	require.NoError(t, err, "the commit is as good as the branch")
	f, err := Hub(t.Context(), "org/name", "tokenizer.json", Options{Offline: true})
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(s.Dir, "tokenizer.json"), f.Path)
	assert.Empty(t, h.asked())

	_, err = Hub(t.Context(), "org/name", "onnx/model.onnx", impatient(&notes{}))
	require.NoError(t, err)
	assert.Equal(t, []string{"/org/name/resolve/" + commit + "/onnx/model.onnx", "/onnx/model.onnx"}, h.asked(), "of the commit that is here")
}

func TestRevisions(t *testing.T) {
	for _, revision := range []string{"v1.0", commit, "refs/pr/1"} {
		cache := machine(t)
		h := newFakeHub(t, model())
		paths := []string{}
		h.first = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
			paths = append(paths, r.URL.EscapedPath())
			return false
		}
		s, err := findRepo(t, "org/name@"+revision, impatient(&notes{}))
		require.NoError(t, err)
		requireSnapshot(t, s, h.files, modelNames...)
		assert.Equal(t, "/api/models/org/name/revision/"+strings.ReplaceAll(revision, "/", "%2F"), paths[0])
		assert.Equal(t, "/org/name/resolve/"+commit+"/config.json", paths[1])
		if revision != commit {
			ref, err := os.ReadFile(filepath.Join(cache, "hub", "models--org--name", "refs", revision))
			require.NoError(t, err)
			assert.Equal(t, commit, string(ref))
		}
		_, err = findRepo(t, "org/name@"+revision, Options{Offline: true})
		require.NoError(t, err)
		_, err = findRepo(t, "org/name@other", Options{Offline: true})
		require.ErrorIs(t, err, ErrOffline)
	}
}

func TestFilesOfAModel(t *testing.T) {
	index := []byte(`{"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-1.safetensors"}}`)
	for _, c := range []struct {
		name  string
		files []string
		reads []string
		want  []string
		says  string
	}{
		{"open_clip's", []string{"open_clip_config.json", "open_clip_pytorch_model.bin", "open_clip_model.safetensors", "README.md"}, nil,
			[]string{"open_clip_config.json", "open_clip_model.safetensors"}, ""},
		{"both layouts", []string{"open_clip_config.json", "config.json", "model.safetensors", "open_clip_pytorch_model.bin", "merges.txt", "vocab.json"}, nil,
			[]string{"open_clip_config.json", "config.json", "vocab.json", "merges.txt", "open_clip_pytorch_model.bin"}, ""},
		{"what the caller reads", []string{"config.json", "pytorch_model.bin", "model.safetensors"}, []string{".bin"}, []string{"config.json", "pytorch_model.bin"}, ""},
		{"shards", []string{"config.json", "model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors", "model-3.safetensors"}, []string{".safetensors"},
			[]string{"config.json", "model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors"}, ""},
		{"a shard too few", []string{"config.json", "model.safetensors.index.json", "model-1.safetensors"}, nil, nil,
			"org/name lacks model-2.safetensors, which model.safetensors.index.json names"},
		{"no weights", []string{"config.json", "weights.npz"}, nil, nil, "org/name has no weights: open_clip_model.safetensors, open_clip_pytorch_model.bin, "},
		{"none that the caller reads", []string{"config.json", "pytorch_model.bin"}, []string{".safetensors"}, nil,
			"org/name has no weights: open_clip_model.safetensors, model.safetensors or model.safetensors.index.json is needed"},
		{"no config", []string{"model.safetensors"}, nil, nil, "org/name has no config: open_clip_config.json or config.json is needed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			files := map[string][]byte{}
			for i, name := range c.files {
				files[name] = payload(1000+i, uint64(i))
				if strings.HasSuffix(name, indexEnding) {
					files[name] = index
				}
			}
			h := newFakeHub(t, files)
			o := impatient(&notes{})
			o.Formats = c.reads
			s, err := findRepo(t, "org/name", o)
			if c.says != "" {
				require.ErrorIs(t, err, ErrNotFound)
				require.ErrorContains(t, err, "pretrained: org/name: "+c.says)
				assert.NoFileExists(t, filepath.Join(cache, "hub", "models--org--name", "refs", "main"))
				return
			}
			require.NoError(t, err)
			requireSnapshot(t, s, files, c.want...)
			h.asked()
			o.Offline = true
			s, err = findRepo(t, "org/name", o)
			require.NoError(t, err)
			requireSnapshot(t, s, files, c.want...)
		})
	}
}

func TestIndexOfShards(t *testing.T) {
	for text, says := range map[string]string{`{}`: "no weight_map", `[`: "unexpected end", `{"weight_map": {"a": "../../x"}}`: `"../../x" is no file of a repository`} {
		_, err := parseIndex([]byte(text))
		require.ErrorContains(t, err, says)
	}
}

// A model that breaks off is taken up where it stopped: its small files are there, and part of the weights.
func TestFindRepoGoesOn(t *testing.T) {
	cache := machine(t)
	h := newFakeHub(t, model())
	ctx, cancel := context.WithCancel(t.Context())
	h.first = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.URL.Path != "/model.safetensors" {
			return false
		}
		w.Header().Set("ETag", `"`+sumOf(data)+`"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:100_000])
		_ = http.NewResponseController(w).Flush()
		untilGone(r)
		return true
	}
	o := impatient(&notes{})
	o.Progress = func(p Progress) {
		if p.File == "model.safetensors" && p.Done == 100_000 {
			cancel()
		}
	}
	_, err := FindRepo(ctx, "org/name", o)
	require.ErrorIs(t, err, context.Canceled)
	blobs := filepath.Join(cache, "hub", "models--org--name", "blobs")
	assert.ErrorContains(t, err, "stopped; 100000 bytes of model.safetensors are kept in "+filepath.Join(blobs, sumOf(data)+".part"))
	_, err = findRepo(t, "org/name", Options{Offline: true})
	require.ErrorIs(t, err, ErrOffline)

	h.first = nil
	h.asked()
	s, err := findRepo(t, "org/name", impatient(&notes{}))
	require.NoError(t, err)
	requireSnapshot(t, s, h.files, modelNames...)
	assert.Equal(t, "bytes=100000-", h.storage.requests()[0].rang)
	assert.Len(t, h.requests(), 2, "the list, and where the weights are")
	assert.Len(t, names(t, blobs), 3)
}

// Whatever a server stalls at, the end of the context ends the call. The stall itself would last an hour.
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

// Offline, the sentence says what to place where; what is placed there is found, without a download's marks.
func TestFindRepoOffline(t *testing.T) {
	for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "GOCLIP_OFFLINE"} {
		cache := machine(t)
		h := newFakeHub(t, model())
		t.Setenv("HF_ENDPOINT", "")
		t.Setenv(name, "1")
		_, err := findRepo(t, "org/name", Options{})
		require.ErrorIs(t, err, ErrOffline)
		dir := filepath.Join(cache, "hub", "models--org--name", "snapshots", "main")
		require.ErrorContains(t, err, "pretrained: org/name: it is not on this machine and the network is forbidden by "+name+": place its config (open_clip_config.json or config.json), ")
		require.ErrorContains(t, err, "(they are at https://huggingface.co/org/name/tree/main) in "+dir)
		assert.NoDirExists(t, cache, "looking writes nothing")

		write(t, filepath.Join(dir, "config.json"), h.files["config.json"])
		_, err = findRepo(t, "org/name", Options{})
		require.ErrorIs(t, err, ErrOffline)
		require.ErrorContains(t, err, dir+" has no weights: ")
		write(t, filepath.Join(dir, "model.safetensors"), data)
		s, err := findRepo(t, "org/name", Options{})
		require.NoError(t, err)
		requireSnapshot(t, s, h.files, "config.json", "model.safetensors")
		assert.Equal(t, dir, s.Dir)
		assert.Empty(t, h.requests())
	}
}

func TestDamagedModel(t *testing.T) {
	cache := machine(t)
	h := newFakeHub(t, model())
	s, err := findRepo(t, "org/name", impatient(&notes{}))
	require.NoError(t, err)
	for _, name := range []string{"model.safetensors", "config.json"} {
		blob, err := filepath.EvalSymlinks(filepath.Join(s.Dir, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(blob, other[:10], 0o644))
		_, err = findRepo(t, "org/name", Options{Offline: true})
		require.ErrorIs(t, err, ErrOffline)
		require.ErrorIs(t, err, ErrChecksum)
		require.ErrorContains(t, err, filepath.Join(s.Dir, name)+" is damaged: its SHA-")
		n := &notes{}
		again, err := findRepo(t, "org/name", impatient(n))
		require.NoError(t, err)
		requireSnapshot(t, again, h.files, modelNames...)
		assert.Contains(t, n.String(), "is damaged")
	}
	require.NoError(t, os.RemoveAll(filepath.Join(cache, "hub", "models--org--name", "blobs")))
	s, err = findRepo(t, "org/name", impatient(&notes{}))
	require.NoError(t, err, "links to nothing are made anew")
	requireSnapshot(t, s, h.files, modelNames...)
}
