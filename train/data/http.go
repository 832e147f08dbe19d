package data

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// openURL is an object of a web server. The rest of one that was read in part is asked for by a
// range of the same version; a server without ranges sends it all again.
func openURL(url string) opener {
	return func(ctx context.Context, from int64, tag string) (content, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return content{}, permanent{err}
		}
		request.Header.Set("Accept-Encoding", "identity") // the object's bytes, which ranges count
		if from > 0 {
			request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
			if tag != "" {
				request.Header.Set("If-Range", tag)
			}
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return content{}, err
		}
		fault := func(err error) (content, error) {
			answer.Body.Close()
			return content{}, err
		}
		c := content{ReadCloser: answer.Body, size: answer.ContentLength, tag: versionOf(answer.Header)}
		switch code := answer.StatusCode; {
		case code == http.StatusPartialContent:
			first, size, err := contentRange(answer.Header.Get("Content-Range"))
			if err != nil || first != from {
				return fault(permanent{fmt.Errorf("%s: asked for byte %d on, it answers with the range %q", url, from, answer.Header.Get("Content-Range"))})
			}
			c.size = size
		case code == http.StatusOK:
			if tag != c.tag && from > 0 {
				return fault(permanent{fmt.Errorf("%s has changed while it was read", url)})
			}
			if err := skip(answer.Body, from); err != nil {
				return content{}, err
			}
		case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
			return fault(fmt.Errorf("%s: %s", url, answer.Status))
		default:
			return fault(permanent{fmt.Errorf("%s: %s", url, answer.Status)})
		}
		return c, nil
	}
}

// versionOf is what If-Range takes: a strong tag, or the time of the last change.
func versionOf(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRange reads "bytes 100-199/200"; the size is -1 for "*".
func contentRange(text string) (first, size int64, err error) {
	rest, ok := strings.CutPrefix(text, "bytes ")
	span, total, cut := strings.Cut(rest, "/")
	from, _, dash := strings.Cut(span, "-")
	if !ok || !cut || !dash {
		return 0, 0, io.ErrUnexpectedEOF
	}
	if first, err = strconv.ParseInt(from, 10, 64); err != nil {
		return 0, 0, err
	}
	if total == "*" {
		return first, -1, nil
	}
	size, err = strconv.ParseInt(total, 10, 64)
	return first, size, err
}
