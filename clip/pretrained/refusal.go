package pretrained

import (
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"time"
)

// statusError is a server's refusal.
type statusError struct {
	code  int
	host  string
	hint  string
	asked bool          // the server said how long to wait:
	after time.Duration // that long
}

func (e *statusError) Error() string {
	says := fmt.Sprintf("%s answers %d %s%s", e.host, e.code, http.StatusText(e.code), e.hint)
	if e.after > longestAsked {
		says += fmt.Sprintf(" and asks to come back in %s", e.after)
	}
	return says
}

// temporary tells whether the same request may succeed later.
func (e *statusError) temporary() bool {
	return e.code == http.StatusTooManyRequests || e.code == http.StatusRequestTimeout || e.code >= 500 && e.code != http.StatusNotImplemented
}

// missing tells whether this server does not have the file, or not for us.
func (e *statusError) missing() bool {
	return e.code == http.StatusNotFound || e.code == http.StatusGone || e.code == http.StatusForbidden || e.code == http.StatusUnauthorized
}

// Is has errors.Is(err, fs.ErrNotExist) tell a file that the server says it does not have.
func (e *statusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.code == http.StatusNotFound || e.code == http.StatusGone)
}

func refused(resp *http.Response, c candidate) error {
	e := &statusError{code: resp.StatusCode, host: resp.Request.URL.Host}
	e.asked, e.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	switch {
	case e.code == http.StatusUnauthorized, e.code == http.StatusForbidden:
		e.hint = " for " + c.file
		if c.repo != "" {
			e.hint += fmt.Sprintf(" (if %s is private or gated, set HF_TOKEN)", c.repo)
		}
	case e.missing():
		e.hint = " for " + c.file
	}
	return e
}

// retryAfter reads the header's two forms: seconds, or a date.
func retryAfter(s string, now time.Time) (bool, time.Duration) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return true, time.Duration(min(n, 1<<30)) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return true, max(0, at.Sub(now).Round(time.Second))
	}
	return false, 0
}
