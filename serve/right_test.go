package serve

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever a data URI says, the bytes of an image are an image.
func TestImagesAreImages(t *testing.T) {
	_, at := start(t, Options{})
	dog, plain := knownImages(t, "data/demo/dog.png")[0], base64.StdEncoding.EncodeToString(dogFile(t))
	for name, body := range map[string]object{
		"octets":         {"input": "data:application/octet-stream;base64," + plain},
		"no type":        {"input": []string{"data:;base64," + plain}},
		"a text's type":  {"input": "data:text/plain;charset=utf-8;base64," + plain},
		"capitals":       {"input": "DATA:IMAGE/PNG;BASE64," + plain},
		"a blank":        {"input": " \n data:image/png;base64," + plain},
		"base64 alone":   {"input": plain},
		"lines":          {"input": strings.Join(chunks(plain, 76), "\r\n")},
		"modality":       {"input": []string{plain}, "modality": "image"},
		"modality, URI":  {"input": "data:image/png;base64," + plain, "modality": "image"},
		"Jina's bytes":   {"input": []any{object{"bytes": plain}}},
		"Jina's object":  {"input": []any{object{"image": "data:;base64," + plain}}},
		"vLLM's message": {"messages": []any{object{"role": "user", "content": []any{object{"type": "image_url", "image_url": object{"url": "data:;base64," + plain}}}}}},
	} {
		code, _, answer := post(t, at+"/v1/embeddings", body)
		require.Equal(t, 200, code, "%s: %s", name, answer)
		near(t, dog, parse[embeddingsOf[[]float32]](t, answer).Data[0].Embedding)
	}
	text := "data: the new oil, they say" // a text that only begins like one
	code, _, answer := post(t, at+"/v1/embeddings", object{"input": []string{text, "data:,a", "https://example.com/dog.png"}})
	require.Equal(t, 200, code, "%s", answer)
	near(t, knownTexts(t, text)[0], parse[embeddingsOf[[]float32]](t, answer).Data[0].Embedding)
}

func chunks(s string, n int) (parts []string) {
	for ; len(s) > n; s = s[n:] {
		parts = append(parts, s[:n])
	}
	return append(parts, s)
}

// An image in any spelling, in any place, is an image or refused: none becomes a text.
func TestImageNeverBecomesText(t *testing.T) {
	s, at := start(t, Options{Indices: []Indexed{{Index: shelf{}}}})
	names, err := filepath.Glob(filepath.Join("..", "testdata", "preprocess", "pictures", "*"))
	require.NoError(t, err)
	var files [][]byte
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		if len(data) < 100_000 && sniffed(data) {
			files = append(files, data)
		}
	}
	require.Greater(t, len(files), 10)
	seed := rand.Uint64()
	draw := rand.New(rand.NewPCG(seed, 0))
	one := func(list ...string) string { return list[draw.IntN(len(list))] }
	spelled := func() string {
		data := files[draw.IntN(len(files))]
		plain := []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding}[draw.IntN(4)].EncodeToString(data)
		if draw.IntN(3) == 0 {
			plain = strings.Join(chunks(plain, 76), one("\n", "\r\n"))
		}
		if draw.IntN(3) == 0 {
			return one("", " ", "\n") + plain
		}
		return one("", " ", "\t\n") + one("data:", "DATA:", "Data:") + one("", "image/png", "image/any", "text/plain", "application/octet-stream", "x", "IMAGE/JPEG") +
			one("", ";charset=utf-8", ";name=a.png") + one(";base64,", ";BASE64,") + plain
	}
	places := map[string]func(image string) object{
		"/v1/embeddings": func(i string) object {
			return []object{{"input": i}, {"input": []string{i}}, {"input": []any{object{"text": i}}}, {"input": i, "modality": "text"}, {"input": i, "modality": "image"},
				{"messages": []any{object{"role": "user", "content": i}}}, {"messages": []any{object{"content": []any{object{"type": "text", "text": i}}}}}}[draw.IntN(7)]
		},
		"/v1/score":    func(i string) object { return object{"texts": []string{i}, "images": dataURI(dogFile(t))} },
		"/v1/classify": func(i string) object { return object{"labels": []string{i}, "images": dataURI(dogFile(t))} },
		"/vectorize":   func(i string) object { return object{"texts": []string{i}} },
		"/v1/search":   func(i string) object { return object{"text": i} },
		"/embeddings": func(i string) object {
			return []object{{"input": i}, {"input": []string{i}, "modality": "text"}}[draw.IntN(2)]
		},
		"/embed": func(i string) object {
			return []object{{"inputs": i}, {"inputs": []any{object{"text": i}}}}[draw.IntN(2)]
		},
		"/api/embed":      func(i string) object { return object{"input": i} },
		"/v2/embed":       func(i string) object { return object{"texts": []string{i}} },
		"/api/embeddings": func(i string) object { return object{"prompt": i} },
	}
	takesBoth := map[string]bool{"/v1/embeddings": true, "/embeddings": true, "/embed": true}
	for path, place := range places {
		for range 40 {
			image := spelled()
			code, _, answer := post(t, at+path, place(image))
			ok := takesBoth[path] && code == 200 || code >= 400 && code < 500
			assert.True(t, ok, "seed %d: %s: %d %.200s for %.100q", seed, path, code, answer, image)
		}
	}
	for range 40 {
		image := spelled()
		body, kind := form(t, [2]string{"entries", `{"clip":{"textual":{"modelName":""}}}`}, [2]string{"text", image})
		answer, err := http.Post(at+"/predict", kind, bytes.NewReader(body))
		require.NoError(t, err)
		answer.Body.Close()
		assert.True(t, answer.StatusCode >= 400 && answer.StatusCode < 500, "seed %d: /predict: %d for %.100q", seed, answer.StatusCode, image)
	}
	for _, e := range s.models.engines() { // every text that the model saw is kept
		assert.Zero(t, e.cache.Len(), "seed %d", seed)
	}
}

