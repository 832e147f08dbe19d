package pretrained

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

const publicHub = "https://huggingface.co"

// servers are the ones that this environment names.
type servers struct {
	mirror *url.URL // nil: the public ones
	hub    *url.URL
	token  string // for the hub
}

func findServers() (servers, error) {
	var s servers
	var err error
	if mirror := os.Getenv("GOCLIP_MIRROR"); mirror != "" {
		if s.mirror, err = parseServer("GOCLIP_MIRROR", mirror); err != nil {
			return servers{}, err
		}
	}
	s.token = os.Getenv("HF_TOKEN")
	s.hub, err = parseServer("HF_ENDPOINT", cmp.Or(os.Getenv("HF_ENDPOINT"), publicHub))
	return s, err
}

func parseServer(name, base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s is no address of a server; it should be like https://mirror.example/clip", name)
	}
	if !secure(u) && !onLoopback(u) {
		return nil, fmt.Errorf("%s is %s://%s; it must be https, or http on this machine", name, u.Scheme, u.Host)
	}
	return u, nil
}

func secure(u *url.URL) bool { return u.Scheme == "https" }

// onLoopback tells whether u is plain http that does not leave this machine.
func onLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (strings.EqualFold(u.Hostname(), "localhost") || ip != nil && ip.IsLoopback())
}

// address is where a candidate is asked for.
type address struct {
	url   *url.URL
	hub   bool   // answers in the hub's manner: entity tags are hashes
	token string // for this host and no other
}

// address gives the place of a candidate. A mirror has the paths of the hub and of the authors' servers under its own.
func (s servers) address(c candidate) address {
	if c.repo != "" {
		if s.mirror != nil {
			return address{url: s.mirror.JoinPath(c.repo, "resolve", "main", c.file), hub: true}
		}
		return address{url: s.hub.JoinPath(c.repo, "resolve", "main", c.file), hub: true, token: s.token}
	}
	u, err := url.Parse(c.url)
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	if s.mirror != nil {
		u = s.mirror.JoinPath(u.Path)
	}
	return address{url: u}
}
