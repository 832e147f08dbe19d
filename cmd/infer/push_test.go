package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// commitHub takes all files as small ones and keeps the paths of its commits.
func commitHub(t *testing.T) (commits *[][]string) {
	t.Helper()
	commits = new([][]string)
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		switch {
		case strings.Contains(r.URL.Path, "/preupload/"):
			var ask struct{ Files []map[string]any }
			assert.NoError(t, json.Unmarshal(body, &ask))
			for _, f := range ask.Files {
				f["uploadMode"] = "regular"
			}
			assert.NoError(t, json.NewEncoder(w).Encode(map[string]any{"files": ask.Files}))
		case strings.Contains(r.URL.Path, "/commit/"):
			var paths []string
			for line := range strings.Lines(string(body)) {
				var l struct{ Value struct{ Path string } }
				assert.NoError(t, json.Unmarshal([]byte(line), &l))
				if l.Value.Path != "" {
					paths = append(paths, l.Value.Path)
				}
			}
			*commits = append(*commits, paths)
			_, _ = w.Write([]byte(`{"commitUrl":"https://hub.example/org/name/commit/abc"}`))
		}
	}))
	t.Cleanup(hub.Close)
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_TOKEN", "hf_x")
	return commits
}

// TestPush sends a checkpoint's model with a card and leaves its state behind; --dry-run sends
// nothing and leaves a directory that opens as a model.
func TestPush(t *testing.T) {
	tiny := tinyModel(t)
	require.NoError(t, os.Mkdir(filepath.Join(tiny, "train_state"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tiny, "secret.txt"), []byte("mine"), 0o644))
	commits := commitHub(t)
	out := filepath.Join(t.TempDir(), "out")
	code, stdout, errs := infer(t, "", "push", tiny, "org/name", "--dry-run", "--out", out, "--license", "mit")
	require.Equal(t, 0, code, errs)
	assert.Empty(t, *commits)
	want := []string{"open_clip_config.json", "open_clip_model.safetensors", "README.md"}
	for _, name := range want {
		assert.Contains(t, stdout, filepath.Join(out, name)+"\n")
	}
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	assert.Len(t, entries, len(want))
	card, err := os.ReadFile(filepath.Join(out, "README.md"))
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(card), "---\nlibrary_name: open_clip\npipeline_tag: zero-shot-image-classification\ntags:\n- clip\nlicense: mit\n---\n\n# name\n"), string(card))
	assert.Contains(t, string(card), `open_clip.create_model_and_transforms("hf-hub:org/name")`)
	code, _, errs = infer(t, "", "inspect", out)
	assert.Equal(t, 0, code, errs)

	code, stdout, errs = infer(t, "", "push", tiny, "org/name")
	require.Equal(t, 0, code, errs)
	assert.Equal(t, "https://hub.example/org/name/commit/abc\n", stdout)
	assert.Equal(t, [][]string{want}, *commits)

	require.NoError(t, os.WriteFile(filepath.Join(tiny, "README.md"), []byte("---\nlicense: mit\n---\n# Mine\n"), 0o644))
	again := filepath.Join(t.TempDir(), "again")
	code, _, errs = infer(t, "", "push", tiny, "org/name", "--dry-run", "--out", again)
	require.Equal(t, 0, code, errs)
	card, err = os.ReadFile(filepath.Join(again, "README.md"))
	require.NoError(t, err)
	assert.Equal(t, "---\nlicense: mit\n---\n# Mine\n", string(card))
}

func TestPushRefusals(t *testing.T) {
	tiny := tinyModel(t)
	commits := commitHub(t)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{2, `"name" is not the name of a repository: it must be like my-org/my-model`, []string{tiny, "name"}},
		{2, "--out goes with --dry-run", []string{tiny, "org/name", "--out", "x"}},
		{2, "is not a directory; infer convert makes", []string{filepath.Join(tiny, "open_clip_model.safetensors"), "org/name"}},
		{1, "infer: ", []string{t.TempDir(), "org/name"}},
	} {
		code, _, errs := infer(t, "", append([]string{"push"}, c.args...)...)
		assert.Equal(t, c.code, code, errs)
		assert.Contains(t, oneLine(t, errs), c.says)
	}
	t.Setenv("HF_TOKEN", "")
	t.Setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
	code, _, errs := infer(t, "", "push", tiny, "org/name")
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "set HF_TOKEN, or run hf auth login")
	assert.Empty(t, *commits)
}
