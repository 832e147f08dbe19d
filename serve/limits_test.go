package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bomb is a PNG whose header claims w x h pixels.
func bomb(w, h uint32) []byte {
	header := append([]byte("IHDR"), binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)...)
	header = append(header, 8, 6, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), header...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(header))
}

// What is refused, each with its status and one sentence without a name of ours, while others are
// served.
func TestRefusals(t *testing.T) {
	_, at := start(t, Options{Limits: Limits{Body: 1 << 20, Inputs: 8, Queue: 64}})
	others := crowd(t, at, 4)
	svg := []byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
	for name, c := range map[string]struct {
		path string
		body any
		code int
		says string
	}{
		"no JSON":               {"/v1/embeddings", []byte("{"), 400, "not a JSON object"},
		"an array":              {"/v1/embeddings", []byte("[]"), 400, "not a JSON object"},
		"nothing":               {"/v1/embeddings", []byte(""), 400, "not a JSON object"},
		"no input":              {"/v1/embeddings", object{}, 400, "input is missing"},
		"null input":            {"/v1/embeddings", object{"input": nil}, 400, "input is missing"},
		"an empty array":        {"/v1/embeddings", object{"input": []string{}}, 400, "input is missing"},
		"a number":              {"/v1/embeddings", object{"input": 7}, 400, "input holds texts"},
		"an empty object":       {"/v1/embeddings", object{"input": []any{object{}}}, 400, `either "text" or "image"`},
		"both":                  {"/v1/embeddings", object{"input": []any{object{"text": "a", "image": "b"}}}, 400, `either "text" or "image"`},
		"too many":              {"/v1/embeddings", object{"input": make([]string, 9)}, 413, "more than 8 elements"},
		"a million numbers":     {"/v1/embeddings", []byte(`{"input":[` + strings.Repeat("1,", 400_000) + "1]}"), 400, "arrays of at most 32 token ids"},
		"a token beyond":        {"/v1/embeddings", object{"input": []int{49406, 99999, 49407}}, 400, "99999 is not between"},
		"a negative token":      {"/v1/embeddings", object{"input": []int{-1, 49407}}, 400, "-1 is not between"},
		"tokens without end":    {"/v1/embeddings", object{"input": []int{49406, 320}}, 400, "lack the end token 49407"},
		"another model":         {"/v1/embeddings", object{"input": "a", "model": "text-embedding-3-small"}, 404, "is not served here; emoji-64 is"},
		"a format":              {"/v1/embeddings", object{"input": "a", "encoding_format": "int8"}, 400, "encoding_format"},
		"dimensions":            {"/v1/embeddings", object{"input": "a", "dimensions": 64}, 400, "dimensions can only be 128"},
		"dimensions of another": {"/v1/embeddings", object{"input": "a", "dimensions": "x"}, 400, "dimensions is a JSON string"},
		"a long text":           {"/v1/embeddings", object{"input": strings.Repeat("a", 10_001)}, 413, "10001 bytes is more than 10000"},
		"a large body":          {"/v1/embeddings", bytes.Repeat([]byte(" "), 2<<20), 413, "more than 1048576 bytes"},
		"no base64":             {"/v1/embeddings", object{"input": "data:image/png;base64,!!"}, 400, "not base64"},
		"no comma":              {"/v1/embeddings", object{"input": "data:image/png;base64"}, 400, "no comma"},
		"an empty image":        {"/v1/embeddings", object{"input": "data:image/png;base64,"}, 400, "empty"},
		"an address":            {"/v1/embeddings", object{"input": object{"image": "http://127.0.0.1/a.png"}}, 403, "fetches no addresses"},
		"SVG with a script":     {"/v1/embeddings", object{"input": dataURI(svg)}, 415, "SVG is not read"},
		"SVG as it is":          {"/v1/embeddings", object{"input": "data:image/svg+xml," + string(svg)}, 415, "SVG is not read"},
		"a picture of 1x1":      {"/v1/embeddings", object{"input": dataURI(testImage(t, "rgb_1x1.png"))}, 422, "1x1 pixels; both sides must have at least 2"},
		"a picture of 1x500":    {"/v1/embeddings", object{"input": dataURI(testImage(t, "rgb_1x500.png"))}, 422, "1x500 pixels"},
		"a bomb":                {"/v1/embeddings", object{"input": dataURI(bomb(60_000, 60_000))}, 413, "60000x60000 pixels is more than the limit of 50 million; shrink it"},
		"a truncated image":     {"/v1/embeddings", object{"input": dataURI(dogFile(t)[:500])}, 422, "ends early"},
		"no images":             {"/v1/score", object{"texts": "a"}, 400, "images is missing"},
		"no texts":              {"/v1/score", object{"images": dataURI(dogFile(t))}, 400, "texts is missing"},
		"a text that is none":   {"/v1/score", object{"texts": []any{1}, "images": "x"}, 400, "not a string"},
		"images that are none":  {"/v1/score", object{"texts": "a", "images": []any{1}}, 400, "neither a string nor"},
		"only bad images":       {"/v1/score", object{"texts": "a", "images": []string{dataURI(svg), dataURI(svg)}}, 415, "SVG"},
		"many pairs":            {"/v1/score", object{"texts": make([]string, 5), "images": []string{"a", "a", "a", "a"}}, 413, "more than 8"},
		"an empty label":        {"/v1/classify", object{"labels": []string{" "}, "images": "AAAA"}, 400, "a label is empty"},
		"no template":           {"/v1/classify", object{"labels": "a", "images": "AAAA", "templates": "/etc/passwd"}, 400, "must have {}"},
		"weaviate's many":       {"/vectorize", object{"texts": make([]string, 8), "images": []string{"AAAA"}}, 413, "more than 8"},
		"weaviate's null image": {"/vectorize", object{"images": []any{nil}}, 400, "neither a string nor"},
	} {
		code, header, body := post(t, at+c.path, c.body)
		assert.Equal(t, c.code, code, "%s: %s", name, body)
		assert.Contains(t, string(bytes.ReplaceAll(body, []byte(`\"`), []byte(`"`))), c.says, name)
		assert.Equal(t, "application/json", header.Get("Content-Type"), name)
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), name)
		for _, ours := range []string{"preprocess", "clip:", "torch", "goroutine", ".go", "MaxPixels", "MaxBytes"} {
			assert.NotContains(t, string(body), ours, name)
		}
	}
	others()
}

