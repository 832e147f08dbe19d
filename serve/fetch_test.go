package serve

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// canary is a server on loopback that counts who comes and what they send.
type canary struct {
	port        string
	connections atomic.Int64
	bytes       atomic.Int64
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	c := &canary{port: port}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.connections.Add(1)
			go func() {
				defer conn.Close()
				buffer := make([]byte, 4096)
				for {
					n, err := conn.Read(buffer)
					c.bytes.Add(int64(n))
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	return c
}

// nameServer is a DNS server on loopback. answer gives the addresses of a name, by the number of
// the question.
func nameServer(t *testing.T, answer func(name string, question int64) []netip.Addr) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { socket.Close() })
	var questions atomic.Int64
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply := dnsReply(buffer[:n], func(name string) []netip.Addr { return answer(name, questions.Add(1)) }); reply != nil {
				_, _ = socket.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

// dnsReply answers one question of type A or AAAA (RFC 1035, section 4).
func dnsReply(q []byte, answer func(name string) []netip.Addr) []byte {
	at := 12
	var labels []string
	for at < len(q) && q[at] != 0 {
		n := int(q[at])
		if at+1+n > len(q) {
			return nil
		}
		labels = append(labels, string(q[at+1:at+1+n]))
		at += 1 + n
	}
	if at+5 > len(q) {
		return nil
	}
	kind := binary.BigEndian.Uint16(q[at+1:])
	out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:at+5]...)
	for _, ip := range answer(strings.Join(labels, ".")) {
		if ip.Is4() != (kind == 1) || ip.Is6() != (kind == 28) {
			continue
		}
		data := ip.AsSlice()
		out = append(out, 0xc0, 12)
		out = binary.BigEndian.AppendUint16(out, kind)
		out = append(out, 0, 1, 0, 0, 0, 0)
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
		out[7]++
	}
	return out
}

