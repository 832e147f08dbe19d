package pretrained

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// hubRepo is the directory of a repository in a cache that has huggingface_hub's layout:
//
//	refs/REVISION          the commit that a branch or tag stands for
//	blobs/HASH             the bytes; HASH is a large file's SHA-256, a small one's SHA-1 by git
//	snapshots/COMMIT/FILE  a link to them
type hubRepo string

// repoIn is the directory of ORG/NAME in a cache. The separator is huggingface_hub's
// REPO_ID_SEPARATOR.
func repoIn(cache, repo string) hubRepo {
	return hubRepo(filepath.Join(cache, "models--"+strings.ReplaceAll(repo, "/", `--`)))
}

// commit is the commit that the cache has for a revision, or the revision itself, which may be a
// commit. It is "" where the cache names something that is not a name of a directory.
func (r hubRepo) commit(revision string) string {
	text, err := readShort(filepath.Join(string(r), "refs", filepath.FromSlash(revision)))
	if err != nil {
		return revision
	}
	commit := strings.TrimSpace(text)
	if strings.ContainsAny(commit, `/\`) || strings.HasPrefix(commit, ".") {
		return ""
	}
	return commit
}

// snapshot is the directory of a revision's files, or "". Nothing need be there.
func (r hubRepo) snapshot(revision string) string {
	commit := r.commit(revision)
	if commit == "" {
		return ""
	}
	return filepath.Join(string(r), "snapshots", filepath.FromSlash(commit))
}

func (r hubRepo) blob(hash string) string { return filepath.Join(string(r), "blobs", hash) }

// link gives blob the name file in a commit's snapshot. Where links cannot be made, a blob of this
// repository moves there.
func (r hubRepo) link(blob, commit, file string) error {
	name := filepath.Join(string(r), "snapshots", filepath.FromSlash(commit), filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return diskError(err, name)
	}
	target, err := filepath.Rel(filepath.Dir(name), blob)
	own := err == nil && filepath.Dir(blob) == filepath.Join(string(r), "blobs")
	if !own {
		target = blob
	}
	os.Remove(name) // one of another blob, or of one that is gone
	err = os.Symlink(target, name)
	if errors.Is(err, os.ErrExist) {
		return nil // another process was faster
	}
	if err != nil && own {
		err = os.Rename(blob, name)
	}
	if err != nil {
		return diskError(err, name)
	}
	return nil
}

// refer notes the commit that a revision stands for.
func (r hubRepo) refer(revision, commit string) error {
	if revision == commit || r.commit(revision) == commit {
		return nil
	}
	name := filepath.Join(string(r), "refs", filepath.FromSlash(revision))
	if err := writeWhole(name, []byte(commit)); err != nil {
		return diskError(err, name)
	}
	return nil
}

// hubCaches are the caches with huggingface_hub's layout, goclip's own first.
func (d dirs) hubCaches() []cacheRoot {
	var roots []cacheRoot
	if d.cache != "" {
		roots = append(roots, cacheRoot{d.ownHub(), FromCache})
	}
	if d.hubCache != "" && d.hubCache != d.ownHub() {
		roots = append(roots, cacheRoot{d.hubCache, FromHubCache})
	}
	return roots
}

// cacheRoot is a cache and what it is called.
type cacheRoot struct {
	dir    string
	origin Origin
}

// ownHub is goclip's own. Python reads it with HF_HUB_CACHE set to it.
func (d dirs) ownHub() string { return filepath.Join(d.cache, "hub") }

// inHub is the place of a repository's file in one of those caches.
func (d dirs) inHub(root cacheRoot, repo, revision, file string) (place, bool) {
	dir := repoIn(root.dir, repo).snapshot(revision)
	if dir == "" {
		return place{}, false
	}
	return d.linked(filepath.Join(dir, filepath.FromSlash(file)), root.origin), true
}

// linked is a file in a snapshot. The link names its hash; the blob may itself be a link, whose
// name says something else.
func (d dirs) linked(path string, origin Origin) place {
	p := place{path: path, record: d.foreignRecord(path), origin: origin}
	if blob, err := os.Readlink(path); err == nil && isHash(filepath.Base(blob)) {
		p.hash = filepath.Base(blob)
	}
	return p
}

// maxLine is how much readShort reads, in bytes.
const maxLine = 4 << 10

// readShort reads a file of a line or so, and no device or pipe.
func readShort(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxLine))
	return string(text), err
}
