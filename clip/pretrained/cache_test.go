package pretrained

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	laionRepo = "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
	rev       = "1a25a446712ba5ee05982a381eed697ef9b435cf"
)

// fillHubCache lays a file out as huggingface_hub does and returns its name in the snapshot.
func fillHubCache(t *testing.T, hub, file, blob string, data []byte) string {
	t.Helper()
	repo := filepath.Join(hub, laionRepo)
	write(t, filepath.Join(repo, "refs", "main"), []byte(rev))
	write(t, filepath.Join(repo, "blobs", blob), data)
	name := filepath.Join(repo, "snapshots", rev, file)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.Symlink(filepath.Join("..", "..", "blobs", blob), name))
	return name
}

func TestHubCacheOfThisMachine(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(t *testing.T, home string) string // gives the cache's directory
	}{
		{"by default", func(t *testing.T, home string) string { return filepath.Join(home, ".cache", "huggingface", "hub") }},
		{"HF_HOME", func(t *testing.T, home string) string {
			t.Setenv("HF_HOME", "~/hf")
			return filepath.Join(home, "hf", "hub")
		}},
		{"HF_HUB_CACHE", func(t *testing.T, home string) string {
			t.Setenv("HF_HOME", filepath.Join(home, "elsewhere"))
			t.Setenv("HF_HUB_CACHE", filepath.Join(home, "h"))
			return filepath.Join(home, "h")
		}},
		{"XDG_CACHE_HOME", func(t *testing.T, home string) string {
			t.Setenv("XDG_CACHE_HOME", filepath.Join(home, "xdg"))
			return filepath.Join(home, "xdg", "huggingface", "hub")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			t.Setenv("GOCLIP_OFFLINE", "1")
			hub := c.set(t, filepath.Dir(cache))
			name := fillHubCache(t, hub, "open_clip_pytorch_model.bin", sumOf(data), data)
			f, err := findLAION(t, Options{})
			require.NoError(t, err)
			assert.Equal(t, name, f.Path)
			assert.Equal(t, FromHubCache, f.Origin)
			assert.Equal(t, sumOf(data), f.Sum)
			assert.Equal(t, []string{"open_clip_pytorch_model.bin"}, names(t, filepath.Dir(name)), "nothing is written into another's cache")
			assert.Len(t, names(t, filepath.Join(cache, "elsewhere")), 1)
		})
	}
}

func TestHubCacheWithoutTheFile(t *testing.T) {
	for name, ref := range map[string]string{"no ref": "", "no snapshot": "abc", "a way out": "../../x"} {
		t.Run(name, func(t *testing.T) {
			cache := machine(t)
			hub := filepath.Join(filepath.Dir(cache), ".cache", "huggingface", "hub")
			if ref != "" {
				write(t, filepath.Join(hub, laionRepo, "refs", "main"), []byte(ref))
			}
			_, err := findLAION(t, Options{Offline: true})
			require.ErrorIs(t, err, ErrOffline)
		})
	}
}

// The commit of a revision is one name of a directory, whatever the cache's file says.
func TestHubCacheCommit(t *testing.T) {
	for text, want := range map[string]string{"abc": "abc", " abc\n": "abc", "..": "", ".": "", ".hidden": "", "a/b": "", `a\b`: ""} {
		r := hubRepo(t.TempDir())
		write(t, filepath.Join(string(r), "refs", "main"), []byte(text))
		assert.Equal(t, want, r.commit("main"), text)
	}
	assert.Equal(t, "v1", hubRepo(t.TempDir()).commit("v1"), "it may be a commit")
}

// damage changes bytes of the file and nothing that os.Stat sees.
func damage(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	require.NoError(t, err)
	bytes, err := os.ReadFile(name)
	require.NoError(t, err)
	bytes[len(bytes)/2]++
	require.NoError(t, os.WriteFile(name, bytes, 0o644))
	require.NoError(t, os.Chtimes(name, info.ModTime(), info.ModTime()))
}

