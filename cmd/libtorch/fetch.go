package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// cachePath is the directory of downloads.
func cachePath() string {
	dir := os.Getenv("XDG_CACHE_HOME")
	if dir == "" {
		home := os.Getenv("HOME")
		if home == "" {
			home = "/tmp"
		}
		dir = filepath.Join(home, ".cache")
	}
	return filepath.Join(dir, "goclip")
}

// openCache makes the directory of downloads and locks it: two installs at once would write one
// part file.
func (c *console) openCache(ctx context.Context, dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil || !writable(dir) {
		return nil, fmt.Errorf("%s cannot be written; choose another place with XDG_CACHE_HOME", dir)
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o644))
	locked, err := lock.TryLock()
	if err == nil && !locked {
		c.say("another install is fetching into %s; waiting for it", dir)
		_, err = lock.TryLockContext(ctx, time.Second)
	}
	return lock.Unlock, err
}

// source is where wheels come from: a directory or address (GOCLIP_WHEELS), or a package index,
// opened when a wheel is first asked for.
type source struct {
	*console
	cache, wheels string
	index         *pipIndex
}

// fetch gives a file whose sum is right: of GOCLIP_WHEELS, of the cache, or downloaded into it.
func (s *source) fetch(ctx context.Context, w wheel) (string, error) {
	if isDir(s.wheels) {
		file := filepath.Join(s.wheels, w.file)
		sum, err := sha256File(file)
		if errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("GOCLIP_WHEELS: %s has no %s", s.wheels, w.file)
		}
		if err == nil && sum != w.sum {
			err = fmt.Errorf("%s: its SHA-256 is %s, not %s; download it again", file, sum, w.sum)
		}
		return file, err
	}
	file := filepath.Join(s.cache, w.file)
	if sum, err := sha256File(file); err == nil {
		if sum == w.sum {
			return file, nil
		}
		if err := os.Remove(file); err != nil {
			return "", err
		}
		s.warn("%s was damaged; fetching it again", file)
	}
	address, authority := strings.TrimSuffix(s.wheels, "/")+"/"+w.file, ""
	if s.wheels == "" {
		var err error
		if s.index == nil {
			if s.index, err = s.openIndex(ctx, s.cache); err != nil {
				return "", err
			}
		}
		if address, err = s.index.find(ctx, w); err != nil {
			return "", err
		}
		authority = s.index.authority
	}
	client, err := newClient(authority)
	if err != nil {
		return "", err
	}
	s.say("fetching %s (%d MB)", w.file, w.bytes/1e6)
	return file, s.download(ctx, client, address, file, w.sum)
}

// newClient trusts whom pip trusts, and gives up on a server that does not answer.
func newClient(authority string) (*http.Client, error) {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 20 * time.Second}).DialContext,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: stall,
	}
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, fmt.Errorf("the certificates that pip is configured for: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		roots.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{Transport: transport}, nil
}

// stall is how long a server may send nothing.
const stall = 60 * time.Second

var (
	errRefused    = errors.New("the server refuses it")
	errNotWritten = errors.New("cannot be written")
)

// download fetches a file whose SHA-256 is sum, unless that is "", and continues where an earlier
// run stopped. A connection that breaks is taken up again as long as each try brings bytes.
func (c *console) download(ctx context.Context, client *http.Client, address, file, sum string) error {
	part := file + ".part"
	for failed, begunAgain := 0, false; ; {
		before := sizeOf(part)
		err := c.transfer(ctx, client, address, part)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNotWritten):
			return fmt.Errorf("%s %w; free some space in %s, or choose another place with XDG_CACHE_HOME", part, err, filepath.Dir(part))
		case err != nil && !errors.Is(err, errRefused):
			if failed++; sizeOf(part) > before {
				failed = 0
			}
			if failed == 2 {
				return fmt.Errorf("%s cannot be fetched: check the network; what came is kept, and the next run continues it: %w", redacted(address), err)
			}
			continue
		}
		// All came, or the server refuses to continue: the part may be whole, or not of this file.
		got, _ := sha256File(part)
		if got == sum || sum == "" && err == nil {
			return os.Rename(part, file)
		}
		if removed := os.Remove(part); removed != nil && !errors.Is(removed, os.ErrNotExist) {
			return removed
		}
		switch {
		case before > 0 && !begunAgain:
			begunAgain = true
		case err == nil:
			return fmt.Errorf("%s: its SHA-256 is %s, not %s; the file was deleted. Try again, and if it persists, check the package index", filepath.Base(file), got, sum)
		default:
			return fmt.Errorf("%s cannot be fetched: %w; get it elsewhere, and name its directory in GOCLIP_WHEELS", redacted(address), err)
		}
	}
}

// transfer appends to part what the server has beyond it.
func (c *console) transfer(ctx context.Context, client *http.Client, address, part string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	start := sizeOf(part)
	if start > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", start))
	}
	if user, password, ok := netrc(request.URL.Hostname()); ok && request.URL.User == nil {
		request.SetBasicAuth(user, password)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 400 {
		return fmt.Errorf("%w (%s)", errRefused, response.Status)
	}
	mode := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if response.StatusCode != http.StatusPartialContent { // it sends all, from the beginning
		mode, start = mode|os.O_TRUNC, 0
	}
	file, err := os.OpenFile(part, mode, 0o644)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	watchdog := time.AfterFunc(stall, cancel)
	defer watchdog.Stop()
	out := io.MultiWriter(partWriter{file, watchdog}, c.progress(filepath.Base(part), start, response.ContentLength))
	_, err = io.Copy(out, response.Body)
	if closed := file.Close(); err == nil && closed != nil {
		err = fmt.Errorf("%w: %w", errNotWritten, closed)
	}
	return err
}

// partWriter tells an error of the disk from one of the network, and keeps the watchdog quiet while
// bytes come.
type partWriter struct {
	file     *os.File
	watchdog *time.Timer
}

func (w partWriter) Write(b []byte) (int, error) {
	w.watchdog.Reset(stall)
	n, err := w.file.Write(b)
	if err != nil {
		err = fmt.Errorf("%w: %w", errNotWritten, err)
	}
	return n, err
}

// progress is a bar on a terminal, and nothing elsewhere.
func (c *console) progress(name string, start, length int64) io.Writer {
	if file, ok := c.err.(*os.File); !ok || length <= 0 || !term.IsTerminal(int(file.Fd())) {
		return io.Discard
	}
	bar := progressbar.DefaultBytes(start+length, strings.TrimSuffix(name, ".part"))
	_ = bar.Set64(start)
	return bar
}

// netrc looks up a host in the user's .netrc, as curl and pip do.
func netrc(host string) (user, password string, ok bool) {
	path := os.Getenv("NETRC")
	if path == "" {
		path = filepath.Join(os.Getenv("HOME"), ".netrc")
	}
	text, _ := os.ReadFile(path)
	words := strings.Fields(string(text))
	for i := 0; i < len(words); i++ {
		switch word := words[i]; {
		case (word == "machine" || word == "default") && ok:
			return user, password, true
		case word == "default":
			ok = true
		case i+1 < len(words) && (word == "machine" || word == "login" || word == "password"):
			i++
			switch {
			case word == "machine":
				ok = words[i] == host
			case ok && word == "login":
				user = words[i]
			case ok:
				password = words[i]
			}
		}
	}
	return user, password, ok
}

// redacted is an address without its user's password.
func redacted(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return address
	}
	parsed.User = nil
	return parsed.String()
}

func sha256File(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), err
}

// sizeOf is the size of a file, 0 if it is not there.
func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
