package pretrained

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	data  = payload(300_000, 1)
	other = payload(300_000, 2)
)

// A server may fail in every one of these ways and the file still arrives, bit by bit where it can.
func TestDownloadSurvives(t *testing.T) {
	half := len(data) / 2
	resumed := fmt.Sprintf("bytes=%d-", half)
	for _, c := range []struct {
		name   string
		behave func(w http.ResponseWriter, r *http.Request, n int)
		ranges []string // of the requests
	}{
		{"a good server", func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) }, []string{""}},
		{"the connection ends early", func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				cut(w, data, half, false)
			}
			whole(w, r, data)
		}, []string{"", resumed}},
		{"no length is announced", func(w http.ResponseWriter, r *http.Request, n int) {
			_, _ = w.Write(data[:half])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(data[half:])
		}, []string{""}},
		{"the body stalls", func(w http.ResponseWriter, r *http.Request, n int) {
			if n > 1 {
				whole(w, r, data)
				return
			}
			w.Header().Set("ETag", `"`+sumOf(data)[:20]+`"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:half])
			_ = http.NewResponseController(w).Flush()
			untilGone(r)
		}, []string{"", resumed}},
		{"no answer comes", func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				untilGone(r)
				return
			}
			whole(w, r, data)
		}, []string{"", ""}},
		{"ranges are ignored", func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				cut(w, data, half, false)
			}
			_, _ = w.Write(data)
		}, []string{"", resumed}},
		{"the range is refused", func(w http.ResponseWriter, r *http.Request, n int) {
			switch n {
			case 1:
				cut(w, data, half, false)
			case 2:
				w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", half))
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			default:
				whole(w, r, data)
			}
		}, []string{"", resumed, ""}},
		{"another range comes than was asked for", func(w http.ResponseWriter, r *http.Request, n int) {
			switch n {
			case 1:
				cut(w, data, half, false)
			case 2:
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(data)-1, len(data)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(data[5:])
			default:
				whole(w, r, data)
			}
		}, []string{"", resumed, ""}},
		{"the range does not tell the file's size", func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				cut(w, data, half, false)
			}
			w.Header().Set("ETag", `"`+sumOf(data)[:20]+`"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", half, len(data)-1))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data[half:])
		}, []string{"", resumed}},
		{"the rest is of another file", func(w http.ResponseWriter, r *http.Request, n int) {
			switch n {
			case 1:
				cut(w, data, half, false)
			case 2:
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", half, len(data)-1, len(data)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(other[half:])
			default:
				whole(w, r, data)
			}
		}, []string{"", resumed, ""}},
		{"the file changes meanwhile", func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				cut(w, other, half, false)
			}
			whole(w, r, data) // If-Range does not match, so all of it
		}, []string{"", resumed}},
		{"500, then 503 with a time to come back", func(w http.ResponseWriter, r *http.Request, n int) {
			switch n {
			case 1:
				w.WriteHeader(http.StatusInternalServerError)
			case 2:
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				whole(w, r, data)
			}
		}, []string{"", "", ""}},
		{"too many requests", func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				w.Header().Set("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			whole(w, r, data)
		}, []string{"", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			s := serve(t, c.behave)
			t.Setenv("GOCLIP_MIRROR", s.URL+"/mirror/")
			o := impatient(&notes{})
			o.Stall = 500 * time.Millisecond
			f, err := get(t, t.Context(), o, own(data))
			require.NoError(t, err)
			requireFile(t, f, data)
			assert.Equal(t, filepath.Join(cache, "m", "t", "w.pt"), f.Path)
			assert.Equal(t, FromNetwork, f.Origin)
			var ranges []string
			for _, a := range s.requests() {
				ranges = append(ranges, a.rang)
				assert.Equal(t, "goclip", a.agent)
				assert.Equal(t, "/mirror/w/w.pt", a.path)
				assert.Equal(t, a.rang != "", a.ifRange != "", "a range is only asked for of the same file")
			}
			assert.Equal(t, c.ranges, ranges)

			again, err := get(t, t.Context(), Options{Offline: true}, own(data))
			require.NoError(t, err)
			assert.Equal(t, FromCache, again.Origin)
			assert.Equal(t, f.Path, again.Path)
		})
	}
}