// Addresses that must reach nothing: P is the canary's port. Names under .test are resolved by the
// name server of TestFetchReachesNothing.
var forbidden = []string{
	// loopback and its spellings
	"http://127.0.0.1:P/", "http://127.0.0.2:P/", "http://127.255.255.254:P/", "http://localhost:P/", "http://LOCALHOST:P/", "http://localhost.:P/",
	"http://a.localhost:P/", "http://0.0.0.0:P/", "http://0.1.2.3:P/", "http://[::1]:P/", "http://[::]:P/", "http://[0:0:0:0:0:0:0:1]:P/", "https://127.0.0.1:P/", "https://localhost:P/",
	// octal, hexadecimal, decimal, short
	"http://0177.0.0.1:P/", "http://0177.0.0.01:P/", "http://00000177.1:P/", "http://0x7f.0.0.1:P/", "http://0x7f000001:P/", "http://0x7F.1:P/",
	"http://2130706433:P/", "http://017700000001:P/", "http://127.1:P/", "http://127.0.1:P/", "http://0:P/", "http://0x0:P/", "http://127.0.0.1.:P/",
	"http://127.0.0.0x1:P/", "http://127.0.0.1.0x7f:P/", "http://1.1.1.1.1:P/", "http://256.256.256.256:P/",
	// IPv4 inside IPv6
	"http://[::ffff:127.0.0.1]:P/", "http://[::ffff:7f00:1]:P/", "http://[::ffff:10.0.0.1]:P/", "http://[::ffff:8.8.8.8]:P/", "http://[::127.0.0.1]:P/",
	"http://[64:ff9b::127.0.0.1]:P/", "http://[64:ff9b::7f00:1]:P/", "http://[64:ff9b:1::7f00:1]:P/", "http://[2002:7f00:1::]:P/", "http://[2001:0:7f00:1::]:P/", "http://[::ffff:0:127.0.0.1]:P/",
	// private, shared, link-local, cloud metadata
	"http://10.0.0.1:P/", "http://10.255.255.255:P/", "http://172.16.0.1:P/", "http://172.31.255.255:P/", "http://192.168.0.1:P/", "http://192.168.255.255:P/",
	"http://100.64.0.1:P/", "http://100.127.255.255:P/", "http://169.254.169.254/latest/meta-data/", "http://169.254.0.1:P/", "http://[fd00:ec2::254]:P/", "http://100.100.100.200:P/",
	"http://[fc00::1]:P/", "http://[fdff::1]:P/", "http://[fe80::1]:P/", "http://[fe80::1%25lo]:P/", "http://[fec0::1]:P/", "http://metadata.google.internal/", "http://metadata:P/",
	// documentation, benchmarks, multicast, reserved
	"http://192.0.0.1:P/", "http://192.0.2.1:P/", "http://198.18.0.1:P/", "http://198.19.255.255:P/", "http://198.51.100.1:P/", "http://203.0.113.1:P/", "http://192.88.99.1:P/",
	"http://224.0.0.1:P/", "http://239.255.255.255:P/", "http://240.0.0.1:P/", "http://255.255.255.255:P/", "http://[ff02::1]:P/", "http://[2001:db8::1]:P/", "http://[3fff::1]:P/", "http://[100::1]:P/",
	// credentials, other schemes, no host
	"http://user@127.0.0.1:P/", "http://user:secret@93.184.216.34:P/", "http://93.184.216.34@127.0.0.1:P/", "http://127.0.0.1:P@93.184.216.34/", "http://:P/", "http:///", "http://", "https://",
	"http:127.0.0.1:P", "http://127.0.0.1%00.global.test:P/", "http://127.0.0.1%2eglobal.test:P/", "http://127.0.0.1\\@global.test:P/", "http://①②⑦.⓪.⓪.①:P/", "http://127。0。0。1:P/",
	// names that stand for such addresses, and names of this network
	"http://loopback.test:P/", "http://private.test:P/", "http://mapped.test:P/", "http://both.test:P/", "http://loopback6.test:P/", "http://meta.test:P/", "http://nowhere.test:P/", "http://printer:P/",
	"http://router.local:P/", "http://nas.lan:P/", "http://www.intranet:P/", "http://x.home.arpa:P/",
	// a name that moves to loopback when it is asked again; TestFetch has the one that was good at
	// first
	"http://rebinding.test:P/",
}

