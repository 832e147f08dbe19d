package pretrained

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// request asks for the bytes that the part lacks and appends them.
func (d *delivery) request(ctx context.Context) error {
	p := d.part
	if p.size > 0 && d.candidate.hash == "" && p.about.ETag == "" && p.about.Modified == "" && p.about.hash() == "" {
		if err := p.begin(about{Size: -1}); err != nil { // nothing would show that the next bytes are the same file's
			return err
		}
	}
	if p.size > 0 && p.size == p.about.Size {
		p.resumed = true
		return nil // all there: the last run stopped before it gave the file its name
	}
	w := newWatch(ctx, d.Stall)
	defer w.close()
	resp, linked, err := d.follow(w, p.size)
	if err != nil {
		return w.explain(err)
	}
	defer resp.Body.Close()
	got := about{ETag: strong(resp.Header.Get("ETag")), Modified: resp.Header.Get("Last-Modified"), Size: resp.ContentLength, SHA256: linked.SHA256, Git: linked.Git, Commit: linked.Commit}
	if got.hash() == "" && d.from.hub {
		got.identify(resp.Header.Get("ETag"))
	}
	switch resp.StatusCode {
	case http.StatusOK: // all of it: the server has no ranges, or the file is another one by now
		if err := d.announced(resp, &got, linked.Size); err != nil {
			return err
		}
		if err := p.begin(got); err != nil {
			return err
		}
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		if !p.continues(resp, got) {
			if err := p.begin(about{Size: -1}); err != nil {
				return err
			}
			return errMixed
		}
		p.resumed = true
		p.about.Commit = got.Commit
	default:
		return d.refused(resp)
	}
	return d.receive(resp.Body, w)
}

// announced checks what a server says of a whole file before its first byte is taken.
func (d *delivery) announced(resp *http.Response, got *about, linked int64) error {
	host := resp.Request.URL.Host
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return fmt.Errorf("%s sends %s in the encoding %s, which was not asked for", host, d.candidate.file, encoding)
	}
	switch {
	case linked > 0 && got.Size < 0:
		got.Size = linked
	case linked > 0 && got.Size != linked:
		return fmt.Errorf("%s announces %d bytes of %s and the hub %d", host, got.Size, d.candidate.file, linked)
	case got.Size < 0 && d.candidate.hash == "" && got.hash() == "" && resp.ProtoMajor == 1 && len(resp.TransferEncoding) == 0:
		return fmt.Errorf("%s announces neither the size nor the hash of %s: nothing would show that it arrived whole", host, d.candidate.file)
	}
	if got.Size > d.MaxBytes {
		return d.tooLarge()
	}
	return nil
}

// continues reports whether a partial answer starts where the part ends, with the same file.
func (p *part) continues(resp *http.Response, got about) bool {
	start, total := contentRange(resp.Header.Get("Content-Range"))
	return resp.StatusCode == http.StatusPartialContent && p.size > 0 && start == p.size &&
		(total < 0 || p.about.Size < 0 || total == p.about.Size) &&
		(got.ETag == "" || p.about.ETag == "" || got.ETag == p.about.ETag) && got.hash() == p.about.hash()
}

const maxRedirects = 8

// follow sends the request, from the byte offset on, and follows redirects itself: the hub's
// headers about a file stand on the first answer, and the token goes to no second host. It returns
// the last answer and what the hub said on the way.
func (d *delivery) follow(w *watch, offset int64) (*http.Response, about, error) {
	var linked about
	at := d.from.url
	for range maxRedirects + 1 {
		req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return nil, linked, err
		}
		req.Header.Set("User-Agent", "goclip")
		req.Header.Set("Accept-Encoding", "identity")
		if d.from.token != "" && at.Host == d.from.url.Host && at.Scheme == d.from.url.Scheme {
			req.Header.Set("Authorization", "Bearer "+d.from.token)
		}
		if user := at.User; user != nil {
			password, _ := user.Password()
			req.SetBasicAuth(user.Username(), password)
		}
		if offset > 0 {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
			if since := d.part.about.since(); since != "" {
				req.Header.Set("If-Range", since)
			}
		}
		resp, err := d.transport.RoundTrip(req)
		var certificate *tls.CertificateVerificationError
		if errors.As(err, &certificate) {
			return nil, linked, fmt.Errorf("%s: %w", at.Host, err)
		}
		if err != nil {
			return nil, linked, transient{fmt.Errorf("%s: %w", at.Host, err)}
		}
		if linked.Commit == "" && isGit(resp.Header.Get("X-Repo-Commit")) {
			linked.Commit = resp.Header.Get("X-Repo-Commit")
		}
		if tag := resp.Header.Get("X-Linked-ETag"); tag != "" && d.from.hub && linked.hash() == "" {
			linked.identify(tag)
			linked.Size, _ = strconv.ParseInt(resp.Header.Get("X-Linked-Size"), 10, 64)
		}
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return resp, linked, nil
		}
		resp.Body.Close()
		next, err := resp.Location()
		if err != nil {
			return nil, linked, fmt.Errorf("%s redirects to no address", at.Host)
		}
		if !secure(next) && !(onLoopback(next) && onLoopback(d.from.url)) {
			return nil, linked, fmt.Errorf("%s redirects to %s://%s; only https is followed", at.Host, next.Scheme, next.Host)
		}
		at = next
	}
	return nil, linked, fmt.Errorf("%s redirects more than %d times", d.from.url.Host, maxRedirects)
}

// since is what If-Range says: send the rest only if the file is still this one.
func (a about) since() string {
	if a.ETag != "" {
		return a.ETag
	}
	return a.Modified
}

// strong gives an entity tag that stands for the very bytes, or nothing (RFC 9110, section 8.8.1).
func strong(tag string) string {
	if strings.HasPrefix(tag, `"`) {
		return tag
	}
	return ""
}

// identify takes the hash that an entity tag of the hub is: a SHA-256 for large files, git's SHA-1
// for small ones.
func (a *about) identify(tag string) {
	switch sum := strings.Trim(strings.TrimPrefix(tag, "W/"), `"`); {
	case isSHA256(sum):
		a.SHA256 = sum
	case isGit(sum):
		a.Git = sum
	}
}

// contentRange reads "bytes 5-9/10": where the bytes start and how many the file has, -1 where it
// does not say.
func contentRange(s string) (start, total int64) {
	span, all, _ := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	first, _, _ := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		start = -1
	}
	if total, err = strconv.ParseInt(all, 10, 64); err != nil {
		total = -1
	}
	return start, total
}