// Once verified, a file is opened without a look at its bytes: a change that size and time do not
// show goes unseen.
func TestVerifiedOnce(t *testing.T) {
	machine(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
	t.Setenv("GOCLIP_MIRROR", s.URL)
	f, err := get(t, t.Context(), impatient(&notes{}), own(data))
	require.NoError(t, err)
	damage(t, f.Path)
	again, err := get(t, t.Context(), impatient(&notes{}), own(data))
	require.NoError(t, err)
	assert.Equal(t, f.Sum, again.Sum)
	assert.Len(t, s.requests(), 1)

	t.Log("a new time makes it be hashed, and then the damage shows")
	require.NoError(t, os.Chtimes(f.Path, f.modified(t), f.modified(t)))
	n := &notes{}
	_, err = get(t, t.Context(), Options{Offline: true}, own(data))
	require.ErrorIs(t, err, ErrOffline)
	assert.Contains(t, err.Error(), f.Path+" is damaged: its SHA-256 begins with ")
	f, err = get(t, t.Context(), impatient(n), own(data))
	require.NoError(t, err)
	requireFile(t, f, data)
	assert.Len(t, s.requests(), 2)
	assert.Contains(t, n.String(), "is damaged")
}

// A record speaks for the bytes that it names: when the table needs others, it is worth nothing.
func TestRecordOfOtherBytes(t *testing.T) {
	machine(t)
	published := other
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, published) })
	t.Setenv("GOCLIP_MIRROR", s.URL)
	f, err := get(t, t.Context(), impatient(&notes{}), own(other))
	require.NoError(t, err)
	requireFile(t, f, other)
	published = data
	f, err = get(t, t.Context(), impatient(&notes{}), own(data))
	require.NoError(t, err)
	requireFile(t, f, data)
}

func TestDamagedFilesAreFetchedAnew(t *testing.T) {
	for _, c := range []struct {
		name    string
		content []byte
		says    string
	}{
		{"cut short", data[:1000], "is damaged"}, {"empty", nil, "is empty"}, {"another", other, "is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
			t.Setenv("GOCLIP_MIRROR", s.URL)
			write(t, filepath.Join(cache, "m", "t", "w.pt"), c.content)
			n := &notes{}
			f, err := get(t, t.Context(), impatient(n), own(data))
			require.NoError(t, err)
			requireFile(t, f, data)
			assert.Contains(t, n.String(), c.says)
		})
	}
}

// Of a hub's file nothing is known beforehand; the record of the download then says what it must
// be.
func TestDamagedHubFile(t *testing.T) {
	machine(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { linked(w, data); whole(w, r, data) })
	t.Setenv("HF_ENDPOINT", s.URL)
	f, err := findLAION(t, impatient(&notes{}))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(f.Path, data[:5000], 0o644))
	_, err = findLAION(t, Options{Offline: true})
	require.ErrorContains(t, err, "is damaged")
	assert.Contains(t, err.Error(), "(if you replaced it, delete "+f.Path+".verified)")
	require.NoError(t, os.Remove(f.Path+".verified"))
	f, err = findLAION(t, Options{Offline: true})
	require.NoError(t, err)
	assert.Equal(t, sumOf(data[:5000]), f.Sum)
}

func TestDamagedBlobOfTheHubCache(t *testing.T) {
	cache := machine(t)
	name := fillHubCache(t, filepath.Join(filepath.Dir(cache), ".cache", "huggingface", "hub"), "open_clip_model.safetensors", sumOf(data), other)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { linked(w, data); whole(w, r, data) })
	t.Setenv("HF_ENDPOINT", s.URL)
	n := &notes{}
	f, err := findLAION(t, impatient(n))
	require.NoError(t, err)
	requireFile(t, f, data)
	assert.Contains(t, n.String(), name+" is damaged")
	assert.FileExists(t, name, "another's file is not touched")
}