func TestUnknownFields(t *testing.T) {
	_, at := start(t, Options{Indices: []Indexed{{Index: shelf{}}}})
	for path, body := range map[string]string{
		"/v1/embeddings":  `{"input":"a","late_chunking":true}`,
		"/v1/score":       `{"texts":["a"],"images":["a"],"late_chunking":true}`,
		"/v1/classify":    `{"labels":["a"],"images":["a"],"late_chunking":true}`,
		"/v1/search":      `{"text":"a","late_chunking":1}`,
		"/vectorize":      `{"texts":["a"],"late_chunking":1}`,
		"/api/embed":      `{"input":"a","late_chunking":null}`,
		"/api/embeddings": `{"prompt":"a","late_chunking":[{"a":"]}\""}]}`,
	} {
		code, _, answer := post(t, at+path, []byte(body))
		assert.Equal(t, 400, code, path)
		assert.Contains(t, string(answer), "late_chunking", path)
		assert.Contains(t, string(answer), "the known ones are", path)
	}
	for body, says := range map[string]string{
		`{"input":[{"image":"x","detail":1}]}`:                              "detail",
		`{"messages":[{"content":[{"type":"text","text":"a","cache":1}]}]}`: "cache",
		`{"input":"a","modality":"audio"}`:                                  "CLIP has no",
		`{"input":"a","normalized":false}`:                                  "L2-normalised",
		`{"input":[{"text":"a"}],"modality":"image"}`:                       "the other kind",
		`{"input":[[1,2]],"modality":"image"}`:                              "input holds addresses",
		`{"input":"` + strings.Repeat("dog ", 100) + `","truncate":false}`:  "longer than the model's 32 tokens",
		`{"input":"a"} {}`:                                                  "not a JSON object",
	} {
		code, _, answer := post(t, at+"/v1/embeddings", []byte(body))
		assert.Equal(t, 400, code, body)
		assert.Contains(t, string(answer), says, body)
	}
}

