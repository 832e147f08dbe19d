package pretrained

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Snapshot is a model of the hub as a directory on this disk, in open_clip's layout or
// transformers'.
type Snapshot struct {
	Dir    string // with the files under their own names
	Files  []File // those that a model needs; the weights come last
	Origin Origin
}

const indexEnding = ".index.json" // of a file that lists the shards of weights

// The files of a model: its config, its weights (the first that is there counts, as open_clip's and
// transformers' loaders have it), and what goes with them.
var (
	configFiles = []string{"open_clip_config.json", "config.json"}
	weightFiles = []string{"open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors", "model.safetensors" + indexEnding,
		"pytorch_model.bin", "pytorch_model.bin" + indexEnding}
	imageFiles = []string{"preprocessor_config.json", "processor_config.json"}
	// Of a tokenizer the first set that is there will do.
	tokenFiles = [][]string{{"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"spiece.model"}, {"sentencepiece.bpe.model"}, {"vocab.txt"}}
	tokenNotes = []string{"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}
)

// FindRepo finds a model of the Hugging Face hub, ORG/NAME or ORG/NAME@REVISION: in goclip's cache,
// in the one that Python filled, or on the network. What was fetched lies in huggingface_hub's
// layout, in the directory hub of goclip's cache, so that Python reads it too (HF_HUB_CACHE). A
// model that is on this machine is not looked for on the hub again, even if its branch has moved
// on.
//
// ErrNotFound is inside the error for a repository, revision or file that the hub does not have,
// ErrOffline inside the one for a model that is not here when the network is forbidden.
func FindRepo(ctx context.Context, repo string, o Options) (Snapshot, error) {
	name, revision, err := splitRepo(repo)
	if err != nil {
		return Snapshot{}, err
	}
	f := newFinder(o)
	says := fmt.Sprintf("its config (%s), weights (%s) and tokenizer", either(configFiles), either(f.weightFiles()))
	return f.findSet(ctx, name, revision, fileSet{f.model, says})
}

// FindTokenizer finds the tokenizer's files of a repository in the same manner.
func FindTokenizer(ctx context.Context, repo string, o Options) (Snapshot, error) {
	name, revision, err := splitRepo(repo)
	if err != nil {
		return Snapshot{}, err
	}
	return newFinder(o).findSet(ctx, name, revision, fileSet{tokenizer, "its tokenizer.json and tokenizer_config.json"})
}

// fileSet is the files of a repository to load.
type fileSet struct {
	// pick names the files to load among those that exist; where is the repository or directory,
	// for errors. The files without which the set is none come last, so that a directory that has
	// them has all. read gives the bytes of one.
	pick func(where string, has func(name string) bool, read func(name string) ([]byte, error)) ([]string, error)
	says string // what they are, for people
}

// findSet looks on this machine, then on the hub.
func (f *finder) findSet(ctx context.Context, repo, revision string, set fileSet) (s Snapshot, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("pretrained: %s: %w", repoWith(repo, revision), err)
		}
	}()
	var wrong []error
	for _, root := range f.hubCaches() {
		dir := repoIn(root.dir, repo).snapshot(revision)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		s, err := f.open(ctx, dir, root.origin, set)
		if err == nil || ctx.Err() != nil {
			return s, err
		}
		wrong = append(wrong, err)
		if errors.Is(err, ErrChecksum) {
			f.Log(err.Error())
		}
	}
	byHand := func() string {
		return fmt.Sprintf("%s (they are at %s/%s/tree/%s) in %s", set.says, hubAddress(), repo, revision, repoIn(f.ownHub(), repo).snapshot(revision))
	}
	if err := f.allowed(byHand, wrong); err != nil {
		return Snapshot{}, err
	}
	s, err = f.fetchSet(ctx, repo, revision, set)
	return s, f.suggest(ctx, err, byHand)
}

// weightFiles are those that the caller reads.
func (f *finder) weightFiles() []string {
	return slices.DeleteFunc(slices.Clone(weightFiles), func(name string) bool { return !f.reads(name) })
}

// model picks the files of a model.
func (f *finder) model(where string, has func(name string) bool, read func(name string) ([]byte, error)) ([]string, error) {
	small := slices.Concat(configFiles, imageFiles, slices.Concat(tokenFiles...), tokenNotes)
	names := slices.DeleteFunc(small, func(name string) bool { return !has(name) })
	if !slices.ContainsFunc(configFiles, has) {
		return nil, marked{fmt.Errorf("%s has no config: %s is needed", where, either(configFiles)), ErrNotFound}
	}
	i := slices.IndexFunc(f.weightFiles(), has)
	if i < 0 {
		return nil, marked{fmt.Errorf("%s has no weights: %s is needed", where, either(f.weightFiles())), ErrNotFound}
	}
	weights := f.weightFiles()[i]
	names = append(names, weights)
	if !strings.HasSuffix(weights, indexEnding) {
		return names, nil
	}
	text, err := read(weights)
	if err != nil {
		return nil, err
	}
	shards, err := parseIndex(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", where, weights, err)
	}
	for _, shard := range shards {
		if !has(shard) {
			return nil, marked{fmt.Errorf("%s lacks %s, which %s names", where, shard, weights), ErrNotFound}
		}
	}
	return append(names, shards...), nil
}

// tokenizer picks the files of a tokenizer.
func tokenizer(where string, has func(name string) bool, _ func(name string) ([]byte, error)) ([]string, error) {
	lacks := func(name string) bool { return !has(name) }
	i := slices.IndexFunc(tokenFiles, func(set []string) bool { return !slices.ContainsFunc(set, lacks) })
	if i < 0 {
		return nil, marked{fmt.Errorf("%s has no tokenizer: tokenizer.json is needed", where), ErrNotFound}
	}
	return append(slices.DeleteFunc(slices.Clone(tokenNotes), lacks), tokenFiles[i]...), nil
}

// parseIndex lists the files that an index spreads the weights over.
func parseIndex(text []byte) ([]string, error) {
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, err
	}
	shards := slices.Compact(slices.Sorted(maps.Values(index.Map)))
	if len(shards) == 0 {
		return nil, errors.New("it has no weight_map")
	}
	for _, name := range shards {
		if !isFileName(name) {
			return nil, fmt.Errorf("%q is not a file of a repository", name)
		}
	}
	return shards, nil
}

