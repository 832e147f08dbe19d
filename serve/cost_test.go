package serve

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
)

// What a request of N bytes may cost: costBytes*N + costBytesFree bytes of Go's memory, all that is
// allocated counted and none that is freed, and costTime of the processor. The constants are of
// small limits: an embedding's row and its digits, a text's tokens, the pixels of a few images.
const (
	costBytes     = 2000
	costBytesFree = 48 << 20
	costTime      = 5 * time.Second
)

// costly asks and fails where the answer has cost too much.
func costly(t testing.TB, s *Server, path string, body []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	w := httptest.NewRecorder()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := campaign.ProcessorTime()
	s.ServeHTTP(w, r)
	took := campaign.ProcessorTime() - began
	runtime.ReadMemStats(&after)
	if cost := after.TotalAlloc - before.TotalAlloc; cost > costBytes*uint64(len(body))+costBytesFree {
		t.Errorf("%s: %d bytes of request cost %d bytes (status %d): %.200q", path, len(body), cost, w.Code, body)
	}
	if took > costTime {
		t.Errorf("%s: %d bytes of request took %s of the processor (status %d): %.200q", path, len(body), took, w.Code, body)
	}
}

func costServer(t testing.TB) *Server {
	images := knownImages(t, "data/demo/dog.png", "data/demo/racing_car.png")
	s, err := New(t.Context(), Options{Indices: []Indexed{{Index: shelf{images[0], images[1]}}}, Limits: Limits{Body: 2 << 20, Pixels: 1e6, Inputs: 64, BatchSize: 4}}, Loaded(model(t)))
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

var costPaths = []string{"/v1/embeddings", "/v1/score", "/v1/classify", "/v1/search", "/vectorize", "/api/embed", "/api/embeddings"}

// TestCost are the requests that once cost much more than they are long, and their kind.
func TestCost(t *testing.T) {
	s := costServer(t)
	long := strings.Repeat("a", 1<<20)
	for _, c := range []struct{ path, body string }{
		{"/v1/classify", `{"labels":"` + long + `","templates":"` + strings.Repeat("{}", 100_000) + `","images":"AAAA"}`},
		{"/v1/classify", `{"labels":"` + long[:60_000] + `","templates":"` + strings.Repeat("{}", 30_000) + `","images":"AAAA"}`},
		{"/v1/classify", `{"labels":["` + strings.Join(strings.Split(long[:100], ""), `","`) + `"],"templates":"openai_imagenet_80","images":"AAAA"}`},
		{"/v1/embeddings", `{"input":[` + strings.Repeat("[],", 500_000) + `[]]}`},
		{"/v1/embeddings", `{"input":` + strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999) + `}`},
		{"/v1/embeddings", `{` + strings.Repeat(`"a":1,`, 200_000) + `"input":"a"}`},
		{"/v1/embeddings", `{"input":"` + long[:10_000] + `"}`},
		{"/v1/embeddings", `{"input":"` + strings.Repeat("😀", 2_500) + `"}`},
		{"/v1/embeddings", `{"input":"` + strings.Repeat(`\"`, 500_000) + `"}`},
		{"/v1/score", `{"texts":["` + strings.Join(strings.Split(long[:32], ""), `","`) + `"],"images":["` + strings.Repeat(`AAAA","`, 31) + `AAAA"]}`},
		{"/api/embed", `{"input":"` + strings.Repeat("x ", 5_000) + `"}`},
	} {
		costly(t, s, c.path, []byte(c.body))
	}
}

// FuzzCost looks for others.
func FuzzCost(of *testing.F) {
	f := campaign.Inputs(of, 0) // costly bounds it
	s := costServer(f)
	for i, seed := range []string{`{"input":["a dog",{"image":"AAAA"}]}`, `{"texts":["a"],"images":["AAAA"]}`, `{"labels":["a"],"templates":["{}{}"],"images":["AAAA"]}`,
		`{"text":"a","top_k":1000}`, `{"texts":["a"],"images":["AAAA"]}`, `{"input":["a"],"images":["AAAA"]}`, `{"prompt":"a"}`} {
		f.Add(byte(i), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, path byte, body []byte) {
		costly(t, s, costPaths[int(path)%len(costPaths)], body)
	})
}
