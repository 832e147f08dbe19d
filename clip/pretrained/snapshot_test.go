package pretrained

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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
	for text, says := range map[string]string{`{}`: "no weight_map", `[`: "unexpected end", `{"weight_map": {"a": "../../x"}}`: `"../../x" is not a file of a repository`} {
		_, err := parseIndex([]byte(text))
		require.ErrorContains(t, err, says)
	}
}

// A model that breaks off is taken up where it stopped: its small files are there, and part of the
// weights.
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

// Offline, the sentence says what to place where; what is placed there is found, without a
// download's marks.
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

// Those who want the same model at once wait for one another, and each file is fetched once.
func TestFindRepoAtOnce(t *testing.T) {
	cache := machine(t)
	h := newFakeHub(t, model())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			s, err := FindRepo(t.Context(), "org/name", impatient(&notes{}))
			if assert.NoError(t, err) {
				assert.Len(t, s.Files, 3)
			}
		})
	}
	group.Wait()
	s, err := findRepo(t, "org/name", Options{Offline: true})
	require.NoError(t, err)
	requireSnapshot(t, s, h.files, modelNames...)
	assert.Len(t, h.storage.requests(), 1)
	assert.Len(t, names(t, filepath.Join(cache, "hub", "models--org--name", "blobs")), 3)
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
	require.NoError(t, err, "links to nothing are made again")
	requireSnapshot(t, s, h.files, modelNames...)
}

// A tokenizer is a set of files, of which the first that is whole will do.
func TestFindTokenizer(t *testing.T) {
	for _, c := range []struct{ files, want []string }{
		{[]string{"tokenizer.json", "tokenizer_config.json", "vocab.txt", "model.safetensors"}, []string{"tokenizer_config.json", "tokenizer.json"}},
		{[]string{"vocab.json", "merges.txt", "special_tokens_map.json"}, []string{"special_tokens_map.json", "vocab.json", "merges.txt"}},
		{[]string{"vocab.json", "spiece.model"}, []string{"spiece.model"}},
		{[]string{"sentencepiece.bpe.model", "vocab.txt"}, []string{"sentencepiece.bpe.model"}},
		{[]string{"merges.txt", "config.json"}, nil},
	} {
		machine(t)
		files := map[string][]byte{}
		for i, name := range c.files {
			files[name] = payload(1000, uint64(i))
		}
		h := newFakeHub(t, files)
		s, err := FindTokenizer(t.Context(), "org/name", impatient(&notes{}))
		if c.want == nil {
			require.ErrorIs(t, err, ErrNotFound)
			require.ErrorContains(t, err, "pretrained: org/name: org/name has no tokenizer: tokenizer.json is needed")
			continue
		}
		require.NoError(t, err)
		requireSnapshot(t, s, files, c.want...)
		h.asked()
		s, err = FindTokenizer(t.Context(), "org/name", Options{Offline: true})
		require.NoError(t, err)
		requireSnapshot(t, s, files, c.want...)
		assert.Empty(t, h.asked())
		_, err = FindTokenizer(t.Context(), "org/other", Options{Offline: true})
		require.ErrorIs(t, err, ErrOffline)
		require.ErrorContains(t, err, "forbidden by Options.Offline: place its tokenizer.json and tokenizer_config.json (they are at "+h.URL+"/org/other/tree/main) in ")
		_, err = FindTokenizer(t.Context(), "../x", Options{})
		require.ErrorIs(t, err, ErrNotFound)
	}
}