// An address handed in reaches nothing but the public internet. The canary on loopback hears not a
// byte.
func TestFetchReachesNothing(t *testing.T) {
	c := newCanary(t)
	resolver := nameServer(t, func(name string, question int64) []netip.Addr {
		ip := map[string][]string{"loopback.test": {"127.0.0.1"}, "private.test": {"10.1.2.3"}, "mapped.test": {"::ffff:127.0.0.1"}, "both.test": {"93.184.216.34", "127.0.0.1"},
			"loopback6.test": {"::1"}, "meta.test": {"169.254.169.254"}}[name]
		var out []netip.Addr
		for _, s := range ip {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	})
	var asked atomic.Int64
	rebinding := nameServer(t, func(string, int64) []netip.Addr {
		if asked.Add(1) <= 2 { // A and AAAA of the first lookup
			return []netip.Addr{netip.MustParseAddr("192.0.2.77")}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	})
	require.GreaterOrEqual(t, len(forbidden), 100)
	s, at := start(t, Options{AllowFetch: true})
	for _, address := range forbidden {
		address = strings.ReplaceAll(address, ":P", ":"+c.port)
		s.fetcher.resolver = resolver
		if strings.Contains(address, "rebinding") {
			s.fetcher.resolver = rebinding
		}
		code, _, body := post(t, at+"/v1/embeddings", object{"input": object{"image": address}})
		assert.Contains(t, []int{400, 403, 422}, code, "%s: %s", address, body)
		assert.NotContains(t, string(body), "127.0.0.1", address)
	}
	for _, address := range []string{"file:///etc/passwd", "ftp://127.0.0.1:P/", "gopher://127.0.0.1:P/", "unix:/run/x", "javascript:1", "//127.0.0.1:P/"} {
		code, _, body := post(t, at+"/v1/embeddings", object{"input": object{"image": strings.ReplaceAll(address, ":P", ":"+c.port)}})
		assert.Equal(t, 400, code, "%s: %s: not taken for an address", address, body)
	}
	time.Sleep(50 * time.Millisecond)
	assert.Zero(t, c.connections.Load())
	assert.Zero(t, c.bytes.Load())
}

// The check counts at the moment of the connection: a name whose answer changes, and a redirect
// into the network, reach nothing. That fetching works at all is shown where loopback is let
// through.
func TestFetch(t *testing.T) {
	c := newCanary(t)
	dog := dogFile(t)
	var web *httptest.Server
	web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/dog.png":
			_, _ = w.Write(dog)
		case "/hop":
			http.Redirect(w, r, web.URL+"/dog.png", http.StatusFound)
		case "/into":
			http.Redirect(w, r, "http://127.0.0.2:"+c.port+"/", http.StatusFound)
		case "/octal":
			http.Redirect(w, r, "http://0177.0.0.2:"+c.port+"/", http.StatusMovedPermanently)
		case "/credentials":
			http.Redirect(w, r, strings.Replace(web.URL, "http://", "http://user:secret@", 1)+"/dog.png", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/round":
			http.Redirect(w, r, web.URL+"/round", http.StatusFound)
		case "/large":
			_, _ = w.Write(make([]byte, 3<<20))
		case "/empty":
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	s, at := start(t, Options{AllowFetch: true, Limits: Limits{Body: 2 << 20}})
	only := netip.MustParseAddr("127.0.0.1")
	s.fetcher.global = func(ip netip.Addr) bool { return ip == only }
	ask := func(address string) (int, string) {
		code, _, body := post(t, at+"/v1/embeddings", object{"input": object{"image": address}})
		if code == 200 {
			near(t, knownImages(t, "data/demo/dog.png")[0], parse[embeddingsOf[[]float32]](t, body).Data[0].Embedding)
		}
		return code, string(body)
	}
	for _, k := range []struct {
		path string
		code int
		says string
	}{
		{"/dog.png", 200, ""}, {"/hop", 200, ""},
		{"/into", 403, "not one on the public internet"}, {"/octal", 403, "not one on the public internet"}, {"/credentials", 403, "credentials"}, {"/file", 403, "http and https alone"},
		{"/round", 422, "could not be fetched"}, {"/large", 413, "more than 2097152 bytes"}, {"/empty", 422, "empty"}, {"/gone", 422, "answered 404"},
	} {
		code, body := ask(web.URL + k.path)
		assert.Equal(t, k.code, code, "%s: %s", k.path, body)
		assert.Contains(t, body, k.says, k.path)
	}
	port := web.URL[strings.LastIndex(web.URL, ":"):]
	// Every address of a name is looked at, and the one that was checked is the one that is dialled.
	for name, ips := range map[string][]string{"one.test": {"127.0.0.1"}, "two.test": {"127.0.0.1", "127.0.0.2"}} {
		s.fetcher.resolver = nameServer(t, func(string, int64) (out []netip.Addr) {
			for _, ip := range ips {
				out = append(out, netip.MustParseAddr(ip))
			}
			return out
		})
		code, body := ask(fmt.Sprintf("http://%s%s/dog.png", name, port))
		assert.Equal(t, map[int]int{1: 200, 2: 403}[len(ips)], code, body)
	}
	// Rebinding: good when it is asked first (for A and AAAA), and then not. One fetch asks once.
	s.fetcher.resolver = nameServer(t, func(_ string, question int64) []netip.Addr {
		if question <= 2 {
			return []netip.Addr{only}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.2")}
	})
	code, body := ask("http://rebinding.test" + port + "/dog.png")
	assert.Equal(t, 200, code, body)
	code, body = ask("http://rebinding.test" + port + "/dog.png")
	assert.Equal(t, 403, code, body)
	assert.Zero(t, c.connections.Load())
}
