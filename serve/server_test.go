package serve

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
)

// shipped is the model that goclip ships.
var shipped = sync.OnceValues(func() (*clip.Model, error) {
	return clip.OpenFS(context.Background(), models.FS(), models.Default, nil)
})

func model(t testing.TB) *clip.Model {
	t.Helper()
	m, err := shipped()
	require.NoError(t, err)
	return m
}

// start serves the built-in model on loopback until the test ends.
func start(t testing.TB, o Options, aliases ...string) (*Server, string) {
	t.Helper()
	m := Loaded(model(t))
	m.Aliases = append(m.Aliases, aliases...)
	s, err := New(t.Context(), o, m)
	require.NoError(t, err)
	h := httptest.NewServer(s)
	t.Cleanup(func() { h.Close(); s.Close() })
	return s, h.URL
}

// engines are those that are loaded, which a test does not unload.
func (r *registry) engines() (list []*engine) {
	r.each(func(e *engine) { list = append(list, e) })
	return list
}

func file(t testing.TB, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{".."}, path...)...))
	require.NoError(t, err)
	return data
}

func dogFile(t testing.TB) []byte { return file(t, "data", "demo", "dog.png") }
func carFile(t testing.TB) []byte { return file(t, "data", "demo", "racing_car.png") }

func testImage(t testing.TB, name string) []byte {
	return file(t, "testdata", "preprocess", "pictures", name)
}

func dataURI(data []byte) string {
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(data)
}

// object is a JSON object in a test.
type object = map[string]any

// post sends v as JSON and gives the answer's status, header and body.
func post(t testing.TB, url string, v any, header ...string) (int, http.Header, []byte) {
	t.Helper()
	data, ok := v.([]byte)
	if !ok {
		var err error
		data, err = json.Marshal(v)
		require.NoError(t, err)
	}
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(data))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return do(t, r)
}

func get(t testing.TB, url string, header ...string) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return do(t, r)
}

func do(t testing.TB, r *http.Request) (int, http.Header, []byte) {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Header, body
}

func parse[T any](t testing.TB, data []byte) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(data, &v), "%s", data)
	return v
}

// known are the features of texts and image files by the model itself.
func knownTexts(t testing.TB, texts ...string) [][]float32 {
	t.Helper()
	rows, err := model(t).EncodeTexts(t.Context(), texts...)
	require.NoError(t, err)
	return rows
}

func knownImages(t testing.TB, paths ...string) [][]float32 {
	t.Helper()
	sources := make([]clip.ImageSource, len(paths))
	for i, path := range paths {
		sources[i] = clip.FromFile(filepath.Join("..", path))
	}
	rows, err := model(t).EncodeImages(t.Context(), sources...)
	require.NoError(t, err)
	return rows
}

func near(t testing.TB, want, got []float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.InDelta(t, want[i], got[i], 1e-5, "at %d", i)
	}
}

func contextOf(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return data
}
