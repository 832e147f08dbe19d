package pretrained

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Pull fetches what this machine lacks of a model, and lists its files. The tokenizer of a
// published tag is not among them: it lies in the repository that its config names, and CLIP's own
// needs no file.
func Pull(ctx context.Context, n Name, o Options) ([]File, error) {
	if n.Repo != "" {
		s, err := FindRepo(ctx, n.Repo, o)
		return s.Files, err
	}
	if n.Tag == "" {
		i := slices.IndexFunc(Tags(), func(m ModelTags) bool { return m.Model == n.Config })
		if i < 0 {
			return nil, marked{fmt.Errorf("pretrained: no weights of %s are published", n.Config), ErrNotFound}
		}
		return nil, marked{fmt.Errorf("pretrained: %s names no weights; add one of its tags, as in %s:%s; it has %s", n.Config,
			n.Config, Tags()[i].Tags[0], strings.Join(Tags()[i].Tags, ", ")), ErrNotFound}
	}
	file, err := Find(ctx, n.Config, n.Tag, o)
	if err != nil {
		return nil, err
	}
	return []File{file}, nil
}

// Downloaded is a model that lies on this machine.
type Downloaded struct {
	Name   Name
	Type   string // the model_type of transformers' config.json; "" for open_clip's layout and for published tags
	Path   string // the file of weights of a published tag, the directory of a repository
	Size   int64  // bytes of all its files
	Origin Origin
}

// Downloads lists the models in the caches of this machine: those of the table first, in its order,
// then the repositories by name, with their config and all their weights. Python's cache holds
// other models too: Type tells. Nothing is fetched or hashed.
func Downloads(ctx context.Context, o Options) ([]Downloaded, error) {
	f := newFinder(o)
	var out []Downloaded
	for _, e := range table() {
		for _, p := range f.places(e.candidates()) {
			if info, err := os.Stat(p.path); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
				out = append(out, Downloaded{Name: Name{Config: e.Model, Tag: e.Tag}, Path: p.path, Size: info.Size(), Origin: p.origin})
				break
			}
		}
	}
	published := len(out)
	for _, root := range f.hubCaches() {
		repos, err := os.ReadDir(root.dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("pretrained: %w", err)
		}
		for _, e := range repos {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if name, ok := strings.CutPrefix(e.Name(), "models--"); ok {
				out = append(out, f.snapshots(root, strings.ReplaceAll(name, `--`, "/"))...)
			}
		}
	}
	repos := out[published:]
	slices.SortStableFunc(repos, func(a, b Downloaded) int { return strings.Compare(a.Name.Repo, b.Name.Repo) })
	repos = slices.CompactFunc(repos, func(a, b Downloaded) bool { return a.Name == b.Name }) // goclip's cache comes before Python's
	return out[:published+len(repos)], nil
}

// snapshots are the whole ones of a repository.
func (f *finder) snapshots(root cacheRoot, repo string) (out []Downloaded) {
	dir := repoIn(root.dir, repo)
	commits, err := os.ReadDir(filepath.Join(string(dir), "snapshots"))
	if err != nil {
		return nil
	}
	for _, commit := range commits {
		path := filepath.Join(string(dir), "snapshots", commit.Name())
		has := func(name string) bool { return isFile(filepath.Join(path, filepath.FromSlash(name))) }
		names, err := f.model(path, has, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(path, name)) })
		if err != nil {
			continue
		}
		d := Downloaded{Name: Name{Repo: dir.nameOf(repo, commit.Name())}, Path: path, Origin: root.origin}
		for _, name := range names {
			if info, err := os.Stat(filepath.Join(path, filepath.FromSlash(name))); err == nil {
				d.Size += info.Size()
			}
		}
		if !has(configFiles[0]) {
			d.Type = modelType(filepath.Join(path, configFiles[1]))
		}
		out = append(out, d)
	}
	return out
}

// nameOf is ORG/NAME, with the branch or tag that stands for a commit if that is not main, or with
// the commit.
func (r hubRepo) nameOf(repo, commit string) string {
	if r.commit(defaultRevision) == commit {
		return repoWith(repo, defaultRevision)
	}
	refs := filepath.Join(string(r), "refs")
	revision := commit
	_ = filepath.WalkDir(refs, func(path string, e fs.DirEntry, err error) error {
		if rel, relErr := filepath.Rel(refs, path); err == nil && relErr == nil && !e.IsDir() && r.commit(filepath.ToSlash(rel)) == commit {
			revision = filepath.ToSlash(rel)
			return fs.SkipAll
		}
		return nil // a directory that cannot be read names nothing
	})
	return repoWith(repo, revision)
}

func modelType(config string) string {
	var c struct {
		Type string `json:"model_type"`
	}
	text, err := os.ReadFile(config)
	if err != nil || json.Unmarshal(text, &c) != nil {
		return ""
	}
	return c.Type
}