func TestConnectionResetIsRetried(t *testing.T) {
	machine(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			cut(w, data, 1000, true)
		}
		whole(w, r, data)
	})
	t.Setenv("GOCLIP_MIRROR", s.URL)
	f, err := get(t, t.Context(), impatient(&notes{}), own(data))
	require.NoError(t, err)
	requireFile(t, f, data)
	assert.Len(t, s.requests(), 2)
}

// What a server must not get away with: one sentence, the number of requests it may cost, and what
// stays on the disk.
func TestDownloadRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		behave func(w http.ResponseWriter, r *http.Request, n int)
		says   string
		tries  int
		left   []string
	}{
		{"other bytes", func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, other) },
			"sent other bytes than were published: the SHA-256 of w.pt begins with " + sumOf(other)[:8] + " and should begin with " + sumOf(data)[:8] + "; nothing was kept", 1, nil},
		{"always cut", func(w http.ResponseWriter, r *http.Request, n int) { cut(w, data, 1000, false) },
			"closed the connection in the middle of the file, after 1000 bytes (gave up after 3 tries)", 3, []string{"w.pt.part", "w.pt.part.json"}},
		{"always stalled", func(w http.ResponseWriter, r *http.Request, n int) { untilGone(r) },
			"no byte came for 500ms (gave up after 3 tries)", 3, nil},
		{"always 500", func(w http.ResponseWriter, r *http.Request, n int) { w.WriteHeader(http.StatusInternalServerError) },
			"answers 500 Internal Server Error (gave up after 3 tries)", 3, nil},
		{"come back in two hours", func(w http.ResponseWriter, r *http.Request, n int) {
			w.Header().Set("Retry-After", "7200")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "answers 429 Too Many Requests and asks to come back in 2h0m0s", 1, nil},
		{"404", func(w http.ResponseWriter, r *http.Request, n int) { http.NotFound(w, r) }, "answers 404 Not Found for w.pt", 1, nil},
		{"403", func(w http.ResponseWriter, r *http.Request, n int) { w.WriteHeader(http.StatusForbidden) }, "answers 403 Forbidden for w.pt", 1, nil},
		{"400", func(w http.ResponseWriter, r *http.Request, n int) { w.WriteHeader(http.StatusBadRequest) }, "answers 400 Bad Request", 1, nil},
		{"a circle", func(w http.ResponseWriter, r *http.Request, n int) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
			"redirects more than 8 times", 9, nil},
		{"plain http", func(w http.ResponseWriter, r *http.Request, n int) {
			http.Redirect(w, r, "http://192.0.2.1/w.pt", http.StatusFound)
		}, "redirects to http://192.0.2.1; only https is followed", 1, nil},
		{"a file of this machine", func(w http.ResponseWriter, r *http.Request, n int) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, "redirects to file://; only https is followed", 1, nil},
		{"nowhere", func(w http.ResponseWriter, r *http.Request, n int) { w.WriteHeader(http.StatusFound) },
			"redirects to no address", 1, nil},
		{"too large by its own account", func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, payload(400_001, 3)) },
			"w.pt is larger than the limit of 400000 bytes", 1, nil},
		{"too large in the end", func(w http.ResponseWriter, r *http.Request, n int) {
			_ = http.NewResponseController(w).Flush() // so that no length is announced
			_, _ = w.Write(payload(400_001, 3))
		}, "w.pt is larger than the limit of 400000 bytes", 1, nil},
		{"endless", func(w http.ResponseWriter, r *http.Request, n int) {
			for {
				if _, err := w.Write(data); err != nil {
					return
				}
			}
		}, "w.pt is larger than the limit of 400000 bytes", 1, nil},
		{"packed", func(w http.ResponseWriter, r *http.Request, n int) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(data)
		}, "in the encoding gzip, which was not asked for", 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			s := serve(t, c.behave)
			t.Setenv("GOCLIP_MIRROR", s.URL)
			o := impatient(&notes{})
			o.MaxBytes, o.Stall = 400_000, 500*time.Millisecond
			_, err := get(t, t.Context(), o, own(data))
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.says)
			assert.True(t, strings.HasPrefix(err.Error(), "pretrained: m t: "), err.Error())
			assert.NotContains(t, err.Error(), "\n")
			assert.Len(t, s.requests(), c.tries)
			assert.ElementsMatch(t, c.left, names(t, filepath.Join(cache, "m", "t")))
		})
	}
}

