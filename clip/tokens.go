package clip

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/torch/checkpoint"
)

// Tokenizer is the model's tokenizer: CLIP's own, or the one whose files stand in the model's directory where the
// config names another. Without those files it is an error: ids of another vocabulary would give features of nothing.
func (m *Model) Tokenizer() (tokenizer.Encoder, error) {
	if m.tokenizer != nil {
		return m.tokenizer, nil
	}
	other := cmp.Or(m.Config.Text.HFTokenizerName, m.Config.Text.HFModelName)
	if t := tokenizer.New(); other == "" && t.VocabSize() > m.Config.Text.VocabSize {
		return nil, fmt.Errorf("clip: %s has an embedding of %d tokens, and CLIP's vocabulary has %d: give TextFeatures the token ids", cmp.Or(m.Name, "the model"), m.Config.Text.VocabSize, t.VocabSize())
	} else if other == "" {
		return t, nil
	}
	return nil, fmt.Errorf("clip: %s reads the tokens of %s: put its tokenizer.json, or vocab.json and merges.txt, or vocab.txt, or spiece.model, into the model's directory", cmp.Or(m.Name, "the model"), other)
}

// tokenizerFiles are what [tokenizer.Open] reads; the last says nothing without another.
var tokenizerFiles = []string{"tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "tokenizer_config.json"}

// openTokenizer reads the tokenizer in the model's directory if the config names one that is not CLIP's and there is one.
func (m *Model) openTokenizer(dir string) error {
	t := m.Config.Text
	if cmp.Or(t.HFTokenizerName, t.HFModelName) == "" {
		return nil
	}
	there := false
	for _, name := range tokenizerFiles[:len(tokenizerFiles)-1] {
		_, err := os.Stat(filepath.Join(dir, name))
		there = there || err == nil
	}
	if !there {
		return nil // Tokenizer tells, for a user who has texts
	}
	o := tokenizer.Options{}
	if t.TokenizerOptions != nil {
		o.Clean, o.StripSep = tokenizer.Clean(t.TokenizerOptions.Clean), t.TokenizerOptions.StripSepToken
	}
	e, err := tokenizer.Open(dir, o)
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	if e.VocabSize() > t.VocabSize {
		return fmt.Errorf("clip: %s: the tokenizer has %d tokens, the model's embedding %d", dir, e.VocabSize(), t.VocabSize)
	}
	m.tokenizer, m.tokenizerDir = e, dir
	return nil
}

// saveTokenizer copies the tokenizer's files to the directory that is being saved.
func (m *Model) saveTokenizer(dir string) error {
	if m.tokenizerDir == "" {
		return nil
	}
	for _, name := range tokenizerFiles {
		data, err := os.ReadFile(filepath.Join(m.tokenizerDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = checkpoint.WriteFile(filepath.Join(dir, name), func(w io.Writer) error {
				_, err := w.Write(data)
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("clip: %w", err)
		}
	}
	return nil
}
