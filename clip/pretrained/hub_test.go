package pretrained

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const repoPath = "/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/main/open_clip_model.safetensors"

func findLAION(t *testing.T, o Options) (File, error) {
	t.Helper()
	return Find(t.Context(), "ViT-B/32", "laion2b_s34b_b79k", o)
}

// The hub sends a large file's SHA-256 with its redirect, and the bytes come from another host.
func TestHubAndItsStorage(t *testing.T) {
	cache := machine(t)
	storage := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			cut(w, data, 70_000, false)
		}
		whole(w, r, data)
	})
	hub := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		linked(w, data)
		if n == 1 {
			http.Redirect(w, r, "/moved"+r.URL.Path, http.StatusTemporaryRedirect) // a renamed repository
			return
		}
		http.Redirect(w, r, storage.URL+"/blob?signature=secret", http.StatusFound)
	})
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_TOKEN", "hf_secret")
	f, err := findLAION(t, impatient(&notes{}))
	require.NoError(t, err)
	requireFile(t, f, data)
	assert.Equal(t, filepath.Join(cache, "ViT-B-32", "laion2b_s34b_b79k", "open_clip_model.safetensors"), f.Path)
	assert.Equal(t, "laion2b_s34b_b79k", f.Tag)
	for _, a := range hub.requests() {
		assert.True(t, strings.HasSuffix(a.path, repoPath), a.path)
		assert.Equal(t, "Bearer hf_secret", a.token, "the hub's host gets the token, redirected or not")
	}
	require.Len(t, storage.requests(), 2)
	assert.Equal(t, "bytes=70000-", storage.requests()[1].rang)
	for _, a := range storage.requests() {
		assert.Empty(t, a.token, "no other host gets the token")
	}
}

func TestMirrorGetsNoToken(t *testing.T) {
	machine(t)
	mirror := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("ETag", `"`+sumOf(data)+`"`)
		_, _ = w.Write(data)
	})
	u, err := url.Parse(mirror.URL)
	require.NoError(t, err)
	u.User = url.UserPassword("me", "pass")
	t.Setenv("GOCLIP_MIRROR", u.String())
	t.Setenv("HF_TOKEN", "hf_secret")
	f, err := findLAION(t, impatient(&notes{}))
	require.NoError(t, err)
	requireFile(t, f, data)
	require.Len(t, mirror.requests(), 1)
	assert.Equal(t, repoPath, mirror.requests()[0].path)
	assert.Equal(t, "Basic bWU6cGFzcw==", mirror.requests()[0].token, "its own password is what a mirror gets")
}

func TestHubLies(t *testing.T) {
	for _, c := range []struct {
		name   string
		behave func(w http.ResponseWriter, r *http.Request, n int)
		says   string
		tries  int
	}{
		{"in X-Linked-ETag", func(w http.ResponseWriter, r *http.Request, n int) {
			linked(w, other)
			whole(w, r, data)
		}, "sent other bytes than were published", 1},
		{"in ETag", func(w http.ResponseWriter, r *http.Request, n int) {
			w.Header().Set("ETag", `"`+sumOf(other)+`"`)
			_, _ = w.Write(data)
		}, "sent other bytes than were published", 1},
		{"in X-Linked-Size", func(w http.ResponseWriter, r *http.Request, n int) {
			linked(w, data[1:])
			whole(w, r, data)
		}, "announces 300000 bytes of open_clip_model.safetensors and the hub 299999", 1},
		{"too many bytes", func(w http.ResponseWriter, r *http.Request, n int) {
			linked(w, data)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(data)
			_, _ = w.Write(other)
		}, "sends more than the 300000 bytes that it announced; nothing was kept", 1},
		{"too few, and says it is all", func(w http.ResponseWriter, r *http.Request, n int) {
			linked(w, data)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(data[:1000])
		}, "closed the connection in the middle of the file", 3},
		{"neither size nor hash", func(w http.ResponseWriter, r *http.Request, n int) {
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			fmt.Fprintf(buf, "HTTP/1.0 200 OK\r\n\r\n%s", data[:1000])
			buf.Flush()
			conn.Close()
		}, "announces neither the size nor the hash of open_clip_model.safetensors", 1},
		{"no such file in any form", func(w http.ResponseWriter, r *http.Request, n int) { http.NotFound(w, r) },
			"answers 404 Not Found for open_clip_model.safetensors; ", 2},
		{"gated", func(w http.ResponseWriter, r *http.Request, n int) { w.WriteHeader(http.StatusUnauthorized) },
			"if laion/CLIP-ViT-B-32-laion2B-s34B-b79K is private or gated, set HF_TOKEN", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			s := serve(t, c.behave)
			t.Setenv("HF_ENDPOINT", s.URL)
			_, err := findLAION(t, impatient(&notes{}))
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.says)
			assert.Equal(t, strings.HasPrefix(c.says, "sent other bytes"), errors.Is(err, ErrChecksum))
			assert.Equal(t, strings.HasPrefix(c.says, "answers 404"), errors.Is(err, ErrNotFound))
			assert.Len(t, s.requests(), c.tries)
			for _, name := range names(t, filepath.Join(cache, "ViT-B-32", "laion2b_s34b_b79k")) {
				assert.Contains(t, name, ".part", "nothing has a final name")
			}
		})
	}
}

