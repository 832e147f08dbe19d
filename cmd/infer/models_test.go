package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
)

// hub answers on loopback as the Hugging Face hub does for one model, org/tiny; whoever looks for
// models has no other.
func hub(t *testing.T) *httptest.Server {
	t.Helper()
	const commit = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
	home, dir := t.TempDir(), tinyModel(t)
	type object = map[string]any
	siblings := []object{}
	for _, name := range names(t, dir) {
		data := readFile(t, filepath.Join(dir, name))
		file := object{"rfilename": name, "size": len(data), "blobId": fmt.Sprintf("%x", sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...)))}
		if strings.HasSuffix(name, ".safetensors") {
			file["lfs"] = object{"sha256": fmt.Sprintf("%x", sha256.Sum256(data)), "size": len(data), "pointerSize": 134}
		}
		siblings = append(siblings, file)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Repo-Commit", commit)
		switch {
		case strings.HasPrefix(r.URL.Path, "/api/models/org/tiny"):
			_ = json.NewEncoder(w).Encode(object{"id": "org/tiny", "sha": commit, "siblings": siblings})
		case strings.HasPrefix(r.URL.Path, "/org/tiny/resolve/"):
			http.ServeFile(w, r, filepath.Join(dir, filepath.Base(r.URL.Path)))
		default:
			w.Header().Set("X-Error-Code", "RepoNotFound")
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	for _, name := range []string{"XDG_CACHE_HOME", "GOCLIP_MIRROR", "GOCLIP_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("GOCLIP_CACHE", filepath.Join(home, "cache"))
	t.Setenv("HF_ENDPOINT", s.URL)
	return s
}

// TestPull fetches a model of the hub by its name. Then every command has it without the network,
// by any spelling of the name, and an index finds it again.
func TestPull(t *testing.T) {
	s := hub(t)
	code, out, errs := infer(t, "", "models", "--downloaded")
	require.Zero(t, code, errs)
	assert.Empty(t, out)
	code, out, errs = infer(t, "", "pull", "org/tiny")
	require.Zero(t, code, errs)
	assert.Contains(t, errs, "infer: hf-hub:org/tiny: 2 files, ")
	assert.Contains(t, errs, "from the network\n")
	paths := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, paths, 2)
	assert.Equal(t, clip.ConfigFile, filepath.Base(paths[0]))
	assert.Equal(t, clip.WeightsFile, filepath.Base(paths[1]))
	for _, path := range paths {
		assert.FileExists(t, path)
	}

	s.Close()
	t.Setenv("HF_HUB_OFFLINE", "1")
	code, out, errs = infer(t, "", "pull", "hf-hub:org/tiny")
	require.Zero(t, code, errs)
	assert.Equal(t, strings.Join(paths, "\n")+"\n", out)
	assert.Contains(t, oneLine(t, errs), "from goclip's cache")
	code, out, errs = infer(t, "", "models", "--downloaded")
	require.Zero(t, code, errs)
	assert.Regexp(t, `^hf-hub:org/tiny  .*  goclip's cache  `+filepath.Dir(paths[0])+"\n$", out)
	for _, name := range []string{"hf-hub:org/tiny", "org/tiny", "hf-hub:org/tiny@main"} {
		code, out, errs := infer(t, "", "score", "--model", name, "--format", "json", "--text", "a", "--image", testImage("face.png"))
		require.Zero(t, code, errs)
		assert.Contains(t, out, `"model":"`+name+`"`)
		code, out, errs = infer(t, "", "inspect", "--format", "json", name)
		require.Zero(t, code, errs)
		assert.Contains(t, out, `"sha256":"`, "its own weights are told of")
	}

	dir := t.TempDir()
	emoji(t, dir, 3)
	code, _, errs = infer(t, "", "index", "--model", "hf-hub:org/tiny", dir)
	require.Zero(t, code, errs)
	t.Chdir(dir)
	code, out, errs = infer(t, "", "search", "-f", "-t1", "a word")
	require.Zero(t, code, errs)
	assert.Equal(t, 1, strings.Count(out, ".png\n"))
	ix, err := index.Open(filepath.Join(dir, index.DirName))
	require.NoError(t, err)
	defer ix.Close()
	info, err := ix.Info(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "hf-hub:org/tiny", info.Model.Name)
}

func TestPullErrors(t *testing.T) {
	hub(t)
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"pull", 2, "<name>"},
		{"pull org/other", 1, "org/other: "},
		{"pull ViT-B-33", 1, `no model is called "ViT-B-33"; did you mean ViT-B-32`},
		{"pull ViT-B-32", 1, "ViT-B-32 names no weights; add one of its tags, as in ViT-B-32:openai"},
		{"pull ViT-B-32:nobody", 1, "nobody"},
		{"pull ViT-B-32:openai --pretrained laion2b_s34b_b79k", 2, "both name weights; drop one"},
		{"pull org/tiny --pretrained openai", 2, "both name weights; drop one"},
	} {
		code, out, errs := infer(t, "", strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, c.args)
		assert.Empty(t, out)
		assert.Contains(t, oneLine(t, errs), c.says, c.args)
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	for _, name := range []string{"org/tiny", "ViT-B-32:openai"} {
		code, _, errs := infer(t, "", "pull", name)
		assert.Equal(t, 1, code)
		assert.Contains(t, oneLine(t, errs), "it is not on this machine and the network is forbidden by HF_HUB_OFFLINE")
	}
}

// TestMessages has an error of the index end with the command that mends it.
func TestMessages(t *testing.T) {
	for err, says := range map[error]string{
		index.ErrModel:   "; infer index --model does that, and searches continue meanwhile",
		index.ErrDamaged: "; infer index --rebuild does that",
		index.ErrVersion: "; infer index --rebuild does that",
		index.ErrEngine:  "; infer index --engine does that",
	} {
		assert.Equal(t, "infer: photos: "+err.Error()+says, message(fmt.Errorf("index: photos: %w", err)))
	}
	assert.Equal(t, "infer: a; b", message(errors.Join(errors.New("a"), errors.New("b"))))
	f := modelFlags{Model: "x.pt", computeFlags: computeFlags{Precision: "fp32"}}
	assert.ErrorContains(t, f.worded(clip.ErrAmbiguous), "--model takes the directory or the config, --pretrained the file, and --force-quick-gelu")
}