// open answers for a snapshot on this disk: it is whole, and its bytes were checked.
func (f *finder) open(ctx context.Context, dir string, origin Origin, set fileSet) (Snapshot, error) {
	has := func(name string) bool { return isFile(filepath.Join(dir, filepath.FromSlash(name))) }
	names, err := set.pick(dir, has, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) })
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{Dir: dir, Origin: origin}
	for _, name := range names {
		file, err := f.check(ctx, f.linked(filepath.Join(dir, filepath.FromSlash(name)), origin))
		if err != nil {
			return Snapshot{}, err
		}
		s.Files = append(s.Files, file)
	}
	return s, nil
}

// fetchSet downloads what goclip's cache lacks of a set.
func (f *finder) fetchSet(ctx context.Context, repo, revision string, set fileSet) (Snapshot, error) {
	web, err := dial()
	if err != nil {
		return Snapshot{}, err
	}
	defer web.CloseIdleConnections()
	l, err := f.list(ctx, web, repo, revision)
	if err != nil {
		return Snapshot{}, err
	}
	own := repoIn(f.ownHub(), repo)
	fetch := func(name string) (File, error) {
		c := candidate{file: name, repo: repo, rev: l.commit, hash: l.hashes[name]}
		if file, ok := f.present(ctx, c); ok {
			return file, nil
		}
		return f.fetch(ctx, web, c)
	}
	has := func(name string) bool { _, ok := l.hashes[name]; return ok }
	names, err := set.pick(repo, has, func(name string) ([]byte, error) {
		file, err := fetch(name)
		if err != nil {
			return nil, err
		}
		return os.ReadFile(file.Path)
	})
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{Dir: own.snapshot(l.commit), Origin: FromNetwork}
	for _, name := range names {
		file, err := fetch(name)
		if err != nil {
			return Snapshot{}, err
		}
		s.Files = append(s.Files, file)
	}
	return s, own.refer(revision, l.commit)
}

// present is a candidate in goclip's cache. In the hub's layout, a blob that a cache has already, of
// another commit or Python's, is linked there.
func (f *finder) present(ctx context.Context, c candidate) (File, bool) {
	if file, err := f.check(ctx, f.own(c)); err == nil {
		return file, true
	}
	if c.place != "" || c.hash == "" {
		return File{}, false
	}
	for _, root := range f.hubCaches() {
		blob := repoIn(root.dir, c.repo).blob(c.hash)
		file, err := f.check(ctx, place{blob, f.foreignRecord(blob), c.hash, root.origin})
		if err == nil && repoIn(f.ownHub(), c.repo).link(blob, c.rev, c.file) == nil {
			file.Path = f.own(c).path
			f.remember(f.own(c), file)
			return file, true
		}
	}
	return File{}, false
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
