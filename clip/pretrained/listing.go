package pretrained

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// listing is what the hub says of a revision: its commit, and the hash of each file.
type listing struct {
	commit string
	hashes map[string]string // by the file's name
}

// maxListing is the longest answer that is read, in bytes: a repository of 100,000 files.
const maxListing = 32 << 20

// list asks the hub for a repository's files (huggingface_hub's HfApi.repo_info).
func (f *finder) list(ctx context.Context, web *network, repo, revision string) (listing, error) {
	from := web.servers.onHub("api", "models", repo, "revision", url.PathEscape(revision))
	from.url.RawQuery = "blobs=true"
	d := &delivery{finder: f, transport: web, candidate: candidate{file: "the list of files", repo: repo, rev: revision}, from: from}
	var out listing
	err := d.retry(ctx, func() error {
		w := newWatch(ctx, d.Stall)
		defer w.close()
		resp, _, err := d.follow(w, 0)
		if err != nil {
			return w.explain(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return d.refused(resp)
		}
		text, err := io.ReadAll(io.LimitReader(w.reader(resp.Body), maxListing))
		if err != nil {
			return w.explain(transient{fmt.Errorf("%s: %w", from.url.Host, err)})
		}
		out, err = parseListing(text)
		if err != nil {
			return transient{fmt.Errorf("%s: the list of files of %s: %w", from.url.Host, repo, err)}
		}
		return nil
	})
	return out, err
}

func parseListing(text []byte) (listing, error) {
	var answer struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
			Blob string `json:"blobId"`
			LFS  struct {
				SHA256 string `json:"sha256"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return listing{}, err
	}
	if !isGit(answer.SHA) {
		return listing{}, fmt.Errorf("its commit is %q; it must be 40 hexadecimal digits", answer.SHA)
	}
	l := listing{answer.SHA, map[string]string{}}
	for _, s := range answer.Siblings {
		switch {
		case isSHA256(s.LFS.SHA256):
			l.hashes[s.Name] = s.LFS.SHA256
		case isGit(s.Blob):
			l.hashes[s.Name] = s.Blob
		default:
			l.hashes[s.Name] = "" // the download's own headers tell
		}
	}
	return l, nil
}
