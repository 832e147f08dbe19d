package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/models"
)

// photoFolder is a folder with two images and its index.
func photoFolder(t *testing.T) string {
	photos := t.TempDir()
	require.NoError(t, os.CopyFS(photos, os.DirFS(filepath.Join("..", "..", "data", "demo"))))
	code, _, errs := infer(t, "", "index", photos)
	require.Zero(t, code, errs)
	return photos
}

// ask sends a request with the token and gives its status and answer.
func (s *server) ask(t *testing.T, method, path string, body []byte) (int, []byte) {
	r, err := http.NewRequest(method, s.at+path, bytes.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer open sesame")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, b.Bytes()
}

// best is the name of the image that a search finds first, and how many images there are.
func (s *server) best(t *testing.T, query string) (name string, total int) {
	code, body := s.ask(t, "POST", "/v1/search", []byte(query))
	require.Equal(t, 200, code, "%s", body)
	var a struct {
		Total int
		Hits  []struct{ Path string }
	}
	require.NoError(t, json.Unmarshal(body, &a))
	if len(a.Hits) > 0 {
		name = filepath.Base(a.Hits[0].Path)
	}
	return name, a.Total
}

// Images come and go over HTTP, in one of two indices.
func TestServeEdit(t *testing.T) {
	photos, others := photoFolder(t), photoFolder(t)
	s := begin(t, "--index", filepath.Join(others, ".goclip"), "--index", filepath.Join(photos, ".goclip"), "--allow-edit", "--token", "open sesame")
	in := "?index=" + filepath.Base(photos)
	query := `{"text":"a racing car","top_k":1,"index":"` + filepath.Base(photos) + `"}`
	dog := readFile(t, filepath.Join(photos, "dog.png"))
	car, err := os.ReadFile(filepath.Join(photos, "racing_car.png"))
	require.NoError(t, err)
	name, _ := s.best(t, query)
	assert.Equal(t, "racing_car.png", name)
	code, body := s.ask(t, "DELETE", "/v1/images/racing_car.png"+in, nil)
	assert.Equal(t, 204, code, "%s", body)
	assert.NoFileExists(t, filepath.Join(photos, "racing_car.png"))
	name, _ = s.best(t, query)
	assert.NotEqual(t, "racing_car.png", name)
	code, body = s.ask(t, "PUT", "/v1/images/2024/summer/my%20car.png"+in, car)
	require.Equal(t, 201, code, "%s", body)
	assert.Equal(t, car, readFile(t, filepath.Join(photos, "2024", "summer", "my car.png")))
	name, _ = s.best(t, query)
	assert.Equal(t, "my car.png", name)
	name, _ = s.best(t, `{"text":"a racing car","top_k":1}`)
	assert.Equal(t, "racing_car.png", name, "the other index is as it was")
	for path, want := range map[string]int{"racing_car.png": 404, ".goclip/x.png": 400, "..%2f..%2fx.png": 400, "%2fetc%2fx.png": 400, "a/.hidden/x.png": 400, "x.txt": 400} {
		code, body := s.ask(t, "DELETE", "/v1/images/"+path+in, nil)
		assert.Equal(t, want, code, "%s: %s", path, body)
	}
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(photos, "link")))
	for path, c := range map[string]struct {
		data []byte
		code int
	}{"no.png": {[]byte("no image at all"), 422}, "dog.png": {dog[:len(dog)/2], 422}, "link/x.png": {dog, 400}, "..%2fx.png": {dog, 400}} {
		code, body := s.ask(t, "PUT", "/v1/images/"+path+in, c.data)
		assert.Equal(t, c.code, code, "%s: %s", path, body)
	}
	r, err := http.NewRequest("DELETE", s.at+"/v1/images/dog.png"+in, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	answer.Body.Close()
	assert.Equal(t, 401, answer.StatusCode)
	assert.Equal(t, dog, readFile(t, filepath.Join(photos, "dog.png")), "neither removed nor replaced by half an image")
	s.end(t)

	code, _, errs := infer(t, "", "serve", "--addr", "127.0.0.1:0", "--index", filepath.Join(photos, ".goclip"), "--allow-edit")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--allow-edit needs --token")
}

// What changes in a watched folder is found.
func TestServeWatch(t *testing.T) {
	photos := photoFolder(t)
	s := begin(t, "--index", filepath.Join(photos, ".goclip"), "--watch", "--token", "open sesame")
	query := `{"text":"a racing car","top_k":1}`
	require.NoError(t, os.MkdirAll(filepath.Join(photos, "new", "deep"), 0o755))
	require.NoError(t, os.Rename(filepath.Join(photos, "racing_car.png"), filepath.Join(photos, "new", "deep", "moved.png")))
	assert.Eventually(t, func() bool {
		name, _ := s.best(t, query)
		return name == "moved.png"
	}, 60*time.Second, 200*time.Millisecond)
	require.NoError(t, os.RemoveAll(filepath.Join(photos, "new")))
	assert.Eventually(t, func() bool {
		name, _ := s.best(t, query)
		return name != "moved.png"
	}, 60*time.Second, 200*time.Millisecond)
	s.end(t)
}