// A hub without the first form has the second; one without either, or one that is down, leaves the
// authors' server.
func TestOtherSources(t *testing.T) {
	t.Run("the older form", func(t *testing.T) {
		machine(t)
		s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
			if strings.HasSuffix(r.URL.Path, ".safetensors") {
				http.NotFound(w, r)
				return
			}
			whole(w, r, data)
		})
		t.Setenv("HF_ENDPOINT", s.URL)
		n := &notes{}
		f, err := findLAION(t, impatient(n))
		require.NoError(t, err)
		requireFile(t, f, data)
		assert.Equal(t, "open_clip_pytorch_model.bin", filepath.Base(f.Path))
		assert.Contains(t, n.String(), "no SHA-256 is known of open_clip_pytorch_model.bin: only its size was checked")
	})
	t.Run("only what the caller reads", func(t *testing.T) {
		machine(t)
		s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { http.NotFound(w, r) })
		t.Setenv("HF_ENDPOINT", s.URL)
		o := impatient(&notes{})
		o.Formats = []string{".safetensors"}
		_, err := findLAION(t, o)
		require.Error(t, err)
		assert.Len(t, s.requests(), 1)
		_, err = Find(t.Context(), "ViT-B-16-plus-240", "laion400m_e32", o)
		require.ErrorContains(t, err, "is published as vit_b_16_plus_240-laion400m_e32-699c4b84.pt only, and the caller reads .safetensors")
	})
	t.Run("a server that is down", func(t *testing.T) {
		machine(t)
		gone := httptest.NewServer(nil)
		gone.Close()
		s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
		t.Setenv("HF_ENDPOINT", s.URL)
		first := candidate{place: "m/t/w.pt", file: "w.pt", url: gone.URL + "/w.pt", hash: sumOf(data)}
		f, err := get(t, t.Context(), impatient(&notes{}), first, candidate{place: "m/t/hub.bin", file: "hub.bin", repo: "a/b"})
		require.NoError(t, err)
		requireFile(t, f, data)
		assert.Equal(t, "hub.bin", filepath.Base(f.Path))
	})
	t.Run("all are down", func(t *testing.T) {
		machine(t)
		gone := httptest.NewServer(nil)
		gone.Close()
		t.Setenv("GOCLIP_MIRROR", gone.URL)
		_, err := Find(t.Context(), "ViT-B-32", "openai", impatient(&notes{}))
		require.ErrorContains(t, err, "connection refused (gave up after 3 tries)")
		assert.Equal(t, 1, strings.Count(err.Error(), "refused"), "a host that is down is asked once")
	})
}

func TestUnknownCertificateIsFinal(t *testing.T) {
	machine(t)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would report the client's refusal
	s.StartTLS()
	defer s.Close()
	t.Setenv("GOCLIP_MIRROR", s.URL)
	n := &notes{}
	_, err := get(t, t.Context(), impatient(n), own(data))
	require.ErrorContains(t, err, "certificate")
	assert.Empty(t, n.String(), "no second try")
}

func TestServersOfTheEnvironment(t *testing.T) {
	for _, c := range []struct{ name, value, says string }{
		{"GOCLIP_MIRROR", "http://mirror.example/clip", "GOCLIP_MIRROR is http://mirror.example; it must be https, or http on this machine"},
		{"GOCLIP_MIRROR", "mirror.example", "GOCLIP_MIRROR is not the address of a server; it must be like https://"},
		{"GOCLIP_MIRROR", "ftp://mirror.example", "it must be https"},
		{"GOCLIP_MIRROR", "https://mirror.example/?x=1", "is not the address of a server"},
		{"HF_ENDPOINT", "http://hub.example", "HF_ENDPOINT is http://hub.example; it must be https"},
	} {
		machine(t)
		t.Setenv(c.name, c.value)
		_, err := findLAION(t, impatient(&notes{}))
		require.ErrorContains(t, err, c.says)
	}
}

