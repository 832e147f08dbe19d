package pretrained

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPull(t *testing.T) {
	machine(t)
	h := newFakeHub(t, model())
	n, err := ParseName("hf-hub:org/name@v1", nil)
	require.NoError(t, err)
	files, err := Pull(t.Context(), n, impatient(&notes{}))
	require.NoError(t, err)
	require.Len(t, files, 3)
	assert.Equal(t, sumOf(data), files[2].Sum)
	h.asked()
	again, err := Pull(t.Context(), n, impatient(&notes{}))
	require.NoError(t, err)
	assert.Equal(t, files[2].Path, again[2].Path)
	assert.Empty(t, h.asked())

	h.files["open_clip_model.safetensors"] = other
	n, err = ParseName("vit-b/32:laion2b_s34b_b79k", configs(t))
	require.NoError(t, err)
	files, err = Pull(t.Context(), n, impatient(&notes{}))
	require.NoError(t, err)
	require.Len(t, files, 1)
	requireFile(t, files[0], other)
	require.NoError(t, os.Remove(files[0].Path))
	delete(h.files, "open_clip_model.safetensors")
	_, err = Pull(t.Context(), n, impatient(&notes{}))
	require.ErrorIs(t, err, ErrNotFound)
	assert.ErrorContains(t, err, "place open_clip_model.safetensors (it is at "+h.URL+"/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/main/open_clip_model.safetensors) as ")

	_, err = Pull(t.Context(), Name{Config: "ViT-L-14-336"}, Options{})
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "ViT-L-14-336 names no weights; add one of its tags, as in ViT-L-14-336:openai; it has openai")
	_, err = Pull(t.Context(), Name{Config: "emoji-64"}, Options{})
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "no weights of emoji-64 are published")
}

func TestDownloads(t *testing.T) {
	cache := machine(t)
	home := filepath.Dir(cache)
	got, err := Downloads(t.Context(), Options{})
	require.NoError(t, err)
	assert.Empty(t, got)
	assert.NoDirExists(t, cache)

	own := filepath.Join(cache, "RN50", "openai", "RN50.pt")
	write(t, own, data[:100])
	python := fillHubCache(t, filepath.Join(home, ".cache", "huggingface", "hub"), "open_clip_model.safetensors", sumOf(data), data)
	clip := filepath.Join(home, ".cache", "clip", "ViT-B-32.pt")
	write(t, clip, data[:200])
	write(t, filepath.Join(cache, "RN101", "openai", "RN101.pt"), nil)
	write(t, filepath.Join(cache, "RN101", "openai", "RN101.pt.part"), data)

	newFakeHub(t, model())
	for _, repo := range []string{"org/name", "org/name@v1", "org/open"} {
		if repo == "org/open" {
			newFakeHub(t, map[string][]byte{"open_clip_config.json": []byte("{}"), "config.json": []byte(`{"model_type": "x"}`), "open_clip_model.safetensors": data})
		}
		_, err = findRepo(t, repo, impatient(&notes{}))
		require.NoError(t, err)
	}
	hub := filepath.Join(home, ".cache", "huggingface", "hub")
	require.NoError(t, os.CopyFS(filepath.Join(hub, "models--org--name"), os.DirFS(filepath.Join(cache, "hub", "models--org--name"))))
	other := repoIn(hub, "a/bert")
	write(t, filepath.Join(other.snapshot("0123"), "config.json"), []byte(`{"model_type": "bert"}`))
	write(t, filepath.Join(other.snapshot("0123"), "pytorch_model.bin"), data[:50])
	require.NoError(t, other.refer("refs/pr/1", "0123"))
	write(t, filepath.Join(other.snapshot("4567"), "config.json"), []byte(`{"model_type": "bert"}`)) // no weights

	got, err = Downloads(t.Context(), Options{Offline: true})
	require.NoError(t, err)
	snapshots := filepath.Join(cache, "hub", "models--org--name", "snapshots", commit)
	open := filepath.Join(cache, "hub", "models--org--open", "snapshots", commit)
	assert.Equal(t, []Downloaded{
		{Name{Config: "RN50", Tag: "openai"}, "", own, 100, FromCache},
		{Name{Config: "ViT-B-32", Tag: "openai"}, "", clip, 200, FromCLIP},
		{Name{Config: "ViT-B-32", Tag: "laion2b_s34b_b79k"}, "", python, 300_000, FromHubCache},
		{Name{Repo: "a/bert@refs/pr/1"}, "bert", other.snapshot("0123"), 72, FromHubCache},
		{Name{Repo: "org/name"}, "clip", snapshots, 300_024, FromCache},
		{Name{Repo: "org/open"}, "", open, 300_021, FromCache},
	}, got)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Downloads(ctx, Options{})
	require.ErrorIs(t, err, context.Canceled)
}
