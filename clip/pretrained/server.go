package pretrained

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
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
	s.token = hubToken()
	s.hub, err = parseServer("HF_ENDPOINT", hubAddress())
	return s, err
}

func hubAddress() string {
	return cmp.Or(strings.TrimRight(os.Getenv("HF_ENDPOINT"), "/"), publicHub)
}

// hubToken is the token of the environment or of the file that "hf auth login" writes
// (huggingface_hub/utils/_auth.py).
func hubToken() string {
	if isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return ""
	}
	token := cmp.Or(os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN"))
	if token == "" {
		file := absolute(os.Getenv("HF_TOKEN_PATH"))
		if home := hubHome(); file == "" && home != "" {
			file = filepath.Join(home, "token")
		}
		token, _ = readShort(file) // most people have none
	}
	return strings.Join(strings.Fields(token), "")
}

// isTrue reads a variable as huggingface_hub does.
func isTrue(name string) bool {
	switch strings.ToLower(os.Getenv(name)) {
	case "1", "on", "yes", "true":
		return true
	}
	return false
}

func parseServer(name, base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s is not the address of a server; it must be like https://mirror.example/clip", name)
	}
	if !secure(u) && !onLoopback(u) {
		return nil, fmt.Errorf("%s is %s://%s; it must be https, or http on this machine", name, u.Scheme, u.Host)
	}
	return u, nil
}

func secure(u *url.URL) bool { return u.Scheme == "https" }

// onLoopback reports whether u is plain http that does not leave this machine.
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

// address gives the place of a candidate. A mirror has the paths of the hub and of the authors'
// servers under its own.
func (s servers) address(c candidate) address {
	if c.repo != "" {
		return s.onHub(c.repo, "resolve", url.PathEscape(c.revision()), c.file)
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

// onHub is a path on the hub or on its mirror, which gets no token.
func (s servers) onHub(path ...string) address {
	if s.mirror != nil {
		return address{url: s.mirror.JoinPath(path...), hub: true}
	}
	return address{url: s.hub.JoinPath(path...), hub: true, token: s.token}
}
