package serve

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkRefused is a request of 39 KB, the mean of make load, to a server whose queue is full, and
// to a bare handler of net/http that answers as much without a look at the request: what a refusal can
// cost at least.
func BenchmarkRefused(b *testing.B) {
	s, full := start(b, Options{Limits: Limits{Queue: 1}})
	require.Nil(b, s.admission.enter(s.admission.paces[0], 1))
	defer s.admission.leave(s.admission.paces[0])
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "133")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, strings.Repeat("x", 133))
	}))
	defer bare.Close()
	for name, at := range map[string]string{"serve": full, "net/http": bare.URL} {
		b.Run(name, func(b *testing.B) {
			host := strings.TrimPrefix(at, "http://")
			body := `{"encoding_format":"base64","input":{"image":"` + strings.Repeat("A", 39_000) + `"}}`
			request := fmt.Appendf(nil, "POST /v1/embeddings HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", host, len(body), body)
			c, err := net.Dial("tcp", host)
			require.NoError(b, err)
			defer c.Close()
			from := bufio.NewReader(c)
			for b.Loop() {
				_, err := io.Copy(c, bytes.NewReader(request))
				require.NoError(b, err)
				answer, err := http.ReadResponse(from, nil)
				require.NoError(b, err)
				_, err = io.Copy(io.Discard, answer.Body)
				require.NoError(b, err)
				require.Equal(b, http.StatusTooManyRequests, answer.StatusCode)
			}
		})
	}
}
