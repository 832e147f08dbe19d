package serve

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Sites that are named may ask from a browser, which asks first whether it may.
func TestCORS(t *testing.T) {
	_, at := start(t, Options{Origins: []string{"https://photos.example"}})
	preflight := func(origin string) (int, http.Header) {
		r, err := http.NewRequest(http.MethodOptions, at+"/v1/embeddings", nil)
		require.NoError(t, err)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-stainless-os")
		code, header, _ := do(t, r)
		return code, header
	}
	code, header := preflight("https://photos.example")
	assert.Equal(t, 204, code)
	assert.Equal(t, "https://photos.example", header.Get("Access-Control-Allow-Origin"))
	assert.Contains(t, header.Get("Access-Control-Allow-Headers"), "x-stainless-os")
	assert.Contains(t, header.Get("Access-Control-Allow-Methods"), "POST")
	code, header, _ = post(t, at+"/v1/embeddings", object{"input": "a"}, "Origin", "https://photos.example", "Sec-Fetch-Site", "cross-site")
	assert.Equal(t, 200, code)
	assert.Equal(t, "https://photos.example", header.Get("Access-Control-Allow-Origin"))

	code, header = preflight("https://evil.example")
	assert.Equal(t, 405, code)
	assert.Empty(t, header.Get("Access-Control-Allow-Origin"))
	code, header, _ = post(t, at+"/v1/embeddings", object{"input": "a"}, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
	assert.Equal(t, 403, code)
	assert.Empty(t, header.Get("Access-Control-Allow-Origin"))

	_, at = start(t, Options{Origins: []string{"*"}})
	code, header, _ = post(t, at+"/v1/embeddings", object{"input": "a"}, "Origin", "https://any.example", "Sec-Fetch-Site", "cross-site")
	assert.Equal(t, 200, code)
	assert.Equal(t, "https://any.example", header.Get("Access-Control-Allow-Origin"))
}

// What a proxy says of the client is believed only of a proxy that is trusted.
func TestForwarded(t *testing.T) {
	s, _ := start(t, Options{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for _, c := range []struct {
		peer, host, addresses string
		is, from              string
		trusted               bool
	}{
		{"10.1.2.3:99", "photos.example", "192.0.2.7", "photos.example", "192.0.2.7", true},
		{"10.1.2.3:99", "photos.example, inner", "6.6.6.6, 192.0.2.7, 10.9.9.9", "photos.example", "192.0.2.7", true},
		{"[::ffff:10.1.2.3]:99", "", "", "goclip", "[::ffff:10.1.2.3]:99", true},
		{"@", "photos.example", "192.0.2.7", "photos.example", "192.0.2.7", true},
		{"192.0.2.1:99", "photos.example", "6.6.6.6", "goclip", "192.0.2.1:99", false},
	} {
		r := &http.Request{Host: "goclip", RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-Host": {c.host}, "X-Forwarded-For": {c.addresses}}}
		was, trusted := s.forwarded(r)
		assert.Equal(t, c.trusted, trusted, c.peer)
		assert.Equal(t, []string{c.is, c.from}, []string{was.Host, was.RemoteAddr}, c.peer)
	}
}

// Below a path of its own everything is as at the root.
func TestBasePath(t *testing.T) {
	_, at := start(t, Options{BasePath: "/clip/"})
	for _, path := range []string{"/clip", "/clip/", "/clip/healthz", "/healthz", "/clip/v1/models/emoji-64"} {
		code, _, body := get(t, at+path)
		assert.Equal(t, 200, code, path)
		assert.NotEmpty(t, body)
	}
	code, _, _ := get(t, at+"/clipper")
	assert.Equal(t, 404, code)
	_, err := New(t.Context(), Options{BasePath: "clip"}, Loaded(model(t)))
	assert.ErrorContains(t, err, "must begin with a slash")
}

// A page of another site has a browser ask, by a name of its own or across origins.
func TestOtherSites(t *testing.T) {
	_, at := start(t, Options{Hosts: []string{"localhost"}})
	for host, want := range map[string]int{"localhost:8080": 200, "LOCALHOST": 200, "127.0.0.1:1": 200, "[::1]:8080": 200, "evil.example": 403, "localhost.evil.example:80": 403} {
		r, err := http.NewRequest(http.MethodGet, at+"/healthz", nil)
		require.NoError(t, err)
		r.Host = host
		code, _, _ := do(t, r)
		assert.Equal(t, want, code, host)
	}
	code, header, _ := post(t, at+"/v1/embeddings", object{"input": "a"}, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
	assert.Equal(t, 403, code)
	assert.Empty(t, header.Get("Access-Control-Allow-Origin"))
	code, _, _ = post(t, at+"/v1/embeddings", object{"input": "a"}, "Origin", at, "Sec-Fetch-Site", "same-origin")
	assert.Equal(t, 200, code)
}