// crowd asks for a text and an image again and again until it is ended, which checks that all were
// answered.
func crowd(t testing.TB, at string, n int) (end func()) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	var served, failed atomic.Int64
	picture := dataURI(dogFile(t))
	for i := range n {
		all.Go(func() {
			for turn := 0; ; turn++ {
				select {
				case <-stop:
					return
				default:
				}
				code, _, _ := post(t, at+"/v1/embeddings", object{"input": []string{fmt.Sprint("text ", i, " ", turn), picture}})
				if code == 200 {
					served.Add(1)
				} else {
					failed.Add(1)
				}
			}
		})
	}
	return func() {
		close(stop)
		all.Wait()
		assert.Positive(t, served.Load())
		assert.Zero(t, failed.Load())
	}
}

// raw sends bytes on a connection of its own and gives what comes back within a time.
func raw(t testing.TB, at string, send func(c *net.TCPConn)) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(at, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	send(c.(*net.TCPConn))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	return answer
}

// serveOn serves by Serve, which has the timeouts, and not by httptest.
func serveOn(t testing.TB, o Options) (s *Server, at string, end func() error) {
	t.Helper()
	s, err := New(t.Context(), o, Loaded(model(t)))
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := contextOf(t)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	return s, "http://" + listener.Addr().String(), func() error { cancel(); return <-ended }
}

// A client that is slow, one that sends half a body, and one that sends half a header: each gets
// its answer or its end, while others are served.
func TestSlowClients(t *testing.T) {
	_, at, end := serveOn(t, Options{Limits: Limits{Read: 700 * time.Millisecond}})
	others := crowd(t, at, 4)
	head := "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"input\":"
	answer := raw(t, at, func(c *net.TCPConn) { // slow: nothing more comes
		_, err := io.WriteString(c, head)
		require.NoError(t, err)
	})
	assert.Equal(t, http.StatusRequestTimeout, answer.StatusCode)
	answer = raw(t, at, func(c *net.TCPConn) { // half a body, and the end
		_, err := io.WriteString(c, head)
		require.NoError(t, err)
		require.NoError(t, c.CloseWrite())
	})
	assert.Equal(t, http.StatusBadRequest, answer.StatusCode)
	c, err := net.Dial("tcp", strings.TrimPrefix(at, "http://"))
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "POST /v1/embeddings HTTP/1.1\r\nHo")
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = io.ReadAll(c)
	assert.NoError(t, err, "the server closes a connection without a whole header")
	others()
	require.NoError(t, end())
}

