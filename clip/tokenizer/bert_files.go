package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// openBERT reads vocab.txt, in which a piece's line is its id. What tokenizer_config.json leaves open is bert-base-uncased's.
func openBERT(path string, o Options) (Encoder, error) {
	config, err := readConfig(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	m := bertModel{
		ids: map[string]int{}, prefix: "##", longest: 100, unknownToken: string(cmp.Or(config.Unknown, "[UNK]")),
		start: string(cmp.Or(config.Start, "[CLS]")), end: string(cmp.Or(config.End, "[SEP]")), pad: o.pad("", "[PAD]"),
		text: bertText{clean: true, chinese: true, lower: true, accents: true},
	}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)) // as Python reads a text file
	for line := range strings.Lines(text) {
		if len(m.pieces) == maxPieces {
			return nil, fmt.Errorf("%s has more than %d pieces", path, maxPieces)
		}
		piece := strings.TrimSuffix(line, "\n")
		m.ids[piece] = len(m.pieces)
		m.pieces = append(m.pieces, piece)
	}
	for _, text := range []string{m.unknownToken, m.end, m.pad, m.start, string(cmp.Or(config.Mask, "[MASK]"))} {
		if id, ok := m.ids[text]; ok && text != "" {
			m.specials.add(special{text: text, id: id})
		}
	}
	return ofBERT(path, m, config, o)
}

// openBERTJSON reads a tokenizer.json of the type WordPiece.
func openBERTJSON(path string, j *tokenizerJSON, o Options) (Encoder, error) {
	config, err := readConfig(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	m, err := j.wordPiece(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ofBERT(path, m, config, o)
}

// ofBERT sets the switches that tokenizer_config.json names, which transformers takes before tokenizer.json's.
func ofBERT(path string, m bertModel, config tokenizerConfig, o Options) (Encoder, error) {
	if config.Basic != nil && !*config.Basic {
		return nil, fmt.Errorf("%s: do_basic_tokenize is false, which is not supported", filepath.Join(filepath.Dir(path), "tokenizer_config.json"))
	}
	if config.Lower != nil {
		m.text.lower, m.text.accents = *config.Lower, *config.Lower
	}
	if config.Accents != nil {
		m.text.accents = *config.Accents
	}
	if config.Chinese != nil {
		m.text.chinese = *config.Chinese
	}
	t, err := newBERT(m, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// wordPiece is the model section of a WordPiece vocabulary and what stands around it.
func (j *tokenizerJSON) wordPiece(o Options) (m bertModel, err error) {
	m = bertModel{ids: map[string]int{}, prefix: "##", longest: 100, unknownToken: cmp.Or(j.Model.Unknown, "[UNK]")}
	if j.Model.Prefix != nil {
		m.prefix = *j.Model.Prefix
	}
	if j.Model.Longest != nil {
		m.longest = *j.Model.Longest
	}
	for _, s := range j.Normalizer.all() {
		if s.Type != "BertNormalizer" {
			return m, fmt.Errorf("the normalizer %q is not supported beside a WordPiece model: BertNormalizer is", s.Type)
		}
		m.text = bertText{clean: s.CleanText, chinese: s.Chinese, lower: s.Lower, accents: s.Lower}
		if s.Accents != nil {
			m.text.accents = *s.Accents
		}
	}
	if pre := j.PreToken.all(); len(pre) != 1 || pre[0].Type != "BertPreTokenizer" {
		return m, errors.New("a pre-tokenizer other than BertPreTokenizer is not supported beside a WordPiece model")
	}
	if m.pieces, err = j.pieces(); err != nil {
		return m, err
	}
	for id, piece := range m.pieces {
		m.ids[piece] = id
	}
	for _, a := range j.Added {
		m.specials.add(special{a.Content, a.ID, a.LStrip, a.RStrip, !a.Special})
	}
	m.start, m.end = j.framing()
	own := ""
	if j.Padding != nil {
		own = j.Padding.Token
	}
	m.pad = o.pad(own, "[PAD]")
	return m, nil
}
