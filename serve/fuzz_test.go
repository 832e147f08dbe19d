package serve

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
)

// memory is what a request may take of Go's heap, decoded images and garbage included.
const memory = 64 << 20

// fuzzed serves what a fuzz target sends and checks what holds of every answer: a status that the
// client is to blame for, or 200; no word of ours; nothing left behind.
func fuzzed(of *testing.F, path, contentType string, seeds ...string) {
	f := campaign.Inputs(of, memory)
	images := knownImages(f, "data/demo/dog.png", "data/demo/racing_car.png")
	s, err := New(f.Context(), Options{Indices: []Indexed{{Index: shelf{images[0], images[1]}}}, Limits: Limits{Body: 1 << 20, Pixels: 1e6, Inputs: 16, BatchSize: 4}}, Loaded(model(f)))
	require.NoError(f, err)
	f.Cleanup(s.Close)
	for _, seed := range append(seeds, clientRequests(of, path)...) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(data))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 200 && (w.Code < 400 || w.Code >= 500) {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		for _, ours := range []string{"goroutine", "torch:", "preprocess:", ".go:"} {
			if w.Code != 200 && strings.Contains(w.Body.String(), ours) {
				t.Errorf("%q in %s", ours, w.Body)
			}
		}
		if inputs, held := s.admission.depth(); inputs != 0 || held != 0 {
			t.Errorf("%d inputs and %d bytes are left", inputs, held)
		}
	})
}

// clientRequests are what the clients of such a service sent to a path, as make clients recorded it.
func clientRequests(f *testing.F, path string) (bodies []string) {
	file, err := os.Open(filepath.Join("..", "testdata", "clients", "requests.jsonl"))
	require.NoError(f, err)
	defer file.Close()
	for lines := json.NewDecoder(file); lines.More(); {
		var r struct {
			Path string
			Body []byte
		}
		require.NoError(f, lines.Decode(&r))
		if r.Path == path {
			bodies = append(bodies, string(r.Body))
		}
	}
	return bodies
}

// small is an image of a few bytes, as base64.
func small(f *testing.F) string {
	data, err := os.ReadFile(filepath.Join("..", "testdata", "preprocess", "pictures", "rgb_3x7.png"))
	require.NoError(f, err)
	return base64.StdEncoding.EncodeToString(data)
}

func FuzzEmbeddings(f *testing.F) {
	fuzzed(f, "/v1/embeddings", "application/json", `{"input":"a dog"}`, `{"input":["a",{"text":"b"},{"image":"`+small(f)+`"}],"encoding_format":"base64","dimensions":128}`,
		`{"input":[49406,320,49407]}`, `{"input":[[49406,320,49407],[]]}`, `{"input":"data:image/png;base64,`+small(f)+`"}`, `{"input":"data:image/svg+xml,%3Csvg/%3E"}`, `{"input":[[[[1]]]],"model":"x"}`)
}

func FuzzMessages(f *testing.F) {
	fuzzed(f, "/v1/embeddings", "application/json", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,`+small(f)+`"}},{"type":"text","text":""}]}]}`,
		`{"messages":[{"content":"a dog"},{"content":["b",{"type":"text","text":"c"}]}],"encoding_format":"base64"}`, `{"messages":[{"content":{"type":"image_url","image_url":"http://127.0.0.1/"}}]}`,
		`{"messages":[{}],"input":null}`, `{"messages":[[{"content":null}]]}`)
}

func FuzzScore(f *testing.F) {
	fuzzed(f, "/v1/score", "application/json", `{"texts":["a","b"],"images":["`+small(f)+`",{"image":"AAAA"}]}`, `{"texts":"a","images":"http://127.0.0.1/"}`, `{"texts":[null],"images":[{}]}`)
}

func FuzzClassify(f *testing.F) {
	fuzzed(f, "/v1/classify", "application/json", `{"labels":["a","b"],"images":"`+small(f)+`","templates":["a {}","{}"],"top_k":1}`, `{"labels":"a","images":"AAAA","templates":"openai_imagenet_7"}`, `{"labels":[""],"top_k":-1}`)
}

func FuzzSearch(f *testing.F) {
	fuzzed(f, "/v1/search", "application/json", `{"text":"a dog","top_k":1}`, `{"image":"`+small(f)+`"}`, `{"text":"a","image":"b"}`)
}

func FuzzPredict(f *testing.F) {
	part := func(name, value string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	data, err := base64.StdEncoding.DecodeString(small(f))
	require.NoError(f, err)
	fuzzed(f, "/predict", "multipart/form-data; boundary=b", part("entries", `{"clip":{"visual":{"modelName":"emoji-64"}}}`)+part("image", string(data))+"--b--\r\n",
		part("entries", `{"clip":{"textual":{"modelName":""}}}`)+part("text", "a dog")+"--b--\r\n", part("entries", `{"ocr":{}}`), "--b--", "",
		part("entries", `{"ocr":{}}`)+"--b--\r\n"+strings.Repeat("-", 16<<10), part("text", strings.Repeat("a", 64<<10)))
}

func FuzzVectorize(f *testing.F) {
	fuzzed(f, "/vectorize", "application/json", `{"texts":["a"],"images":["`+small(f)+`"]}`, `{}`, `{"texts":[1],"images":[null]}`)
}

func FuzzEmbed(f *testing.F) {
	fuzzed(f, "/api/embed", "application/json", `{"model":"emoji-64:latest","input":["a","b"],"images":["`+small(f)+`"],"truncate":false,"dimensions":128}`, `{"input":"a"}`, `{"images":[{}]}`)
}

func FuzzOldEmbeddings(f *testing.F) {
	fuzzed(f, "/api/embeddings", "application/json", `{"model":"emoji-64","prompt":"a dog","options":{"num_ctx":1}}`, `{"prompt":""}`, `{"prompt":[1]}`)
}

func FuzzInfinity(f *testing.F) {
	fuzzed(f, "/embeddings", "application/json", `{"input":["`+small(f)+`"],"modality":"image","dimensions":0}`)
}

func FuzzTEI(f *testing.F) {
	fuzzed(f, "/embed", "application/json", `{"inputs":["a",{"image":"`+small(f)+`"}],"truncate":false,"normalize":true}`, `{"inputs":[[49406,49407]],"prompt_name":""}`)
}

func FuzzCohere(f *testing.F) {
	fuzzed(f, "/v2/embed", "application/json", `{"inputs":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,`+small(f)+`"}}]}],"embedding_types":["float","base64"]}`,
		`{"texts":["a"],"images":["`+small(f)+`"],"truncate":"NONE"}`)
}

func FuzzShow(f *testing.F) {
	fuzzed(f, "/api/show", "application/json", `{"model":"emoji-64:latest","verbose":true}`, `{"name":"x"}`)
}

// FuzzImage asks for a found image by an address that no search gave.
func FuzzImage(of *testing.F) {
	f := campaign.Inputs(of, memory)
	s, err := New(f.Context(), Options{Indices: []Indexed{{Index: shelf{}}}, Thumbnail: func(context.Context, string, func(int64) error) ([]byte, string, error) {
		panic("no such file may be read")
	}}, Loaded(model(f)))
	require.NoError(f, err)
	f.Cleanup(s.Close)
	f.Add("path=a.png&sum=00")
	f.Add("path=%2e%2e/etc/passwd&sum=" + strings.Repeat("ab", 32))
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "/v1/image", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 404 {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}