func TestPublicAddresses(t *testing.T) {
	machine(t)
	t.Setenv("HF_TOKEN", "hf_secret")
	s, err := findServers()
	require.NoError(t, err)
	e, err := Lookup("ViT-B/32", "openai")
	require.NoError(t, err)
	a := s.address(e.candidates()[0])
	assert.Equal(t, e.URL, a.url.String())
	assert.Empty(t, a.token)
	a = s.address(e.candidates()[1])
	assert.Equal(t, "https://huggingface.co/timm/vit_base_patch32_clip_224.openai/resolve/main/open_clip_model.safetensors", a.url.String())
	assert.Equal(t, "hf_secret", a.token)
	t.Setenv("GOCLIP_MIRROR", "https://mirror.example/clip")
	s, err = findServers()
	require.NoError(t, err)
	assert.Equal(t, "https://mirror.example/clip"+strings.TrimPrefix(e.URL, "https://openaipublic.azureedge.net"), s.address(e.candidates()[0]).url.String())
}

// Hub serves what is no weights: a tokenizer's files.
func TestHubFile(t *testing.T) {
	cache := machine(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
	t.Setenv("GOCLIP_MIRROR", s.URL)
	f, err := Hub(t.Context(), "roberta-base", "tokenizer.json", impatient(&notes{}))
	require.NoError(t, err)
	got, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	assert.Equal(t, data, got)
	assert.Equal(t, sumOf(data), f.Sum)
	dir := filepath.Join(cache, "hub", "models--roberta-base")
	assert.Equal(t, filepath.Join(dir, "snapshots", "main", "tokenizer.json"), f.Path)
	assert.Equal(t, []string{sumOf(data)}, names(t, filepath.Join(dir, "blobs")), "and no part of it")
	assert.Equal(t, "/roberta-base/resolve/main/tokenizer.json", s.requests()[0].path)
	for _, bad := range [][2]string{{"../etc", "x"}, {"a/../b", "x"}, {"a/b/c", "x"}, {"", "x"}, {"a/b", ""}, {"a/b", "../x"}, {"a/b", "/etc/passwd"}, {"a/b", "x?y"}} {
		_, err := Hub(t.Context(), bad[0], bad[1], impatient(&notes{}))
		require.Error(t, err, "%q", bad)
	}
	assert.NoFileExists(t, filepath.Join(filepath.Dir(cache), "etc"))
	assert.Len(t, s.requests(), 1)
}

// TestHubFileMissing tells a file that the hub does not have from one that it does not give.
func TestHubFileMissing(t *testing.T) {
	machine(t)
	status := 0
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(status) })
	t.Setenv("GOCLIP_MIRROR", s.URL)
	for answer, missing := range map[int]bool{404: true, 410: true, 401: false, 403: false, 500: false, 400: false} {
		status = answer
		_, err := Hub(t.Context(), "roberta-base", "tokenizer_config.json", impatient(&notes{}))
		require.Error(t, err)
		assert.Equal(t, missing, errors.Is(err, fs.ErrNotExist), "%d: %v", answer, err)
		assert.Equal(t, missing, errors.Is(err, ErrNotFound), "%d: %v", answer, err)
	}
}

func TestHeaders(t *testing.T) {
	for s, want := range map[string][2]int64{"bytes 5-9/10": {5, 10}, "bytes 0-0/*": {0, -1}, "bytes */10": {-1, 10}, "": {-1, -1}, "lines 1-2/3": {-1, 3}} {
		start, total := contentRange(s)
		assert.Equal(t, want, [2]int64{start, total}, s)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{"7": 7 * time.Second, "Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2020 03:05:05 GMT": 0, "99999999999": 1 << 30 * time.Second} {
		asked, after := retryAfter(s, now)
		assert.True(t, asked, s)
		assert.Equal(t, want, after, s)
	}
	for _, s := range []string{"", "soon", "-5"} {
		asked, _ := retryAfter(s, now)
		assert.False(t, asked, s)
	}
	for tag, want := range map[string]about{`W/"` + sumOf(data) + `"`: {SHA256: sumOf(data)}, `"d41d8cd98f00b204e9800998ecf8427e"`: {},
		`"c7288f23da24e7ca0bb2b6e1d32b5f0a0cbfad40"`: {Git: "c7288f23da24e7ca0bb2b6e1d32b5f0a0cbfad40"}} {
		var a about
		a.identify(tag)
		assert.Equal(t, want, a, tag)
	}
	assert.Empty(t, strong(`W/"x"`))
}