// When the queue is full, requests get 429 and Retry-After, those before them are answered, and
// then there is room.
func TestQueueFull(t *testing.T) {
	s, at := start(t, Options{Limits: Limits{Queue: 8, Inputs: 8, BatchSize: 2}})
	pace := s.models.engines()[0].batcher.pace
	require.Nil(t, s.admission.enter(pace, 8)) // as eight inputs that are not done yet
	for _, path := range []string{"/v1/embeddings", "/v1/score", "/vectorize", "/api/embed", "/api/embeddings", "/predict"} {
		code, header, body := post(t, at+path, object{"input": "a"})
		assert.Equal(t, http.StatusTooManyRequests, code)
		assert.Equal(t, "1", header.Get("Retry-After"))
		assert.Contains(t, string(body), "the queue is full")
	}
	code, _, _ := get(t, at+"/healthz")
	assert.Equal(t, 200, code, "health is told when the queue is full")
	for range 3 {
		s.admission.leave(pace)
	}
	code, _, body := post(t, at+"/v1/embeddings", object{"input": []string{"a", "b", "c", "d", "e"}})
	assert.Equal(t, http.StatusTooManyRequests, code, "%s", body)
	code, _, body = post(t, at+"/v1/embeddings", object{"input": []string{"a", "b", "c"}})
	assert.Equal(t, 200, code, "%s", body)
	for range 5 {
		s.admission.leave(pace)
	}
	assert.Eventually(t, func() bool { // a handler ends after its answer has come
		inputs, held := s.admission.depth()
		return inputs == 0 && held == 0
	}, 10*time.Second, time.Millisecond)
	_, _, page := get(t, at+"/metrics")
	assert.Contains(t, string(page), `goclip_serve_rejected_total{reason="queue_full"} 7`)
}

// A slow model lets in what it will come to, and one request always.
func TestSlowModelsQueue(t *testing.T) {
	a := &admission{limits: Limits{Queue: 512, Wait: 30 * time.Second}}
	p := a.newPace()
	require.Nil(t, a.enter(p, 256), "nothing is known yet")
	a.ran(p, 1, time.Hour)
	require.Nil(t, a.full(), "the first batch prepares the kernels")
	a.ran(p, 32, 3200*time.Millisecond) // 10 a second: 300 in 30 s
	busy := a.full()
	require.NotNil(t, busy)
	assert.Equal(t, 26, busy.retry)
	other := a.newPace()
	require.Nil(t, a.full(), "another model is free")
	a.forget(other)
	for range 106 {
		a.leave(p)
	}
	require.Nil(t, a.full(), "150 are half of what it computes in time")
	assert.Nil(t, a.enter(p, 1))
	assert.NotNil(t, a.enter(p, 1))
	for range 51 {
		a.leave(p)
	}
	assert.NotNil(t, a.enter(p, 141))
	assert.Nil(t, a.enter(p, 140))
	for range 240 {
		a.leave(p)
	}
	assert.Nil(t, a.enter(p, 512), "alone")
}

// How fast a model is follows its latest batches, and what a refused client is told follows that.
func TestRetryAfter(t *testing.T) {
	a := &admission{limits: Limits{Queue: 4000, Wait: time.Hour}}
	p := a.newPace()
	assert.Equal(t, 1, a.busy().retry, "nothing is known yet")
	require.Nil(t, a.enter(p, 1210))
	a.ran(p, 1, time.Hour)
	assert.Zero(t, p.speed, "the first batch prepares the kernels")
	a.ran(p, 20, time.Second)
	assert.Equal(t, 20., p.speed)
	assert.Equal(t, 60, a.busy().retry, "a minute at most")
	a.ran(p, 90, 500*time.Millisecond)
	assert.InDelta(t, 0.8*20+0.2*180, p.speed, 1e-9)
	assert.Equal(t, 24, a.busy().retry, "1210 at 52 a second, rounded up")
	slow := a.newPace()
	a.ran(slow, 1, time.Hour)
	a.ran(slow, 1, 4*time.Second)
	require.Nil(t, a.enter(slow, 8))
	assert.Equal(t, 32, a.busy().retry, "the longer of two models")
	a.ran(slow, 1e9, 0)
	assert.InDelta(t, 0.2+0.2e15, slow.speed, 1, "a clock may stand still")
	inputs, _ := a.depth()
	assert.Equal(t, 1218, inputs)
	require.NotNil(t, a.enter(p, 2783))
	require.Nil(t, a.enter(p, 2782))
	assert.NotNil(t, a.full(), "to the last place")
	a.leave(slow)
	assert.Nil(t, a.full())
	a.forget(p)
	assert.Equal(t, []*pace{slow}, a.paces)
}

