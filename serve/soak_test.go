//go:build soak

package serve

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

const (
	soakGrowth = 20 << 10 // KiB of resident memory that the server may gain after its warm-up
	leakEvery  = 1000     // requests for each tensor that the planted leak keeps
)

// TestSoakRequests sends GOCLIP_REQUESTS (50,000) of all kinds, broken ones and clients that leave
// among them, drawn by GOCLIP_TEST_SEED.
func TestSoakRequests(t *testing.T) {
	kib, handles := soak(t, campaign.FromEnv(t, "GOCLIP_REQUESTS", 50_000), func() {})
	assert.LessOrEqual(t, kib, int64(soakGrowth), "KiB gained")
	assert.LessOrEqual(t, handles, int64(0), "handles gained")
}

// TestSoakSeesALeak keeps a tensor for every 1,000 requests: what TestSoakRequests checks must show
// it.
func TestSoakSeesALeak(t *testing.T) {
	const requests = 10_000
	var kept []*torch.Tensor
	_, handles := soak(t, requests, func() { kept = append(kept, torch.Ones(nil, torch.CPU, torch.Float32, 1)) })
	assert.Equal(t, int64(requests/leakEvery), handles)
	for _, k := range kept {
		k.Free()
	}
}

// soak tells what a server has gained from its second quarter to its last in KiB, and what handles
// it holds in the end beside the beginning. leak is called after every 1,000 requests.
func soak(t *testing.T, requests int, leak func()) (kib, handles int64) {
	t.Helper()
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":2,"width":64,"head_width":32,"patch_size":8},
		"text_cfg":{"context_length":16,"vocab_size":49408,"width":8,"heads":2,"layers":2}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	row := make([]float32, 16)
	row[0] = 1
	s, at := serveModels(t, Options{Indices: []Indexed{{Index: shelf{row, row}}}, Limits: Limits{Inputs: 16, Body: 1 << 20}}, Model{Name: "tiny", Open: func(context.Context) (*clip.Model, error) { return m, nil }})
	right, wrong := soakRequests(t)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

	seed := campaign.FromEnv(t, "GOCLIP_TEST_SEED", 1)
	t.Logf("GOCLIP_TEST_SEED=%d", seed)
	idle := func() int64 {
		require.Eventually(t, func() bool { n, held := s.admission.depth(); return n == 0 && held == 0 }, time.Minute, time.Millisecond)
		return settled.Count(torch.LiveTensors)
	}
	askAny(t, client, at, right, wrong, rand.New(rand.NewPCG(uint64(seed), 0)), 0)
	before := idle()
	began := time.Now()
	var sent atomic.Int64
	var mu sync.Mutex
	var looks []int64
	codes := map[int]int{}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
			for n := sent.Add(1); n <= int64(requests); n = sent.Add(1) {
				code := askAny(t, client, at, right, wrong, rng, n)
				mu.Lock()
				codes[code]++
				if n%leakEvery == 0 {
					leak()
				}
				if n%int64(requests/100) == 0 {
					looks = append(looks, campaign.Resident(t))
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	early, late := campaign.Gained(looks)
	client.CloseIdleConnections()
	after := idle()
	t.Logf("%d requests in %s, by status (0: the client left) %v; resident %.1f MiB in the second quarter, %.1f in the last; handles %d before, %d after",
		requests, time.Since(began).Round(time.Second), codes, float64(early)/1024, float64(late)/1024, before, after)
	for _, code := range []int{0, 200, 400, 404, 413} {
		assert.Positive(t, codes[code], code)
	}
	assert.Greater(t, codes[200], requests*3/4)
	return late - early, after - before
}

// soakRequest is a request with § in the place of a number that makes a text new.
type soakRequest struct {
	path, kind, body string
	code             int // of the answer; 0 is any that blames the client
}

// soakRequests are those that are right, of every kind, and those that are not.
func soakRequests(t *testing.T) (right, wrong []soakRequest) {
	t.Helper()
	const jsonKind = "application/json"
	add := func(list *[]soakRequest, code int, path string, body any) {
		text, ok := body.(string)
		if !ok {
			text = string(encode(t, body))
		}
		*list = append(*list, soakRequest{path, jsonKind, text, code})
	}
	for _, name := range []string{"face.png", "cup_444.jpg", "cat_progressive.jpg", "palette.png", "lossless.webp", "rgb_3x7.png", "face.gif", "rgb16.png", "rgb_lzw.tif", "rgb.bmp"} {
		image := base64.StdEncoding.EncodeToString(testImage(t, name))
		uri := "data:application/octet-stream;base64," + image
		for path, body := range map[string]any{
			"/v1/embeddings": object{"input": []any{object{"image": image}, "text §"}}, "/v1/score": object{"texts": []string{"a dog §", "a cat"}, "images": []string{image}},
			"/v1/classify": object{"labels": []string{"dog §", "cat"}, "templates": []string{"a {}", "the {}"}, "images": []string{image}}, "/v1/search": object{"image": image},
			"/v1/explain": object{"text": "a dog §", "image": image, "method": "values"}, "/vectorize": object{"texts": []string{"§"}, "images": []string{image}},
			"/api/embed": object{"input": []string{"§"}, "images": []string{image}}, "/embeddings": object{"input": []string{uri}, "modality": "image"},
			"/embed": object{"inputs": []any{"§", object{"image": image}}}, "/v2/embed": object{"input_type": "image", "images": []string{uri}},
		} {
			add(&right, 200, path, body)
		}
	}
	for range 8 { // as many as those with an image
		for _, input := range []any{"text §", []string{"text §", "b", "c"}, [][]int{{49406, 320, 49407}}} {
			add(&right, 200, "/v1/embeddings", object{"input": input, "encoding_format": "base64"})
		}
		add(&right, 200, "/v1/search", object{"text": "a dog §", "min_probability": 0})
		add(&right, 200, "/v1/learn", object{"text": "a dog §", "yes": []string{"photos/dog.png"}, "no": []string{}, "propose": 1})
		add(&right, 200, "/api/embed", object{"input": []string{"§", "a"}})
		add(&right, 200, "/api/embeddings", object{"prompt": "§"})
		add(&right, 200, "/embed", object{"inputs": "§"})
		add(&right, 200, "/v2/embed", object{"texts": []string{"§"}, "embedding_types": []string{"float", "base64"}})
		right = append(right, soakRequest{"/predict", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"entries\"\r\n\r\n{\"clip\":{\"textual\":{\"modelName\":\"\"}}}\r\n" +
			"--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\na dog §\r\n--b--\r\n", 200},
			soakRequest{"/healthz", "", "", 200}, soakRequest{"/metrics", "", "", 200}, soakRequest{"/v1/models", "", "", 200})
	}
	for _, path := range []string{"/v1/embeddings", "/v1/score", "/v1/classify", "/v1/search", "/v1/explain", "/vectorize", "/api/embed", "/embed", "/v2/embed"} {
		for _, body := range []string{`{"input":`, `[]`, ``, `{"input":{"a":7.5}}`, `{"model":"none","input":"§","inputs":"§","texts":["§"]}`, `{"image":"AAAA","images":["AAAA"],"text":"§","texts":["§"],"labels":["§"]}`} {
			add(&wrong, 0, path, body)
		}
		add(&wrong, 413, path, `{"input":"`+strings.Repeat("x", 1<<20)+`"}`)
	}
	return right, append(wrong, soakRequest{"/nothing", jsonKind, "§", 404})
}

// askAny sends one request, in one of eight a wrong one, and returns the answer's status, or 0 where
// the client left before it.
func askAny(t *testing.T, client *http.Client, at string, right, wrong []soakRequest, rng *rand.Rand, n int64) int {
	if rng.IntN(8) == 0 {
		right = wrong
	}
	q := right[rng.IntN(len(right))]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var body io.Reader = strings.NewReader(strings.ReplaceAll(q.body, "§", fmt.Sprint(n)))
	method := http.MethodPost
	if q.kind == "" {
		method, body = http.MethodGet, nil
	}
	if rng.IntN(20) == 0 {
		time.AfterFunc(time.Duration(rng.IntN(3000))*time.Microsecond, cancel)
		if body != nil && rng.IntN(2) == 0 { // it stops in the middle of the body
			body = io.MultiReader(io.LimitReader(body, int64(len(q.body)/2)), until(ctx.Done()))
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, at+q.path, body)
	if !assert.NoError(t, err) {
		return 0
	}
	if q.kind != "" {
		r.Header.Set("Content-Type", q.kind)
	}
	answer, err := client.Do(r)
	if err != nil {
		assert.ErrorIs(t, err, context.Canceled)
		return 0
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return 0
	case q.code != 0:
		assert.Equal(t, q.code, answer.StatusCode, "%s %.100s: %.200s", q.path, q.body, text)
	default:
		assert.True(t, answer.StatusCode >= 400 && answer.StatusCode < 500, "%s %.100s: %d", q.path, q.body, answer.StatusCode)
	}
	return answer.StatusCode
}

// until is a reader that has nothing until its channel is closed.
type until <-chan struct{}

func (u until) Read([]byte) (int, error) {
	<-u
	return 0, context.Canceled
}
