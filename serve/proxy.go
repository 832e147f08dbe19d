package serve

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// middleware is what holds of every request, also of those that no route takes.
func (s *Server) middleware(next http.Handler) http.Handler {
	next = s.underBase(next)
	// A page on another site may not make a browser ask this server: the browser tells where a request
	// comes from.
	sites := http.NewCrossOriginProtection()
	sites.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		dialect(asOpenAI).write(w, refuse(http.StatusForbidden, "origin_not_allowed", "", "requests from a page of another site are not answered; its operator can allow the site"))
	}))
	protected := sites.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
		if s.draining.Load() {
			h.Set("Connection", "close")
		}
		r, proxied := s.forwarded(r)
		if !proxied && !s.hosted(r.Host) {
			dialect(asOpenAI).write(w, refuse(http.StatusForbidden, "host_not_allowed", "", "this server does not answer to that name; its operator lists those that it answers to"))
			return
		}
		allowed := s.allowedOrigin(w, r)
		switch {
		case allowed && r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "":
			h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
			h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
			h.Set("Access-Control-Max-Age", "7200")
			w.WriteHeader(http.StatusNoContent)
		case allowed, ownPage(r):
			next.ServeHTTP(w, r)
		default:
			protected.ServeHTTP(w, r)
		}
	})
}

// underBase serves the same below Options.BasePath: a proxy may take the prefix away or leave it.
func (s *Server) underBase(next http.Handler) http.Handler {
	if s.base == "" {
		return next
	}
	stripped := http.StripPrefix(s.base, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == s.base:
			http.Redirect(w, r, s.base+"/", http.StatusPermanentRedirect)
		case strings.HasPrefix(r.URL.Path, s.base+"/"):
			stripped.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// forwarded is the request as the proxy got it, if it comes from one that is trusted. Who can
// connect to a unix socket may read and write its file, and is.
func (s *Server) forwarded(r *http.Request) (*http.Request, bool) {
	if !s.trusts(r.RemoteAddr) {
		return r, false
	}
	was := *r
	if host := first(r.Header.Get("X-Forwarded-Host")); host != "" {
		was.Host = host
	}
	// Each proxy adds the address that it was asked from: the last that is not a proxy's is the client's.
	list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, address := range slices.Backward(list) {
		if address = strings.TrimSpace(address); address == "" {
			break
		}
		if was.RemoteAddr = address; !s.trusts(address) {
			break
		}
	}
	return &was, true
}

func first(list string) string {
	head, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(head)
}

func (s *Server) trusts(address string) bool {
	if address == "@" || address == "" { // of a unix socket
		return true
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	ip, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
}

// hosted is whether the Host header names this server. Addresses always do: no web page gets one by
// a name of its own.
func (s *Server) hosted(host string) bool {
	if s.hosts == nil {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return true
	}
	return slices.ContainsFunc(s.hosts, func(known string) bool { return strings.EqualFold(known, host) })
}

// allowedOrigin is whether the request comes from a page of a site that may ask, and tells the
// browser so.
func (s *Server) allowedOrigin(w http.ResponseWriter, r *http.Request) bool {
	if len(s.origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(s.origins, "*") && !slices.Contains(s.origins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
	return true
}

// ownPage is whether the request is of this server's page, by the header that it sends. A page of
// another site cannot send one without asking first, which is refused. Behind a proxy that sends a
// Host of its own, nothing else tells; a browser that says where a request comes from is believed.
func ownPage(r *http.Request) bool {
	return r.Header.Get("X-Goclip-Page") != "" && r.Header.Get("Sec-Fetch-Site") == ""
}