// The bytes of all requests together are bounded as well.
func TestBodiesTogether(t *testing.T) {
	s, at := start(t, Options{Limits: Limits{Body: 1000, Bodies: 1500}})
	var held bodies
	_, err := held.read(strings.NewReader(strings.Repeat("x", 1000)), -1, s.admission)
	require.NoError(t, err)
	code, header, body := post(t, at+"/v1/embeddings", object{"input": strings.Repeat("x", 800)})
	assert.Equal(t, 429, code)
	assert.NotEmpty(t, header.Get("Retry-After"))
	assert.Contains(t, string(body), "memory_full")
	held.release()
	code, _, _ = post(t, at+"/v1/embeddings", object{"input": strings.Repeat("x", 800)})
	assert.Equal(t, 200, code)
}

func TestTooLate(t *testing.T) {
	_, at := start(t, Options{Limits: Limits{Wait: time.Nanosecond}})
	code, header, body := post(t, at+"/v1/embeddings", object{"input": "a dog"})
	assert.Equal(t, http.StatusTooManyRequests, code)
	assert.Equal(t, "1", header.Get("Retry-After"))
	assert.Contains(t, string(body), "queue_timeout")
	assert.Contains(t, string(body), "the model did not come to this request")
}

func TestToken(t *testing.T) {
	_, at := start(t, Options{Token: "open sesame"})
	for _, given := range []string{"", "Bearer", "Bearer ", "Bearer open", "Basic open sesame", "Bearer open sesame!"} {
		code, header, body := post(t, at+"/v1/embeddings", object{"input": "a"}, "Authorization", given)
		assert.Equal(t, 401, code, given)
		assert.Equal(t, "Bearer", header.Get("WWW-Authenticate"))
		assert.NotContains(t, string(body), "sesame")
	}
	for _, path := range []string{"/metrics", "/v1/models", "/v1/models/emoji-64", "/meta"} {
		code, _, _ := get(t, at+path)
		assert.Equal(t, 401, code, path)
		code, _, _ = get(t, at+path, "Authorization", "Bearer open sesame")
		assert.Equal(t, 200, code, path)
	}
	for _, given := range []string{"Bearer open sesame", "bearer open sesame", "BEARER  open sesame"} { // RFC 9110: the scheme in any case
		code, _, _ := post(t, at+"/v1/embeddings", object{"input": "a"}, "Authorization", given)
		assert.Equal(t, 200, code, given)
	}
	for _, path := range []string{"/", "/page.js", "/korean.js", "/page.css", "/icon.svg", "/openapi.yaml", "/healthz", "/ping"} {
		code, _, _ := get(t, at+path)
		assert.Equal(t, 200, code, path)
	}
}

// A handler that panics is an answer in one sentence, and the server continues.
func TestPanic(t *testing.T) {
	s, at := start(t, Options{Indices: []Indexed{{Index: shelf{}}}, Thumbnail: func(context.Context, string, func(int64) error) ([]byte, string, error) { panic("secret") }})
	code, _, body := get(t, at+"/"+s.imageAddress("a.png"))
	assert.Equal(t, 500, code)
	assert.NotContains(t, string(body), "secret")
	assert.Equal(t, 1, strings.Count(string(body), "\n"))
	code, _, _ = post(t, at+"/v1/embeddings", object{"input": "a"})
	assert.Equal(t, 200, code)
}

func TestLimitsThatCannotBe(t *testing.T) {
	all, err := Limits{}.filled()
	require.NoError(t, err)
	assert.Equal(t, DefaultLimits, all)
	mine := Limits{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	all, err = mine.filled()
	require.NoError(t, err, "a request may have all bytes")
	assert.Equal(t, mine, all)
	for _, l := range []Limits{{Body: 10, Bodies: 5}, {BatchSize: -1}} {
		_, err := New(t.Context(), Options{Limits: l}, Loaded(model(t)))
		assert.Error(t, err)
	}
}
