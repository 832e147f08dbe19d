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
	if home, err := os.UserHomeDir(); err == nil {
		d.clip = filepath.Join(home, ".cache", "clip")
	}
	d.hubCache = cmp.Or(absolute(os.Getenv("HF_HUB_CACHE")), absolute(os.Getenv("HUGGINGFACE_HUB_CACHE")))
	if home := hubHome(); d.hubCache == "" && home != "" {
		d.hubCache = filepath.Join(home, "hub")
	}
	return d
}

// hubHome is the directory of Hugging Face's libraries (huggingface_hub/constants.py), or "".
func hubHome() string {
	if dir := absolute(os.Getenv("HF_HOME")); dir != "" {
		return dir
	}
	if dir := absolute(os.Getenv("XDG_CACHE_HOME")); dir != "" {
		return filepath.Join(dir, "huggingface")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".cache", "huggingface")
	}
	return ""
}

// CacheDir returns the directory of goclip's cache: $GOCLIP_CACHE, else the user's cache directory +
// "/goclip"; "" where the machine has neither.
func CacheDir() string { return findDirs("").cache }

// absolute makes a directory of the environment one that stays when the process moves; ~ is the
// home, and $NAME stands for a variable, as Python's library has it.
func absolute(dir string) string {
	if dir = os.ExpandEnv(dir); dir == "" {
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
	hash   string // that it must have: a SHA-256, the first digits of one, or git's SHA-1; "" if none is known
	origin Origin
}

// places lists where the candidates may lie: all of them in one cache before the next cache.
func (d dirs) places(wanted []candidate) []place {
	var out []place
	for _, c := range wanted {
		if d.cache != "" && c.place != "" {
			out = append(out, d.own(c))
		}
	}
	for _, root := range d.hubCaches() {
		for _, c := range wanted {
			if p, ok := d.inHub(root, c.repo, c.revision(), c.file); c.repo != "" && ok {
				out = append(out, p)
			}
		}
	}
	for _, c := range wanted {
		// Python writes these under their final names, so an interrupted download looks whole: only
		// a hash tells.
		if c.url != "" && c.hash != "" && d.clip != "" {
			p := filepath.Join(d.clip, c.file)
			out = append(out, place{p, d.foreignRecord(p), c.hash, FromCLIP})
		}
	}
	return out
}

// own is a candidate's place in goclip's cache: the one that it names, or the one in
// huggingface_hub's layout.
func (d dirs) own(c candidate) place {
	if c.place == "" {
		p, _ := d.inHub(cacheRoot{d.ownHub(), FromCache}, c.repo, c.revision(), c.file)
		p.hash = cmp.Or(c.hash, p.hash)
		return p
	}
	p := filepath.Join(d.cache, filepath.FromSlash(c.place))
	return place{p, p + ".verified", c.hash, FromCache}
}

// foreignRecord is where the record of a file is kept that is another program's or lies in a layout
// that has none: in goclip's cache, under a name made of its path.
func (d dirs) foreignRecord(path string) string {
	if d.cache == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(d.cache, "elsewhere", hex.EncodeToString(sum[:16])+".verified")
}
