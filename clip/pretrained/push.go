package pretrained

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// ErrNoToken says that the hub lets nobody write without a token.
var ErrNoToken = errors.New("no token of the hub")

// PushFile is a file of a repository, from the disk or, where Path is "", from memory.
type PushFile struct {
	Name    string // in the repository, as open_clip_config.json
	Path    string
	Content []byte
}

// PushOptions say how a repository is written. The zero value is the defaults.
type PushOptions struct {
	Private bool              // if the repository is made
	Branch  string            // default main
	Message string            // of the commit; default "Upload model"
	Log     func(line string) // hears of each file that is sent; nil: nobody does
	Retry   time.Duration     // wait before a second try, which doubles; default one second
}

var repeated = regexp.MustCompile(`\.\.|-{2}`) // the hub has no such names

var ownedRepo = regexp.MustCompile(`^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$`)

// CheckRepo reports whether repo can be the name of a repository on the hub, ORG/NAME.
func CheckRepo(repo string) error {
	if !ownedRepo.MatchString(repo) || repeated.MatchString(repo) || strings.HasSuffix(repo, ".git") {
		return fmt.Errorf("pretrained: %q is not the name of a repository: it must be like my-org/my-model", repo)
	}
	return nil
}

// Push commits files to the repository ORG/NAME of the Hugging Face hub, which is made if it is not
// there, and returns the address of the commit. Large files go to the hub's storage first, only
// those that are not there yet; the commit then has all files or none. It takes the token that may
// write ($HF_TOKEN, or that of "hf auth login"), which goes to $HF_ENDPOINT and no other host.
func Push(ctx context.Context, repo string, files []PushFile, o *PushOptions) (address string, err error) {
	p := &push{repo: repo}
	p.client = &http.Client{CheckRedirect: p.redirect}
	if o != nil {
		p.PushOptions = *o
	}
	if p.Branch == "" {
		p.Branch = "main"
	}
	if p.Message == "" {
		p.Message = "Upload model"
	}
	if p.Retry == 0 {
		p.Retry = time.Second
	}
	if p.Log == nil {
		p.Log = func(string) {}
	}
	if err := CheckRepo(repo); err != nil {
		return "", err
	}
	if name := (&finder{}).offline(); name != "" {
		return "", marked{fmt.Errorf("pretrained: %s forbids the network, which %s must be sent over", name, repo), ErrOffline}
	}
	if p.servers, err = findServers(); err != nil {
		return "", fmt.Errorf("pretrained: %w", err)
	}
	if p.token == "" {
		return "", marked{fmt.Errorf("pretrained: %s takes no files without a token that may write: set HF_TOKEN, or run hf auth login", p.hub.Host), ErrNoToken}
	}
	for _, f := range files {
		u := &upload{PushFile: f}
		if err := u.measure(); err != nil {
			return "", fmt.Errorf("pretrained: %w", err)
		}
		p.uploads = append(p.uploads, u)
	}
	for _, step := range []func(context.Context) error{p.create, p.modes, p.store} {
		if err := step(ctx); err != nil {
			return "", fmt.Errorf("pretrained: %s: %w", repo, err)
		}
	}
	if address, err = p.commit(ctx); err != nil {
		return "", fmt.Errorf("pretrained: %s: %w", repo, err)
	}
	return address, nil
}

// push is a Push at work.
type push struct {
	PushOptions
	servers
	repo    string
	client  *http.Client
	uploads []*upload
}

// upload is a file on its way.
type upload struct {
	PushFile
	size   int64
	sum    string // SHA-256
	sample []byte // its first bytes, by which the hub tells texts
	large  bool   // goes to the storage
}

// open gives the file's bytes.
func (u *upload) open() (io.ReadSeekCloser, error) {
	if u.Path != "" {
		return os.Open(u.Path)
	}
	return struct {
		*bytes.Reader
		io.Closer
	}{bytes.NewReader(u.Content), io.NopCloser(nil)}, nil
}

// sampleBytes are what the hub looks at.
const sampleBytes = 512

func (u *upload) measure() error {
	f, err := u.open()
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if u.size, err = io.Copy(sum, f); err != nil {
		return err
	}
	u.sum = hex.EncodeToString(sum.Sum(nil))
	u.sample = make([]byte, min(sampleBytes, u.size))
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.ReadFull(f, u.sample)
	return err
}

// create makes the repository unless it is there.
func (p *push) create(ctx context.Context) error {
	org, name, _ := strings.Cut(p.repo, "/")
	err := p.call(ctx, p.hub.JoinPath("api", "repos", "create"), struct {
		Name         string `json:"name"`
		Organization string `json:"organization"`
		Private      bool   `json:"private"`
	}{name, org, p.Private}, nil)
	var refused *pushError
	if errors.As(err, &refused) && refused.code == http.StatusConflict {
		return nil
	}
	return err
}

// modes asks the hub which files are large.
func (p *push) modes(ctx context.Context) error {
	type file struct {
		Path   string `json:"path"`
		Sample []byte `json:"sample"`
		Size   int64  `json:"size"`
	}
	var ask struct {
		Files []file `json:"files"`
	}
	for _, u := range p.uploads {
		ask.Files = append(ask.Files, file{u.Name, u.sample, u.size})
	}
	var answer struct {
		Files []struct {
			Path string `json:"path"`
			Mode string `json:"uploadMode"`
		} `json:"files"`
	}
	if err := p.call(ctx, p.hub.JoinPath("api", "models", p.repo, "preupload", url.PathEscape(p.Branch)), ask, &answer); err != nil {
		return err
	}
	modes := map[string]string{}
	for _, f := range answer.Files {
		modes[f.Path] = f.Mode
	}
	for _, u := range p.uploads {
		switch mode := modes[u.Name]; mode {
		case "regular", "lfs":
			u.large = mode == "lfs" && u.size > 0
		default:
			return fmt.Errorf("%s does not say how to send %s", p.hub.Host, u.Name)
		}
	}
	return nil
}

// commit makes one commit of all files and gives its address.
func (p *push) commit(ctx context.Context) (string, error) {
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	line := func(key string, value any) error {
		return lines.Encode(struct {
			Key   string `json:"key"`
			Value any    `json:"value"`
		}{key, value})
	}
	err := line("header", struct {
		Summary     string `json:"summary"`
		Description string `json:"description"`
	}{p.Message, ""})
	for _, u := range p.uploads {
		if err != nil {
			return "", err
		}
		if u.large {
			err = line("lfsFile", struct {
				Path string `json:"path"`
				Algo string `json:"algo"`
				OID  string `json:"oid"`
				Size int64  `json:"size"`
			}{u.Name, "sha256", u.sum, u.size})
			continue
		}
		var content []byte
		if content, err = u.read(); err == nil {
			err = line("file", struct {
				Content  string `json:"content"`
				Path     string `json:"path"`
				Encoding string `json:"encoding"`
			}{base64.StdEncoding.EncodeToString(content), u.Name, "base64"})
		}
	}
	if err != nil {
		return "", err
	}
	var answer struct {
		URL string `json:"commitUrl"`
	}
	at := p.hub.JoinPath("api", "models", p.repo, "commit", url.PathEscape(p.Branch))
	err = p.send(ctx, http.MethodPost, at, "application/x-ndjson", body.Bytes(), &answer)
	if answer.URL == "" {
		answer.URL = p.hub.JoinPath(p.repo).String()
	}
	return answer.URL, err
}

func (u *upload) read() ([]byte, error) {
	f, err := u.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