// A server that always brings a little and then another file must not keep Find for ever.
func TestChangingFileIsLeft(t *testing.T) {
	machine(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		cut(w, payload(3*headway, uint64(n)), 2*headway, false)
	})
	t.Setenv("GOCLIP_MIRROR", s.URL)
	_, err := get(t, t.Context(), impatient(&notes{}), own(data))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "gave up after 3 tries")
}

// A long file on a bad line: each try brings a mebibyte, and there are more of them than Retries.
func TestHeadwayIsNotGivenUp(t *testing.T) {
	machine(t)
	long := payload(6*headway+17, 5)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		at := 0
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at)
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(long)-at))
		if at > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(long)-1, len(long)))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(long[at:min(at+headway, len(long))]) // the handler ends short of its length: the connection closes
	})
	t.Setenv("GOCLIP_MIRROR", s.URL)
	f, err := get(t, t.Context(), impatient(&notes{}), own(long))
	require.NoError(t, err)
	requireFile(t, f, long)
	assert.Greater(t, len(s.requests()), 3)
}

// The waits between tries double up to a bound, each by chance a quarter shorter or longer.
func TestWaits(t *testing.T) {
	d := &delivery{finder: &finder{Options: Options{Backoff: time.Second}}}
	lost := transient{errors.New("lost")}
	for failed, about := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: min(16*time.Second, maxBackoff), 100: maxBackoff} {
		shortest, longest := time.Hour, time.Duration(0)
		for range 2000 {
			wait, again := d.again(lost, failed)
			require.True(t, again)
			shortest, longest = min(shortest, wait), max(longest, wait)
		}
		assert.InDelta(t, about*3/4, shortest, float64(about)/50)
		assert.InDelta(t, about*5/4, longest, float64(about)/50)
	}
	for _, c := range []struct {
		err   error
		again bool
		wait  time.Duration
	}{
		{errMixed, true, 0}, {errors.New("another"), false, 0}, {transient{&net.DNSError{IsNotFound: true}}, false, 0},
		{&statusError{code: 404}, false, 0}, {&statusError{code: 503, asked: true, after: maxRetryAfter}, true, maxRetryAfter}, {&statusError{code: 503, asked: true, after: maxRetryAfter + 1}, false, 0},
	} {
		wait, again := d.again(c.err, 1)
		assert.Equal(t, []any{c.again, c.wait}, []any{again, wait}, "%v", c.err)
	}
}

// TestUnknownSize has a server that ends a file by closing the connection: only a hash shows that it
// arrived whole. Chunks show it too.
func TestUnknownSize(t *testing.T) {
	closing := func(n int) func(w http.ResponseWriter, r *http.Request, _ int) {
		return func(w http.ResponseWriter, r *http.Request, _ int) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			_, _ = conn.Write(append([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), data[:n]...))
		}
	}
	chunked := func(w http.ResponseWriter, r *http.Request, _ int) {
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(data)
	}
	unknown := own(data)
	unknown.hash = ""
	for _, c := range []struct {
		name   string
		behave func(w http.ResponseWriter, r *http.Request, n int)
		file   candidate
		says   string
	}{
		{"whole, with a hash", closing(len(data)), own(data), ""},
		{"cut, with a hash", closing(1000), own(data), "the SHA-256 of w.pt begins with"},
		{"without a hash", closing(len(data)), unknown, "announces neither the size nor the hash of w.pt"},
		{"cut, without a hash", closing(1000), unknown, "announces neither the size nor the hash of w.pt"},
		{"chunks, without a hash", chunked, unknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			machine(t)
			s := serve(t, c.behave)
			t.Setenv("GOCLIP_MIRROR", s.URL)
			f, err := get(t, t.Context(), impatient(&notes{}), c.file)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			requireFile(t, f, data)
		})
	}
}
