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
	gone  bool          // there is no such file, revision or repository
	asked bool          // the server said how long to wait:
	after time.Duration // that long
}

func (e *statusError) Error() string {
	says := fmt.Sprintf("%s answers %d %s%s", e.host, e.code, http.StatusText(e.code), e.hint)
	if e.after > maxRetryAfter {
		says += fmt.Sprintf(" and asks to come back in %s", e.after)
	}
	return says
}

// temporary reports whether the same request may succeed later.
func (e *statusError) temporary() bool {
	return e.code == http.StatusTooManyRequests || e.code == http.StatusRequestTimeout || e.code >= 500 && e.code != http.StatusNotImplemented
}

// missing reports whether this server does not have the file, or not for us.
func (e *statusError) missing() bool {
	return e.code == http.StatusNotFound || e.code == http.StatusGone || e.code == http.StatusForbidden || e.code == http.StatusUnauthorized
}

// Is has errors.Is tell what the server says it does not have.
func (e *statusError) Is(target error) bool {
	return e.gone && (target == fs.ErrNotExist || target == ErrNotFound)
}

// refused words a refusal. The hub tells in a header what it is that it does not have or does not
// give.
func (d *delivery) refused(resp *http.Response) error {
	c := d.candidate
	e := &statusError{code: resp.StatusCode, host: resp.Request.URL.Host}
	e.asked, e.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	e.gone = e.code == http.StatusNotFound || e.code == http.StatusGone
	if !e.missing() {
		return e
	}
	e.hint = " for " + c.file
	reason := resp.Header.Get("X-Error-Code")
	switch {
	case c.repo == "":
	case reason == "RepoNotFound":
		e.gone = true
		e.hint += fmt.Sprintf(": there is no repository %s; if it is a private one, set HF_TOKEN", c.repo)
	case reason == "RevisionNotFound":
		e.hint += fmt.Sprintf(": %s has no revision %s", c.repo, c.revision())
	case reason == "GatedRepo":
		e.hint += fmt.Sprintf(": %s is gated: accept its terms at %s/%s and set HF_TOKEN to a token of the account that did", c.repo, publicHub, c.repo)
	case !e.gone && d.from.token != "":
		e.hint += fmt.Sprintf(" (the account of the token that was sent may not read %s)", c.repo)
	case !e.gone:
		e.hint += fmt.Sprintf(" (if %s is private or gated, set HF_TOKEN)", c.repo)
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
