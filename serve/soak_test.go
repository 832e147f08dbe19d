//go:build soak

package serve

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
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
	"github.com/goclip/goclip/torch"
)

const (
	soakGrowth = 20 << 10 // KiB of resident memory that the server may gain after its warm-up
	leakEvery  = 1000     // requests for each tensor that the planted leak keeps
)

func setting(t *testing.T, name string, other int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return other
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// TestSoakRequests sends GOCLIP_REQUESTS (50,000) of all kinds, broken ones and clients that leave
// among them, drawn by GOCLIP_SEED.
func TestSoakRequests(t *testing.T) {
	kib, handles := soak(t, setting(t, "GOCLIP_REQUESTS", 50_000), func() {})
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
	torch.LimitArenas(2)
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":2,"width":64,"head_width":32,"patch_size":8},
		"text_cfg":{"context_length":16,"vocab_size":49408,"width":8,"heads":2,"layers":2}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	row := make([]float32, 16)
	row[0] = 1
	s, at := serveModels(t, Options{Indices: []Indexed{{Index: shelf{row, row}}}, Limits: Limits{Inputs: 16, Body: 1 << 20}}, Model{Name: "tiny", Open: func(context.Context) (*clip.Model, error) { return m, nil }})
	bodies := soakBodies(t)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

	seed := setting(t, "GOCLIP_SEED", 1)
	t.Logf("GOCLIP_SEED=%d", seed)
	settled := func() int64 {
		require.Eventually(t, func() bool { n, held := s.admission.depth(); return n == 0 && held == 0 }, time.Minute, time.Millisecond)
		for range 3 {
			runtime.GC()
		}
		return torch.LiveTensors()
	}
	askAny(t, client, at, bodies, rand.New(rand.NewPCG(uint64(seed), 0)), 0)
	before := settled()
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
				code := askAny(t, client, at, bodies, rng, n)
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
	quarter := len(looks) / 4
	early, late := slices.Min(looks[quarter:2*quarter]), slices.Min(looks[3*quarter:])
	client.CloseIdleConnections()
	after := settled()
	t.Logf("%d requests in %s, by status (0: the client left) %v; resident %.1f MiB in the second quarter, %.1f in the last; handles %d before, %d after",
		requests, time.Since(began).Round(time.Second), codes, float64(early)/1024, float64(late)/1024, before, after)
	for _, code := range []int{0, 200, 400} {
		assert.Positive(t, codes[code], code)
	}
	return late - early, after - before
}

type soakBody struct{ path, kind, body string }

// soakBodies are requests of every kind; N stands for a number that makes a text new.
func soakBodies(t *testing.T) (list []soakBody) {
	t.Helper()
	images := []string{"AAAA"}
	for _, name := range []string{"face.png", "cup_444.jpg", "palette.png", "lossless.webp", "rgb_3x7.png", "face.gif"} {
		images = append(images, base64.StdEncoding.EncodeToString(testImage(t, name)))
	}
	const jsonKind = "application/json"
	for _, image := range images {
		list = append(list, soakBody{"/v1/embeddings", jsonKind, `{"input":{"image":"` + image + `"}}`},
			soakBody{"/v1/score", jsonKind, `{"texts":["a dog N","a cat"],"images":["` + image + `"]}`},
			soakBody{"/v1/classify", jsonKind, `{"labels":["dog N","cat"],"templates":["a {}"],"images":["` + image + `"]}`},
			soakBody{"/v1/search", jsonKind, `{"image":"` + image + `"}`}, soakBody{"/vectorize", jsonKind, `{"texts":["N"],"images":["` + image + `"]}`})
	}
	for _, body := range []string{`{"input":"text N"}`, `{"input":["text N","b","c"],"encoding_format":"base64"}`, `{"input":[[49406,320,49407]]}`, `{"input":`, `{"input":[]}`, `[]`, ``, `{"input":"N","model":"none"}`} {
		list = append(list, soakBody{"/v1/embeddings", jsonKind, body}, soakBody{"/api/embed", jsonKind, body})
	}
	return append(list, soakBody{"/v1/search", jsonKind, `{"text":"a dog N"}`}, soakBody{"/api/embeddings", jsonKind, `{"prompt":"N"}`},
		soakBody{"/predict", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"entries\"\r\n\r\n{\"clip\":{\"textual\":{\"modelName\":\"\"}}}\r\n--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\na dog N\r\n--b--\r\n"},
		soakBody{"/nothing", jsonKind, "N"}, soakBody{"/healthz", "", ""}, soakBody{"/metrics", "", ""})
}

// askAny sends one request and returns its status, or 0 where the client left before the answer.
func askAny(t *testing.T, client *http.Client, at string, bodies []soakBody, rng *rand.Rand, n int64) int {
	b := bodies[rng.IntN(len(bodies))]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var body io.Reader = bytes.NewReader([]byte(strings.ReplaceAll(b.body, "N", fmt.Sprint(n))))
	method := http.MethodPost
	if b.body == "" && b.kind == "" {
		method, body = http.MethodGet, nil
	}
	if rng.IntN(20) == 0 {
		time.AfterFunc(time.Duration(rng.IntN(3000))*time.Microsecond, cancel)
		if body != nil && rng.IntN(2) == 0 { // it stops in the middle of the body
			body = io.MultiReader(io.LimitReader(body, int64(len(b.body)/2)), until(ctx.Done()))
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, at+b.path, body)
	if !assert.NoError(t, err) {
		return 0
	}
	if b.kind != "" {
		r.Header.Set("Content-Type", b.kind)
	}
	answer, err := client.Do(r)
	if err != nil {
		assert.ErrorIs(t, err, context.Canceled)
		return 0
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0
	}
	assert.Less(t, answer.StatusCode, 500, b.path)
	return answer.StatusCode
}

// until is a reader that has nothing until its channel is closed.
type until <-chan struct{}

func (u until) Read([]byte) (int, error) {
	<-u
	return 0, context.Canceled
}
