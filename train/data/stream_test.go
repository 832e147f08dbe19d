package data_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// flaky is a web server of one object, /shard.tar, that ends each answer after some bytes.
type flaky struct {
	data     []byte
	piece    int // bytes of an answer
	ranges   bool
	requests atomic.Int64
	answer   func(n int64, w http.ResponseWriter, r *http.Request) bool // in place of the object
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := f.requests.Add(1)
	if f.answer != nil && f.answer(n, w, r) {
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/shard.tar") {
		http.NotFound(w, r)
		return
	}
	from := 0
	w.Header().Set("ETag", `"v1"`)
	if span, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && f.ranges {
		from, _ = strconv.Atoi(strings.TrimSuffix(span, "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(f.data)-1, len(f.data)))
		w.Header().Set("Content-Length", strconv.Itoa(len(f.data)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(f.data)))
	}
	end := len(f.data)
	if !f.ranges {
		from, end = 0, min(len(f.data), f.piece*int(n)) // or no try would get further
	} else {
		end = min(end, from+f.piece)
	}
	w.Write(f.data[from:end])
	if end < len(f.data) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// streamed opens a data set of streams with a cache of its own.
func streamed(t *testing.T, ctx context.Context, spec string, o data.Options) (data.Dataset, error) {
	t.Helper()
	if o.Cache == "" {
		o.Cache = t.TempDir()
	}
	o.Backoff = time.Millisecond
	return data.Open(ctx, spec, &o)
}

// wholeShard checks that a data set is that of the local file.
func wholeShard(t *testing.T, set data.Dataset, path string) {
	t.Helper()
	want, err := data.Open(t.Context(), path, nil)
	require.NoError(t, err)
	require.Equal(t, want.Len(), set.Len())
	for i := range want.Len() {
		a, err := want.Sample(t.Context(), i)
		require.NoError(t, err)
		b, err := set.Sample(t.Context(), i)
		require.NoError(t, err)
		assert.Equal(t, a.Texts, b.Texts)
		left, err := a.Image.Bytes(t.Context(), preprocess.DefaultLimits)
		require.NoError(t, err)
		right, err := b.Image.Bytes(t.Context(), preprocess.DefaultLimits)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(left, right))
	}
}

// TestURLs reads shards from servers that break off, with ranges and without, plain and compressed.
func TestURLs(t *testing.T) {
	path := streamShard(t)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	packed := gzipped(t, whole)
	for name, f := range map[string]*flaky{
		"ranges":     {data: whole, piece: len(whole)/7 + 1, ranges: true},
		"no ranges":  {data: whole, piece: len(whole)/4 + 1},
		"compressed": {data: packed, piece: len(packed)/3 + 1, ranges: true},
		"busy at first": {data: whole, piece: len(whole), answer: func(n int64, w http.ResponseWriter, _ *http.Request) bool {
			if n < 3 {
				http.Error(w, "later", http.StatusServiceUnavailable)
			}
			return n < 3
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(f)
			defer server.Close()
			var said []string
			o := data.Options{Cache: t.TempDir(), Log: func(line string) { said = append(said, line) }}
			set, err := streamed(t, t.Context(), server.URL+"/shard.tar", o)
			require.NoError(t, err)
			wholeShard(t, set, path)
			assert.Equal(t, []string{"fetching " + server.URL + "/shard.tar"}, said)
			before := f.requests.Load()
			set, err = streamed(t, t.Context(), server.URL+"/shard.tar", o)
			require.NoError(t, err)
			wholeShard(t, set, path)
			assert.Equal(t, before+1, f.requests.Load(), "the second time it is only asked for its version")
			assert.Len(t, said, 1)
		})
	}
}

// TestURLFaults are those that no further try mends, and those that never end.
func TestURLFaults(t *testing.T) {
	whole, err := os.ReadFile(streamShard(t))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		answer func(n int64, w http.ResponseWriter, r *http.Request) bool
		says   string
		tries  int64
	}{
		"missing": {func(_ int64, w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }, "404 Not Found", 1},
		"broken":  {func(_ int64, w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true }, "at byte 0, after 5 tries: ", 5},
		"changed": {func(n int64, w http.ResponseWriter, r *http.Request) bool {
			if n == 1 {
				return false
			}
			w.Header().Set("ETag", `"v2"`)
			w.Write(whole)
			return true
		}, "has changed while it was read", 2},
		"cut": {func(n int64, w http.ResponseWriter, r *http.Request) bool {
			if n > 1 {
				panic(http.ErrAbortHandler)
			}
			return false
		}, fmt.Sprintf("at byte %d, after 5 tries: ", len(whole)/2), 5},
	} {
		t.Run(name, func(t *testing.T) {
			f := &flaky{data: whole, piece: len(whole) / 2, ranges: true, answer: c.answer}
			server := httptest.NewServer(f)
			defer server.Close()
			cache := t.TempDir()
			_, err := streamed(t, t.Context(), server.URL+"/shard.tar", data.Options{Cache: cache})
			require.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, server.URL+"/shard.tar")
			assert.Equal(t, c.tries, f.requests.Load())
			left, err := os.ReadDir(cache)
			require.NoError(t, err)
			assert.Empty(t, left, "nothing half-written stays")
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	_, err = streamed(t, ctx, server.URL+"/shard.tar", data.Options{})
	assert.ErrorIs(t, err, context.Canceled)
}

// TestPipes reads what commands write, again from the beginning after one that failed.
func TestPipes(t *testing.T) {
	path, dir := streamShard(t), t.TempDir()
	flag := filepath.Join(dir, "flag")
	for name, command := range map[string]string{
		"plain":          "cat " + path,
		"fails at first": fmt.Sprintf("if [ -e %[1]s ]; then cat %[2]s; else touch %[1]s; head -c 1000 %[2]s; exit 1; fi", flag, path),
		"compressed":     "gzip -c " + path,
	} {
		set, err := streamed(t, t.Context(), "pipe:"+command, data.Options{})
		require.NoError(t, err, name)
		wholeShard(t, set, path)
	}
	require.NoError(t, os.Rename(path, filepath.Join(dir, "shard-1.tar")))
	set, err := streamed(t, t.Context(), "pipe:cat "+dir+"/shard-{1..1}.tar::pipe:cat "+dir+"/shard-1.tar", data.Options{})
	require.NoError(t, err)
	assert.Equal(t, 10, set.Len())

	for command, says := range map[string]string{
		"echo no such bucket >&2; exit 3": "after 5 tries: the command ended with exit status 3: no such bucket",
		"true":                            "is empty or cannot be read",
		"head -c 700 /dev/zero":           "is damaged: after 0 members, at byte 700",
	} {
		_, err := streamed(t, t.Context(), "pipe:"+command, data.Options{})
		assert.ErrorContains(t, err, says)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = streamed(t, ctx, "pipe:sleep 1000 | cat", data.Options{})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestS3 reads an object of a store on this machine, signed and, without keys, unsigned.
func TestS3(t *testing.T) {
	path := streamShard(t)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	var signed atomic.Value
	f := &flaky{data: whole, piece: len(whole)/3 + 1, ranges: true}
	f.answer = func(_ int64, w http.ResponseWriter, r *http.Request) bool {
		signed.Store(r.Header.Get("Authorization"))
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		return false
	}
	server := httptest.NewServer(f)
	defer server.Close()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_REGION", "eu-central-1")
	for _, key := range []string{"", "AKIAEXAMPLE"} {
		t.Setenv("AWS_ACCESS_KEY_ID", key)
		t.Setenv("AWS_SECRET_ACCESS_KEY", key)
		set, err := streamed(t, t.Context(), "s3://bucket/some/shard.tar", data.Options{})
		require.NoError(t, err)
		wholeShard(t, set, path)
		if key == "" {
			assert.Empty(t, signed.Load())
		} else {
			assert.Regexp(t, `^AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/\d{8}/eu-central-1/s3/aws4_request`, signed.Load())
		}
	}
	before := f.requests.Load()
	_, err = streamed(t, t.Context(), "s3://bucket/none", data.Options{})
	assert.ErrorContains(t, err, "s3://bucket/none cannot be read: ")
	assert.Equal(t, before+1, f.requests.Load(), "what is not there is asked for once")
	_, err = streamed(t, t.Context(), "s3://bucket", data.Options{})
	assert.ErrorContains(t, err, "must be s3://BUCKET/KEY")
	_, err = streamed(t, t.Context(), "gs://bucket/x.tar", data.Options{})
	assert.ErrorContains(t, err, "the scheme gs must be one of pipe, http, https, s3")
	_, err = data.Open(t.Context(), "s3://bucket/x.tar", &data.Options{})
	assert.ErrorContains(t, err, "there is no directory for it")
}

// streamShard is a shard of five samples, of some kilobytes.
func streamShard(t *testing.T) string {
	t.Helper()
	var members []member
	for i := range 5 {
		members = append(members, member{fmt.Sprintf("%d.png", i), string(greyPNG(t, uint8(i))) + strings.Repeat(string(rune('a'+i)), 3000)}, member{fmt.Sprintf("%d.txt", i), fmt.Sprint("caption ", i)})
	}
	path := filepath.Join(t.TempDir(), "shard.tar")
	require.NoError(t, os.WriteFile(path, tarOf(t, members...), 0o644))
	return path
}
