package pretrained

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// action is what the storage asks for.
type action struct {
	Href   string         `json:"href"`
	Header map[string]any `json:"header"`
}

// store sends the large files that the storage lacks, by git LFS's batch API (git-lfs,
// docs/api/batch.md) and the hub's parts (huggingface_hub/lfs.py).
func (p *push) store(ctx context.Context) error {
	type object struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	}
	ask := struct {
		Operation string   `json:"operation"`
		Transfers []string `json:"transfers"`
		Objects   []object `json:"objects"`
		Hash      string   `json:"hash_algo"`
	}{"upload", []string{"basic", "multipart"}, nil, "sha256"}
	bySum := map[string]*upload{}
	for _, u := range p.uploads {
		if u.large && bySum[u.sum] == nil {
			bySum[u.sum] = u
			ask.Objects = append(ask.Objects, object{u.sum, u.size})
		}
	}
	if len(bySum) == 0 {
		return nil
	}
	var answer struct {
		Objects []struct {
			OID     string `json:"oid"`
			Actions *struct {
				Upload *action `json:"upload"`
				Verify *action `json:"verify"`
			} `json:"actions"`
			Error *struct {
				Message string `json:"message"`
			} `json:"error"`
		} `json:"objects"`
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	if err := p.send(ctx, http.MethodPost, p.hub.JoinPath(p.repo+".git", "info", "lfs", "objects", "batch"), lfsType, body, &answer); err != nil {
		return err
	}
	for _, o := range answer.Objects {
		u := bySum[o.OID]
		switch {
		case u == nil:
			return fmt.Errorf("%s speaks of a file that was not named, %s", p.hub.Host, o.OID)
		case o.Error != nil:
			return fmt.Errorf("%s: %s", u.Name, o.Error.Message)
		}
		delete(bySum, o.OID)
		if o.Actions == nil || o.Actions.Upload == nil {
			p.Log(u.Name + ": is on the hub already")
			continue
		}
		p.Log(fmt.Sprintf("%s: sending %d bytes", u.Name, u.size))
		if err := p.put(ctx, u, o.Actions.Upload); err != nil {
			return fmt.Errorf("%s: %w", u.Name, err)
		}
		if o.Actions.Verify != nil {
			at, err := p.within(o.Actions.Verify.Href)
			if err == nil {
				err = p.call(ctx, at, object{u.sum, u.size}, nil)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", u.Name, err)
			}
		}
	}
	for _, u := range bySum {
		return fmt.Errorf("%s does not say where to send %s", p.hub.Host, u.Name)
	}
	return nil
}

const lfsType = "application/vnd.git-lfs+json"

// put sends a file, whole or in the parts that the storage asks for.
func (p *push) put(ctx context.Context, u *upload, to *action) error {
	at, err := p.within(to.Href)
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(fmt.Sprint(to.Header["chunk_size"]), 10, 64)
	if to.Header["chunk_size"] == nil {
		_, err := p.putPart(ctx, u, at, 0, u.size)
		return err
	}
	var numbers []int
	for key := range to.Header {
		if n, err := strconv.Atoi(key); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	if err != nil || size < 1 || int64(len(numbers)) != (u.size+size-1)/size {
		return fmt.Errorf("%s asks for %d parts of %v bytes of a file of %d", at.Host, len(numbers), to.Header["chunk_size"], u.size)
	}
	type part struct {
		Number int    `json:"partNumber"`
		ETag   string `json:"etag"`
	}
	done := struct {
		OID   string `json:"oid"`
		Parts []part `json:"parts"`
	}{OID: u.sum}
	for i, n := range numbers {
		to, err := p.within(fmt.Sprint(to.Header[partKey(to.Header, n)]))
		if err != nil {
			return err
		}
		from := int64(i) * size
		tag, err := p.putPart(ctx, u, to, from, min(size, u.size-from))
		if err != nil {
			return err
		}
		if tag == "" {
			return fmt.Errorf("%s has no tag for part %d", to.Host, n)
		}
		done.Parts = append(done.Parts, part{i + 1, tag})
	}
	body, err := json.Marshal(done)
	if err != nil {
		return err
	}
	return p.send(ctx, http.MethodPost, at, lfsType, body, nil)
}

// partKey is the key of part n, which may have zeros in front.
func partKey(header map[string]any, n int) string {
	for key := range header {
		if m, err := strconv.Atoi(key); err == nil && m == n {
			return key
		}
	}
	return ""
}

// within is an address that the hub named: https, or on this machine if the hub is.
func (p *push) within(href string) (*url.URL, error) {
	u, err := url.Parse(href)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%s names an address that is not a URL", p.hub.Host)
	}
	if !secure(u) && !(onLoopback(u) && onLoopback(p.hub)) {
		return nil, fmt.Errorf("%s names %s://%s; only https is followed", p.hub.Host, u.Scheme, u.Host)
	}
	return u, nil
}

