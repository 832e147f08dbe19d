package pretrained

import (
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// python is the interpreter that has huggingface_hub, if it is installed: make parity sets it up.
func python(t *testing.T) string {
	t.Helper()
	name, err := filepath.Abs("../../build/venv/bin/python")
	require.NoError(t, err)
	if _, err := os.Stat(name); err != nil {
		t.Skip("needs huggingface_hub in build/venv")
	}
	return name
}

// found is what testdata/pretrained/hub_cache.py prints.
type found struct {
	Commit   string
	Files    map[string]string // hexadecimal
	Repos    []string
	Refs     []string
	Warnings []string
}

func runPython(t *testing.T, cache string, files map[string][]byte, env ...string) found {
	t.Helper()
	args := []string{"../../testdata/pretrained/hub_cache.py", "org/name", "main"}
	for name := range files {
		args = append(args, name)
	}
	cmd := exec.CommandContext(t.Context(), python(t), args...)
	set := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasSuffix(s, "=") }) // Python takes "" for a value
	cmd.Env = append(set, append(env, "HF_HUB_CACHE="+cache, "HF_HUB_DISABLE_XET=1", "HF_HUB_DISABLE_TELEMETRY=1")...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &stderr)
	var f found
	require.NoError(t, json.Unmarshal(out, &f))
	for name, text := range files {
		assert.Equal(t, hex.EncodeToString(text), f.Files[name], name)
	}
	assert.Equal(t, commit, f.Commit)
	assert.Equal(t, []string{"org/name"}, f.Repos)
	assert.Equal(t, []string{"main"}, f.Refs)
	assert.Empty(t, f.Warnings)
	return f
}

// small is a model whose whole cache can be committed.
func small() map[string][]byte {
	return map[string][]byte{"config.json": []byte(`{"model_type": "clip"}`), "model.safetensors": []byte("weights"), "tokenizer.json": []byte("{}")}
}

// Python finds what goclip fetched, offline.
func TestPythonReadsOurCache(t *testing.T) {
	python(t)
	cache := machine(t)
	h := newFakeHub(t, small())
	_, err := findRepo(t, "org/name", impatient(&notes{}))
	require.NoError(t, err)
	h.asked()
	runPython(t, filepath.Join(cache, "hub"), h.files, "HF_HUB_OFFLINE=1")
	assert.Empty(t, h.asked())
}

// What Python fetched is found; the tree that it leaves is the one that is committed for machines
// without Python.
func TestPythonsCacheIsRead(t *testing.T) {
	python(t)
	cache := machine(t)
	hub := filepath.Join(filepath.Dir(cache), ".cache", "huggingface", "hub")
	h := newFakeHub(t, small())
	runPython(t, hub, h.files)
	got := treeOf(t, hub)
	if os.Getenv("UPDATE") != "" {
		text, err := json.MarshalIndent(got, "", " ")
		require.NoError(t, err)
		write(t, pythonsTree, append(text, '\n'))
	}
	assert.Equal(t, committedTree(t), got, "a layout that has changed is committed by UPDATE=1")
	requirePythonsModel(t, h, hub)
}

// The same with the tree that is committed.
func TestCommittedCacheOfPythonIsRead(t *testing.T) {
	cache := machine(t)
	hub := filepath.Join(filepath.Dir(cache), ".cache", "huggingface", "hub")
	for name, f := range committedTree(t) {
		name = filepath.Join(hub, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		if f.Link != "" {
			require.NoError(t, os.Symlink(f.Link, name))
			continue
		}
		require.NoError(t, os.WriteFile(name, []byte(f.Text), 0o644))
	}
	requirePythonsModel(t, newFakeHub(t, small()), hub)
}

func requirePythonsModel(t *testing.T, h *fakeHub, hub string) {
	t.Helper()
	h.asked()
	before := treeOf(t, hub)
	s, err := findRepo(t, "org/name", Options{})
	require.NoError(t, err)
	requireSnapshot(t, s, h.files, modelNames...)
	assert.Equal(t, FromHubCache, s.Origin)
	assert.Equal(t, filepath.Join(hub, "models--org--name", "snapshots", commit), s.Dir)
	assert.Equal(t, before, treeOf(t, hub), "nothing is written into another's cache")
	assert.Empty(t, h.asked())
}

// pythonsTree is what huggingface_hub 2.4.0 left.
const pythonsTree = "testdata/huggingface_hub_2.4.0.json"

// leaf is a link or a file.
type leaf struct {
	Link string `json:"link,omitempty"`
	Text string `json:"text,omitempty"`
}

func committedTree(t *testing.T) (tree map[string]leaf) {
	t.Helper()
	text, err := os.ReadFile(pythonsTree)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &tree))
	return tree
}

