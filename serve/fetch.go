package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// fetcher gets images by address, when the server's owner allows it. A client that may name an address
// may try to make this server speak to what only it can reach. So each connection, also of a
// redirect, resolves its name once, refuses it if any of its addresses is not a global one, and
// dials the very address that was checked.
type fetcher struct {
	client   *http.Client
	resolver *net.Resolver
	global   func(netip.Addr) bool
	most     int64 // bytes of an image
	slots    chan struct{}
}

// Of a fetch: its time, the redirects that are followed, and how many run at a time.
const (
	fetchTime      = 10 * time.Second
	fetchRedirects = 3
	fetchesAtOnce  = 16
)

var errNotGlobal = refuse(http.StatusForbidden, "fetch_refused", "", "the address is not one on the public internet")

func newFetcher(limits Limits) *fetcher {
	f := &fetcher{resolver: net.DefaultResolver, global: isGlobal, most: limits.Body, slots: make(chan struct{}, fetchesAtOnce)}
	f.client = &http.Client{
		Timeout: fetchTime,
		Transport: &http.Transport{ // no Proxy: it would dial for us
			DialContext: f.dial, DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 5 * time.Second,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > fetchRedirects {
				return refuse(http.StatusUnprocessableEntity, "fetch_failed", "", fmt.Sprintf("the address redirects more than %d times", fetchRedirects))
			}
			return f.check(r.URL)
		},
	}
	return f
}

// fetch reads the image at an address; held has its bytes.
func (s *Server) fetch(ctx context.Context, address string, held *bodies) ([]byte, error) {
	if s.fetcher == nil {
		return nil, refuse(http.StatusForbidden, "fetch_disabled", "", "this server fetches no addresses; send the image itself, as a data URI or base64")
	}
	select {
	case s.fetcher.slots <- struct{}{}:
		defer func() { <-s.fetcher.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return s.fetcher.get(ctx, address, s.admission, held)
}

func (f *fetcher) get(ctx context.Context, address string, a *admission, held *bodies) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || len(address) > 4096 {
		return nil, refuse(http.StatusUnprocessableEntity, "fetch_failed", "", "the image's address is not a URL")
	}
	if err := f.check(u); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, refuse(http.StatusUnprocessableEntity, "fetch_failed", "", "the image's address is not a URL")
	}
	r.Header.Set("Accept", "image/*")
	r.Header.Set("User-Agent", "goclip")
	answer, err := f.client.Do(r)
	if err != nil {
		return nil, fetchProblem(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, refuse(http.StatusUnprocessableEntity, "fetch_failed", "", fmt.Sprintf("the image's server answered %d", answer.StatusCode))
	}
	data, err := held.read(http.MaxBytesReader(nil, answer.Body, f.most), answer.ContentLength, a)
	var p *problem
	switch {
	case errors.As(err, &p) && p.status == http.StatusRequestEntityTooLarge:
		return nil, refuse(p.status, "image_too_large", "", fmt.Sprintf("the fetched image has more than %d bytes", f.most))
	case errors.As(err, &p) && p.status == http.StatusTooManyRequests:
		return nil, p
	case err != nil:
		return nil, fetchProblem(err)
	case len(data) == 0:
		return nil, refuse(http.StatusUnprocessableEntity, "fetch_failed", "", "the fetched image is empty")
	}
	return data, nil
}

// fetchProblem tells no more than the client needs: what lies behind an address is not its
// business.
func fetchProblem(err error) error {
	var p *problem
	if errors.As(err, &p) && p.code == "fetch_refused" {
		return p
	}
	return refuse(http.StatusUnprocessableEntity, "fetch_failed", "", "the image could not be fetched")
}

// check refuses what needs no resolving: other schemes, credentials, and hosts that only some
// resolvers read as an address (0177.0.0.1, 2130706433, 0x7f.1), which is how a check and a
// connection come to disagree.
func (f *fetcher) check(u *url.URL) error {
	host := u.Hostname()
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Opaque != "":
		return refuse(http.StatusForbidden, "fetch_refused", "", "images are fetched by http and https alone")
	case u.User != nil:
		return refuse(http.StatusForbidden, "fetch_refused", "", "an address with credentials is not fetched")
	case host == "", strings.ContainsAny(host, "%\\ \t\r\n\x00"):
		return errNotGlobal
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if !f.global(ip) {
			return errNotGlobal
		}
		return nil
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "" || (last[0] >= '0' && last[0] <= '9') || !strings.Contains(name, ".") {
		return errNotGlobal // a number, or a name that only this network knows
	}
	for _, suffix := range []string{".localhost", ".local", ".internal", ".home.arpa", ".lan", ".intranet", ".corp", ".onion"} {
		if strings.HasSuffix(name, suffix) {
			return errNotGlobal
		}
	}
	return nil
}

// dial resolves the host of address once, refuses it unless all it stands for is global, and
// connects to that.
func (f *fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var ips []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = f.resolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, errNotGlobal
	}
	for _, ip := range ips {
		if !f.global(ip) {
			return nil, errNotGlobal
		}
	}
	d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address) // what the kernel is about to be given
		if err != nil || !f.global(to.Addr()) {
			return errNotGlobal
		}
		return nil
	}}
	var failure error
	for _, ip := range ips[:min(len(ips), 3)] {
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), port))
		if err == nil {
			return conn, nil
		}
		failure = err
	}
	return nil, failure
}

// public refuses the networks of IANA's special-purpose registries, and of IPv6 all but 2000::/3.
// Any port is allowed; dial chooses the network.
var public = ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork())

// isGlobal is whether an address is one of the public internet. IPv4 inside IPv6 is not, whatever
// it is.
func isGlobal(ip netip.Addr) bool { return ip.IsValid() && public.SafeAddr(ip) == nil }