// What changes while another process writes the index is found when that is through, which is told once.
func TestServeWatchWaits(t *testing.T) {
	photos := photoFolder(t)
	lock, err := os.Open(filepath.Join(photos, ".goclip", "lock"))
	require.NoError(t, err)
	defer lock.Close()
	require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	require.NoError(t, os.Rename(filepath.Join(photos, "racing_car.png"), filepath.Join(photos, "moved.png")))
	s := begin(t, "--index", filepath.Join(photos, ".goclip"), "--watch", "--token", "open sesame")
	time.Sleep(retryTime + settleTime)
	require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_UN))
	assert.Eventually(t, func() bool {
		name, _ := s.best(t, `{"text":"a racing car","top_k":1}`)
		return name == "moved.png"
	}, 60*time.Second, 200*time.Millisecond)
	assert.Equal(t, 1, strings.Count(s.end(t), "being written by another process"))
}

// A watched folder whose index was switched to another model is indexed with that, whether it is searched or not.
func TestServeWatchSwitched(t *testing.T) {
	config, err := tower.ParseConfig([]byte(tinyConfig))
	require.NoError(t, err)
	dir := t.TempDir()
	photos, saved := filepath.Join(dir, "photos"), []string{filepath.Join(dir, "first"), filepath.Join(dir, "second")}
	for i, to := range saved {
		m, err := clip.New(config, uint64(i+1))
		require.NoError(t, err)
		require.NoError(t, m.Save(to))
	}
	require.NoError(t, os.CopyFS(photos, os.DirFS(filepath.Join("..", "..", "data", "demo"))))
	code, _, errs := infer(t, "", "index", "--model", saved[0], photos)
	require.Zero(t, code, errs)
	s := begin(t, "--model", saved[0], "--model", saved[1], "--index", filepath.Join(photos, ".goclip"), "--watch")
	code, _, errs = infer(t, "", "index", "--model", saved[1], photos)
	require.Zero(t, code, errs)
	require.NoError(t, os.WriteFile(filepath.Join(photos, "new.png"), readFile(t, filepath.Join(photos, "dog.png")), 0o644))
	assert.Eventually(t, func() bool {
		_, body := s.ask(t, "GET", "/healthz", nil)
		return strings.Contains(string(body), `"indices":[{"name":"photos","model":"second","images":3}]`)
	}, 60*time.Second, 200*time.Millisecond)
	s.end(t)

	s = begin(t, "--model", saved[0], "--model", saved[1], "--index", filepath.Join(photos, ".goclip"), "--allow-edit", "--token", "open sesame")
	code, _, errs = infer(t, "", "index", "--model", saved[0], photos)
	require.Zero(t, code, errs)
	for _, want := range []int{409, 201} { // and not 500 until somebody searches
		code, body := s.ask(t, "PUT", "/v1/images/more.png", readFile(t, filepath.Join(photos, "dog.png")))
		assert.Equal(t, want, code, "%s", body)
	}
	s.end(t)
}

// A change over HTTP does not wait for another of the same index for ever.
func TestEditWaits(t *testing.T) {
	s := editable{&shelf{writing: make(chan struct{}, 1)}}
	s.writing <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	dog := readFile(t, filepath.Join("..", "..", "data", "demo", "dog.png"))
	assert.ErrorIs(t, s.Put(ctx, nil, "dog.png", dog), context.DeadlineExceeded)
	assert.ErrorIs(t, s.Delete(ctx, nil, "dog.png"), context.DeadlineExceeded)
}

// An image that has its name is indexed, even if its client leaves: files and rows go together.
func TestPutIsWhole(t *testing.T) {
	photos := photoFolder(t)
	ix, err := index.Open(filepath.Join(photos, index.DirName))
	require.NoError(t, err)
	defer ix.Close()
	m, err := clip.OpenFS(t.Context(), models.FS(), models.Default, nil)
	require.NoError(t, err)
	s := editable{&shelf{Index: ix, dir: filepath.Join(photos, index.DirName), root: photos, engine: index.Exact}}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	require.NoError(t, s.put(ctx, m, "new.png", readFile(t, filepath.Join(photos, "dog.png"))))
	info, err := ix.Info(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 3, info.Images)
}

// An index that cannot be followed to its new model is not opened again for each search.
func TestFollowFails(t *testing.T) {
	opened := 0
	s := &shelf{reopen: func(context.Context) (*shelf, error) { opened++; return nil, errors.New("not served") }}
	for range 3 {
		assert.ErrorContains(t, s.follow(t.Context()), "not served")
	}
	assert.Equal(t, 1, opened)
}

// A found image opens as it is; files that have become FIFOs fail alone.
func TestServeFoundImages(t *testing.T) {
	photos := photoFolder(t)
	s := begin(t, "--index", filepath.Join(photos, ".goclip"), "--token", "open sesame")
	code, body := s.ask(t, "POST", "/v1/search", []byte(`{"text":"a racing car"}`))
	require.Equal(t, 200, code, "%s", body)
	var a struct {
		Hits []struct{ Path, Image string }
	}
	require.NoError(t, json.Unmarshal(body, &a))
	require.Len(t, a.Hits, 2)
	code, whole := s.ask(t, "GET", "/"+a.Hits[0].Image+"&full=1", nil)
	assert.Equal(t, 200, code)
	assert.Equal(t, readFile(t, filepath.Join(photos, "racing_car.png")), whole)
	for _, name := range []string{"dog.png", "racing_car.png"} {
		require.NoError(t, os.Remove(filepath.Join(photos, name)))
		require.NoError(t, syscall.Mkfifo(filepath.Join(photos, name), 0o600))
	}
	for _, h := range a.Hits {
		for _, full := range []string{"", "&full=1"} {
			code, body := s.ask(t, "GET", "/"+h.Image+full, nil)
			assert.Equal(t, 404, code, "%s", body)
		}
	}
	s.end(t)
}