// treeOf is what lies in a directory, locks aside.
func treeOf(t *testing.T, dir string) map[string]leaf {
	t.Helper()
	tree := map[string]leaf{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.Contains(name, ".locks") {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		require.NoError(t, err)
		if e.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(name)
			tree[filepath.ToSlash(rel)] = leaf{Link: to}
			return err
		}
		text, err := os.ReadFile(name)
		tree[filepath.ToSlash(rel)] = leaf{Text: string(text)}
		return err
	}))
	return tree
}

// open_clip leaves the weights of a published tag alone in Python's cache. The rest of the model is
// fetched, they are not.
func TestBlobsOfPythonAreReused(t *testing.T) {
	cache := machine(t)
	hub := filepath.Join(filepath.Dir(cache), ".cache", "huggingface", "hub")
	repo := repoIn(hub, "org/name")
	write(t, repo.blob(sumOf(data)), data)
	require.NoError(t, repo.link(repo.blob(sumOf(data)), strings.Repeat("ab", 20), "model.safetensors"))
	require.NoError(t, repo.refer("main", strings.Repeat("ab", 20)))
	h := newFakeHub(t, model())
	s, err := findRepo(t, "org/name", impatient(&notes{}))
	require.NoError(t, err)
	requireSnapshot(t, s, h.files, modelNames...)
	assert.Empty(t, h.storage.requests())
	own := filepath.Join(cache, "hub", "models--org--name")
	assert.Len(t, names(t, filepath.Join(own, "blobs")), 2, "the weights take no room twice")

	require.NoError(t, os.RemoveAll(hub))
	s, err = findRepo(t, "org/name", impatient(&notes{}))
	require.NoError(t, err)
	requireSnapshot(t, s, h.files, modelNames...)
	assert.Len(t, h.storage.requests(), 1, "once Python's cache is gone they are fetched")
}

// huggingface_hub 2 keeps the bytes of several repositories once: a blob is then a link to a file
// whose name is not SHA-256 of it.
func TestSharedBlobsOfPython(t *testing.T) {
	cache := machine(t)
	hub := filepath.Join(filepath.Dir(cache), ".cache", "huggingface", "hub")
	repo := repoIn(hub, "org/name")
	shared := filepath.Join(hub, "blobs", "ab", strings.Repeat("ab", 32))
	write(t, shared, data)
	require.NoError(t, os.MkdirAll(filepath.Dir(repo.blob("x")), 0o755))
	require.NoError(t, os.Symlink("../../blobs/ab/"+strings.Repeat("ab", 32), repo.blob(sumOf(data))))
	require.NoError(t, repo.link(repo.blob(sumOf(data)), commit, "model.safetensors"))
	config := []byte("{}")
	write(t, repo.blob(gitOf(config)), config)
	require.NoError(t, repo.link(repo.blob(gitOf(config)), commit, "config.json"))
	require.NoError(t, repo.refer("main", commit))
	s, err := findRepo(t, "org/name", Options{Offline: true})
	require.NoError(t, err)
	requireSnapshot(t, s, map[string][]byte{"config.json": config, "model.safetensors": data}, "config.json", "model.safetensors")
}

// The token is the environment's or, failing that, the one that "hf auth login" keeps.
func TestToken(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(t *testing.T, home string)
		want string
	}{
		{"HF_TOKEN", func(t *testing.T, home string) { t.Setenv("HF_TOKEN", " hf_a\n") }, "Bearer hf_a"},
		{"HUGGING_FACE_HUB_TOKEN", func(t *testing.T, home string) { t.Setenv("HUGGING_FACE_HUB_TOKEN", "hf_b") }, "Bearer hf_b"},
		{"the file", func(t *testing.T, home string) {
			write(t, filepath.Join(home, ".cache", "huggingface", "token"), []byte("hf_c\n"))
		}, "Bearer hf_c"},
		{"HF_HOME", func(t *testing.T, home string) {
			t.Setenv("HF_HOME", "$HOME/hf")
			write(t, filepath.Join(home, "hf", "token"), []byte("hf_d"))
		}, "Bearer hf_d"},
		{"HF_TOKEN_PATH", func(t *testing.T, home string) {
			t.Setenv("HF_TOKEN_PATH", filepath.Join(home, "mine"))
			write(t, filepath.Join(home, "mine"), []byte("hf_e"))
		}, "Bearer hf_e"},
		{"none", func(*testing.T, string) {}, ""},
		{"not used", func(t *testing.T, home string) {
			t.Setenv("HF_TOKEN", "hf_f")
			t.Setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			h := newFakeHub(t, small())
			h.first = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				assert.Equal(t, c.want, r.Header.Get("Authorization"))
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			c.set(t, filepath.Dir(cache))
			_, err := findRepo(t, "org/name", impatient(&notes{}))
			require.ErrorIs(t, err, ErrNotFound)
			require.Len(t, h.requests(), 1)
		})
	}
}