// A body may be compressed; little of it makes not much.
func TestGzip(t *testing.T) {
	_, at := start(t, Options{Limits: Limits{Body: 1 << 20}})
	zip := func(data string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write([]byte(data))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	code, _, body := post(t, at+"/v1/embeddings", zip(`{"input":"a dog"}`), "Content-Encoding", "gzip")
	require.Equal(t, 200, code, "%s", body)
	near(t, knownTexts(t, "a dog")[0], parse[embeddingsOf[[]float32]](t, body).Data[0].Embedding)
	whole := zip(`{"input":"a dog"}`)
	for name, c := range map[string]struct {
		body   []byte
		coding string
		code   int
		says   string
	}{
		"a bomb":        {zip(strings.Repeat(" ", 1<<20)), "gzip", 413, "64-fold"},
		"no gzip":       {[]byte(`{"input":"a dog"}`), "gzip", 400, "not gzip data"},
		"half":          {whole[:len(whole)/2], "gzip", 400, "ended early"},
		"a wrong sum":   {append(bytes.Clone(whole[:len(whole)-8]), 0, 0, 0, 0, 17, 0, 0, 0), "gzip", 400, "not gzip data"},
		"another":       {whole, "zstd", 415, `"zstd" is not read`},
		"not said":      {whole, "", 400, "not a JSON object"},
		"beyond a body": {zip(fmt.Sprint(rand.Perm(300_000))), "gzip", 413, "more than 1048576 bytes"},
	} {
		code, _, body := post(t, at+"/v1/embeddings", c.body, "Content-Encoding", c.coding)
		assert.Equal(t, c.code, code, "%s: %s", name, body)
		assert.Contains(t, strings.ReplaceAll(string(body), `\"`, `"`), c.says, name)
	}
}

// 2,048 inputs, as OpenAI takes them, go through the model in parts, also through a short queue.
func TestManyInputs(t *testing.T) {
	_, at := start(t, Options{Limits: Limits{Queue: 64, BatchSize: 16}})
	list := make([]string, 2048)
	for i := range list {
		list[i] = fmt.Sprint("number ", i)
	}
	code, _, body := post(t, at+"/v1/embeddings", object{"input": list, "encoding_format": "base64"})
	require.Equal(t, 200, code, "%.300s", body)
	a := parse[embeddingsOf[string]](t, body)
	require.Len(t, a.Data, 2048)
	for _, i := range []int{0, 31, 32, 1000, 2047} {
		assert.Equal(t, i, a.Data[i].Index)
		near(t, knownTexts(t, list[i])[0], fromBase64(t, a.Data[i].Embedding))
	}
	code, _, _ = post(t, at+"/v1/embeddings", object{"input": append(list, "one more")})
	assert.Equal(t, 413, code)
}

// Labels times templates are counted before a prompt is made.
func TestClassifyCost(t *testing.T) {
	_, at := start(t, Options{})
	for name, c := range map[string]struct{ labels, templates any }{
		"a megabyte, 100,000 times": {strings.Repeat("a", 1<<20), strings.Repeat("{}", 100_000)},
		"little of both":            {strings.Repeat("a", 300), strings.Repeat("{}", 300)},
		"all together":              {repeated(strings.Repeat("a", 90)), strings.Repeat("{} ", 100)},
	} {
		code, _, body := post(t, at+"/v1/classify", object{"labels": c.labels, "templates": c.templates, "images": "AAAA"})
		assert.Equal(t, 413, code, "%s: %.200s", name, body)
		assert.Contains(t, string(body), "bytes", name)
	}
}

func repeated(s string) []string {
	list := make([]string, 200)
	for i := range list {
		list[i] = s
	}
	return list
}

// The time for a request to arrive is not that of its answer.
func TestReadTimeoutEndsWithBody(t *testing.T) {
	_, at, end := serveOn(t, Options{Limits: Limits{Read: 200 * time.Millisecond, Window: 700 * time.Millisecond}})
	code, _, body := post(t, at+"/v1/embeddings", object{"input": "a dog"})
	assert.Equal(t, 200, code, "%s", body)
	require.NoError(t, end())
}

// A client that is still sending when it is refused reads the refusal.
func TestRefusalWhileSending(t *testing.T) {
	s, at, end := serveOn(t, Options{Limits: Limits{Queue: 4, Body: 16 << 20}})
	pace := s.models.engines()[0].batcher.pace
	require.Nil(t, s.admission.enter(pace, 4))
	answer := raw(t, at, func(c *net.TCPConn) {
		_, err := fmt.Fprintf(c, "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", 8<<20)
		require.NoError(t, err)
		for range 8 {
			time.Sleep(150 * time.Millisecond)
			_, err := c.Write(make([]byte, 1<<20))
			require.NoError(t, err)
		}
	})
	assert.Equal(t, 429, answer.StatusCode)
	for range 4 {
		s.admission.leave(pace)
	}
	require.NoError(t, end())
}