// open_clip and openai/CLIP share a directory and write files under their final names from the
// first byte on.
func TestCLIPsCache(t *testing.T) {
	cache := machine(t)
	name := filepath.Join(filepath.Dir(cache), ".cache", "clip", "w.pt")
	write(t, name, data)
	f, err := get(t, t.Context(), Options{Offline: true}, own(data))
	require.NoError(t, err)
	assert.Equal(t, name, f.Path)
	assert.Equal(t, FromCLIP, f.Origin)

	eight := own(data)
	eight.hash = eight.hash[:8]
	_, err = get(t, t.Context(), Options{Offline: true}, eight)
	require.NoError(t, err)

	unknown := own(data)
	unknown.hash = ""
	_, err = get(t, t.Context(), Options{Offline: true}, unknown)
	require.ErrorIs(t, err, ErrOffline, "without a hash nothing tells a whole file from a cut one")

	write(t, name, data[:1000])
	_, err = get(t, t.Context(), Options{Offline: true}, own(data))
	require.ErrorContains(t, err, name+" is damaged")
	require.ErrorIs(t, err, ErrChecksum)
}

func TestOffline(t *testing.T) {
	for _, name := range []string{"GOCLIP_OFFLINE", "HF_HUB_OFFLINE"} {
		t.Run(name, func(t *testing.T) {
			cache := machine(t)
			s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
			t.Setenv("GOCLIP_MIRROR", s.URL)
			t.Setenv(name, "True")
			_, err := Find(t.Context(), "ViT-B-32", "openai", Options{})
			require.ErrorIs(t, err, ErrOffline)
			at := filepath.Join(cache, "ViT-B-32", "openai", "ViT-B-32.pt")
			assert.Contains(t, err.Error(), "forbidden by "+name+": place ViT-B-32.pt (it is at https://")
			assert.Contains(t, err.Error(), " as "+at)
			assert.NoDirExists(t, cache, "looking writes nothing")
			assert.Empty(t, s.requests())

			_, err = findLAION(t, Options{})
			require.ErrorIs(t, err, ErrOffline)
			_, place, _ := strings.Cut(err.Error(), " as ")
			write(t, place, data)
			f, err := findLAION(t, Options{})
			require.NoError(t, err)
			requireFile(t, f, data)

			write(t, at, data)
			_, err = Find(t.Context(), "ViT-B-32", "openai", Options{})
			require.ErrorContains(t, err, at+" is damaged: its SHA-256 begins with "+sumOf(data)[:8]+" and should begin with 40d36571")

			t.Setenv(name, "0")
			_, err = get(t, t.Context(), impatient(&notes{}), own(data))
			require.NoError(t, err)
		})
	}
}

func TestNoHome(t *testing.T) {
	cache := machine(t)
	t.Setenv("HOME", "")
	t.Setenv("GOCLIP_CACHE", "")
	_, err := findLAION(t, Options{})
	require.ErrorContains(t, err, "there is no directory for the cache: set GOCLIP_CACHE")

	t.Setenv("HF_HOME", filepath.Join(cache, "hf"))
	name := fillHubCache(t, filepath.Join(cache, "hf", "hub"), "open_clip_model.safetensors", sumOf(data), data)
	f, err := findLAION(t, Options{})
	require.NoError(t, err, "a file that is there needs no cache of ours")
	assert.Equal(t, name, f.Path)

	t.Setenv("GOCLIP_CACHE", cache)
	_, err = Find(t.Context(), "RN50", "openai", Options{Offline: true})
	require.ErrorContains(t, err, filepath.Join(cache, "RN50", "openai", "RN50.pt"))
}

func TestCacheOfTheUser(t *testing.T) {
	machine(t)
	t.Setenv("GOCLIP_CACHE", "")
	user, err := os.UserCacheDir()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(user, "goclip"), findDirs("").cache)
	t.Setenv("GOCLIP_CACHE", "~/c")
	assert.Equal(t, filepath.Join(os.Getenv("HOME"), "c"), findDirs("").cache)
	t.Chdir(t.TempDir())
	assert.True(t, filepath.IsAbs(findDirs("here").cache))
}

func TestUnwritableCache(t *testing.T) {
	cache := machine(t)
	write(t, cache, []byte("a file, not a directory"))
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
	t.Setenv("GOCLIP_MIRROR", s.URL)
	_, err := get(t, t.Context(), impatient(&notes{}), own(data))
	require.ErrorContains(t, err, "not a directory")
	assert.Empty(t, s.requests())
}