// redirect follows a server to https alone, or on this machine. net/http sends the token to no other
// host.
func (p *push) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	}
	_, err := p.within(req.URL.String())
	return err
}

// putPart sends n bytes of a file and gives their tag. The token does not go to the storage, whose
// addresses are signed.
func (p *push) putPart(ctx context.Context, u *upload, to *url.URL, from, n int64) (tag string, err error) {
	err = p.retry(ctx, func() error {
		f, err := u.open()
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), io.LimitReader(f, n))
		if err != nil {
			return err
		}
		req.ContentLength = n
		req.Header.Set("User-Agent", "goclip")
		resp, err := p.client.Do(req)
		if err != nil {
			return transient{hostOnly(err, to)}
		}
		defer resp.Body.Close()
		tag = resp.Header.Get("ETag")
		return refusedPush(resp)
	})
	return tag, err
}

// hostOnly is an error without the address, whose query is a signature.
func hostOnly(err error, at *url.URL) error {
	var address *url.Error
	if errors.As(err, &address) {
		err = address.Err
	}
	return fmt.Errorf("%s: %w", at.Host, err)
}

// call posts JSON with the token and reads JSON.
func (p *push) call(ctx context.Context, at *url.URL, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	return p.send(ctx, http.MethodPost, at, "application/json", body, answer)
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 4 << 20

// send sends a body, with the token if the address is the hub's, and reads JSON unless answer is nil.
func (p *push) send(ctx context.Context, method string, at *url.URL, kind string, body []byte, answer any) error {
	return p.retry(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "goclip")
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Accept", kind)
		if kind == "application/x-ndjson" {
			req.Header.Set("Accept", "application/json")
		}
		if at.Host == p.hub.Host && at.Scheme == p.hub.Scheme {
			req.Header.Set("Authorization", "Bearer "+p.token)
		}
		resp, err := p.client.Do(req)
		if err != nil {
			return transient{hostOnly(err, at)}
		}
		defer resp.Body.Close()
		if err := refusedPush(resp); err != nil || answer == nil {
			return err
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(answer); err != nil {
			return fmt.Errorf("%s answers what is not JSON: %w", at.Host, err)
		}
		return nil
	})
}

// pushError is a refusal with the reason that the hub gives.
type pushError struct {
	code       int
	host, says string
}

func (e *pushError) Error() string {
	text := fmt.Sprintf("%s answers %d %s", e.host, e.code, http.StatusText(e.code))
	if e.says != "" {
		text += ": " + e.says
	}
	switch e.code {
	case http.StatusUnauthorized:
		text += "; the token is not valid"
	case http.StatusForbidden:
		text += "; the token must be allowed to write to this repository"
	}
	return text
}

// refusedPush is nil for an answer of 200 to 299.
func refusedPush(resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	e := &pushError{code: resp.StatusCode, host: resp.Request.URL.Host}
	var reason struct {
		Error string `json:"error"`
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // a reason that cannot be read is none
	if json.Unmarshal(text, &reason) == nil {
		e.says = strings.ToValidUTF8(reason.Error, "?")
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return transient{e}
	}
	return e
}

// pushTries is how often a request is sent.
const pushTries = 5

// retry repeats what may succeed later.
func (p *push) retry(ctx context.Context, try func() error) error {
	wait := p.Retry
	for n := 1; ; n++ {
		err := try()
		var again transient
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.As(err, &again) || n == pushTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait *= 2
	}
}
