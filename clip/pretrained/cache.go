package pretrained

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// dirs are the caches of this machine. One that has no place is "".
type dirs struct {
	cache    string // goclip's
	hubCache string // Hugging Face's
	clip     string // openai/CLIP's
}

func findDirs(cache string) dirs {
	var d dirs
	if user, err := os.UserCacheDir(); err == nil {
		d.cache = filepath.Join(user, "goclip")
	}
	d.cache = cmp.Or(absolute(cache), absolute(os.Getenv("GOCLIP_CACHE")), d.cache)
	home, _ := os.UserHomeDir() // without one, the caches below are only where the environment says
	if home != "" {
		d.clip = filepath.Join(home, ".cache", "clip")
	}
	d.hubCache = cmp.Or(absolute(os.Getenv("HF_HUB_CACHE")), absolute(os.Getenv("HUGGINGFACE_HUB_CACHE")))
	for _, under := range []struct{ root, rest string }{
		{os.Getenv("HF_HOME"), "hub"},
		{os.Getenv("XDG_CACHE_HOME"), "huggingface/hub"},
		{home, ".cache/huggingface/hub"},
	} { // huggingface_hub's order (constants.py)
		if d.hubCache == "" && under.root != "" {
			d.hubCache = filepath.Join(absolute(under.root), filepath.FromSlash(under.rest))
		}
	}
	return d
}

// CacheDir is the directory of goclip's cache: $GOCLIP_CACHE, else the user's cache directory + "/goclip"; "" where the
// machine has neither.
func CacheDir() string { return findDirs("").cache }

// absolute makes a directory of the environment one that stays when the process moves; ~ is the home.
func absolute(dir string) string {
	if dir == "" {
		return ""
	}
	if home, err := os.UserHomeDir(); err == nil && (dir == "~" || strings.HasPrefix(dir, "~/")) {
		dir = filepath.Join(home, dir[1:])
	}
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// place is a path where a candidate may lie.
type place struct {
	path   string
	record string // the file that says it was checked; "" where nothing can be written
	hash   string // first digits of the SHA-256 that it must have, if known
	origin Origin
}

// places lists where the candidates may lie: all of them in one cache before the next cache.
func (d dirs) places(wanted []candidate) []place {
	var out []place
	for _, c := range wanted {
		if d.cache != "" {
			out = append(out, d.own(c))
		}
	}
	for _, c := range wanted {
		if c.repo != "" && d.hubCache != "" {
			out = append(out, d.inHubCache(c)...)
		}
	}
	for _, c := range wanted {
		// Python writes these under their final names, so an interrupted download looks whole: only a hash tells.
		if c.url != "" && c.hash != "" && d.clip != "" {
			p := filepath.Join(d.clip, c.file)
			out = append(out, place{p, d.foreignRecord(p), c.hash, FromCLIP})
		}
	}
	return out
}

// own is a candidate's place in goclip's cache.
func (d dirs) own(c candidate) place {
	p := filepath.Join(d.cache, filepath.FromSlash(c.place))
	return place{p, p + ".verified", c.hash, FromCache}
}

// inHubCache is models--ORG--NAME/snapshots/REV/FILE, REV from refs/main. FILE is a link to blobs/HASH, and the hash of
// a large file is its SHA-256.
func (d dirs) inHubCache(c candidate) []place {
	repo := filepath.Join(d.hubCache, "models--"+strings.ReplaceAll(c.repo, "/", "--"))
	rev, err := os.ReadFile(filepath.Join(repo, "refs", "main"))
	name := strings.TrimSpace(string(rev))
	if err != nil || name == "" || strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") {
		return nil
	}
	p := filepath.Join(repo, "snapshots", name, filepath.FromSlash(c.file))
	var hash string
	if blob, err := filepath.EvalSymlinks(p); err == nil && isSHA256(filepath.Base(blob)) {
		hash = filepath.Base(blob)
	}
	return []place{{p, d.foreignRecord(p), hash, FromHubCache}}
}

// foreignRecord is where the record of another program's file is kept: in goclip's cache, under a name made of its path.
func (d dirs) foreignRecord(path string) string {
	if d.cache == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(d.cache, "elsewhere", hex.EncodeToString(sum[:16])+".verified")
}
