package clip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch/checkpoint"
)

// Tokenizer returns the model's tokenizer: CLIP's own or, where the config names another, the one whose files stand beside
// the weights. A published tag's is fetched, as its weights were. Without those files it is an error: ids of another
// vocabulary would give features of nothing.
func (m *Model) Tokenizer(ctx context.Context) (tokenizer.Encoder, error) {
	if ctx == nil {
		return nil, begun(ctx)
	}
	select {
	case m.tokenizing <- struct{}{}:
	default: // somebody else looks for it
		select {
		case m.tokenizing <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer func() { <-m.tokenizing }()
	e, err := m.findEncoder(ctx)
	if err == nil && m.Options.PlainText {
		e = tokenizer.Plain(e)
	}
	return e, err
}

// findEncoder is Tokenizer for the caller that holds m.tokenizing.
func (m *Model) findEncoder(ctx context.Context) (tokenizer.Encoder, error) {
	if m.tokenizer != nil {
		return m.tokenizer, nil
	}
	name := cmp.Or(m.Name, "the model")
	other := cmp.Or(m.Config.Text.HFTokenizerName, m.Config.Text.HFModelName)
	if other == "" {
		return m.clipTokenizer(name)
	}
	if m.fetch != nil {
		if err := m.fetchTokenizer(ctx, other); err != nil {
			return nil, fmt.Errorf("clip: %s reads the tokens of %s: %w", name, other, err)
		}
		return m.tokenizer, nil
	}
	return nil, marked{fmt.Errorf("clip: %s reads the tokens of %s: put its tokenizer.json, or vocab.json and merges.txt, or vocab.txt, or spiece.model, into the model's directory", name, other), ErrNotFound}
}

// clipTokenizer is CLIP's own. Special tokens inside a text are spelled as the library has them that the weights are
// from: OpenAI's, which is Hugging Face's spelling too, or open_clip's.
func (m *Model) clipTokenizer(name string) (tokenizer.Encoder, error) {
	clean := tokenizer.Lower
	if o := m.Config.Text.TokenizerOptions; o != nil && o.Clean != "" {
		clean = tokenizer.Clean(o.Clean)
	}
	t, err := tokenizer.NewCLIP(m.spelling, clean)
	if err != nil {
		return nil, fmt.Errorf("clip: %s: %w", name, err)
	}
	if t.VocabSize() > m.Config.Text.VocabSize {
		return nil, fmt.Errorf("clip: %s has an embedding of %d tokens, and CLIP's vocabulary has %d: give TextFeatures the token ids", name, m.Config.Text.VocabSize, t.VocabSize())
	}
	return t, nil
}

// OpenTokenizer returns the tokenizer, and the context length in tokens, of the model that [Open] would read, in no time:
// weights are not read, and a built-in config needs none.
func OpenTokenizer(ctx context.Context, name string, o *OpenOptions) (t tokenizer.Encoder, contextLength int, err error) {
	if o == nil {
		o = &OpenOptions{}
	}
	options := *o
	d, err := describe(ctx, name, &options)
	if err != nil {
		return nil, 0, err
	}
	defer d.close()
	for _, path := range []string{options.Pretrained, o.ImageTower, o.TextTower} {
		if path == "" || path == "random" || path == options.Pretrained && d.tag != "" {
			continue
		}
		if _, err := os.Stat(path); err != nil { // a slip that Open would have told of
			return nil, 0, fmt.Errorf("clip: %s: %w", name, err)
		}
	}
	c, err := d.configure(options)
	if err != nil {
		return nil, 0, err
	}
	m := &Model{Name: name, Config: c, Options: options, tokenizing: make(chan struct{}, 1)} // its towers are not needed here
	if err := m.findTokenizer(d, options); err != nil {
		return nil, 0, err
	}
	t, err = m.Tokenizer(ctx)
	return t, m.ContextLength(), err
}

// findTokenizer looks for the model's tokenizer on this machine; a published tag's may be fetched later.
func (m *Model) findTokenizer(d description, o OpenOptions) error {
	if d.tag != "" {
		fetch := o.fetch()
		m.fetch = &fetch
	}
	if m.spelling = tokenizer.OpenCLIP; d.openAI || d.isOpenAIs(o) {
		m.spelling = tokenizer.OpenAI
	}
	return m.openTokenizer(d.tokenizerDirs(o)...)
}

// isOpenAIs reports whether the file of weights is OpenAI's.
func (d description) isOpenAIs(o OpenOptions) bool {
	path := cmp.Or(o.Pretrained, d.weights)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := checkpoint.Open(path)
	if err != nil { // which reading the weights tells of
		return false
	}
	defer f.Close()
	return isOpenAIs(f)
}

// tokenizerDirs are the directories that may hold the tokenizer: the model's, and those of the weights.
func (d description) tokenizerDirs(o OpenOptions) (dirs []string) {
	for _, path := range []string{d.dir, o.Pretrained, o.TextTower} {
		if info, err := os.Stat(path); err == nil {
			if !info.IsDir() {
				path = filepath.Dir(path)
			}
			dirs = append(dirs, path)
		}
	}
	return dirs
}

// tokenizerFiles are what [tokenizer.Open] reads; the last says nothing without another.
var tokenizerFiles = []string{"tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "tokenizer_config.json"}

// openTokenizer reads the tokenizer in the first of the directories that holds one, if the config names one that is not
// CLIP's.
func (m *Model) openTokenizer(dirs ...string) error {
	t := m.Config.Text
	if cmp.Or(t.HFTokenizerName, t.HFModelName) == "" {
		go tokenizer.New() // CLIP's vocabulary is built while the weights are opened
		return nil
	}
	at := slices.IndexFunc(dirs, func(dir string) bool {
		return slices.ContainsFunc(tokenizerFiles[:len(tokenizerFiles)-1], func(name string) bool { return isFile(filepath.Join(dir, name)) })
	})
	if at < 0 {
		return nil // Tokenizer tells, for a user who has texts
	}
	dir := dirs[at]
	o := tokenizer.Options{}
	if t.TokenizerOptions != nil {
		o.Clean, o.Language, o.StripSep = tokenizer.Clean(t.TokenizerOptions.Clean), t.TokenizerOptions.Language, t.TokenizerOptions.StripSepToken
	}
	e, err := tokenizer.Open(dir, o)
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	if e.VocabSize() > t.VocabSize {
		return fmt.Errorf("clip: %s: the tokenizer has %d tokens, the model's embedding %d", dir, e.VocabSize(), t.VocabSize)
	}
	files := map[string][]byte{}
	for _, name := range tokenizerFiles {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("clip: %w", err)
		}
		files[name] = data
	}
	m.tokenizer, m.tokenizerFiles = e, files
	return nil
}

// fetchTokenizer finds the files of a repository on the hub, on this machine or there.
func (m *Model) fetchTokenizer(ctx context.Context, repo string) error {
	found, err := pretrained.FindTokenizer(ctx, repo, *m.fetch)
	if err != nil {
		return err
	}
	return m.openTokenizer(found.Dir)
}

// saveTokenizer writes the tokenizer's files as they were when the model was opened: their directory may be gone, a
// checkpoint that a run was resumed from and then replaced.
func (m *Model) saveTokenizer(fsys disk.FS, dir string) error {
	for _, name := range slices.Sorted(maps.Keys(m.tokenizerFiles)) {
		if err := writeFile(fsys, dir, name, m.tokenizerFiles[name]); err != nil {
			return err
		}
	}
	return nil
}
