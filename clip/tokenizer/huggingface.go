package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// tokenizerJSON is what of Hugging Face's tokenizer.json says which ids a text gets.
type tokenizerJSON struct {
	Added   list[added] `json:"added_tokens"`
	Padding *struct {
		Token string `json:"pad_token"`
	} `json:"padding"`
	Normalizer *steps `json:"normalizer"`
	PreToken   *steps `json:"pre_tokenizer"`
	Post       *struct {
		Single list[struct {
			Special *struct {
				ID string `json:"id"`
			} `json:"SpecialToken"`
		}] `json:"single"`
		Start list[json.RawMessage] `json:"cls"` // of BertProcessing: a token and its id
		End   list[json.RawMessage] `json:"sep"`
	} `json:"post_processor"`
	Model struct {
		Type         string          `json:"type"`
		Vocab        json.RawMessage `json:"vocab"`
		Merges       json.RawMessage `json:"merges"`
		UnknownID    *int            `json:"unk_id"`
		Unknown      string          `json:"unk_token"`
		ByteFallback bool            `json:"byte_fallback"`
		FuseUnknown  bool            `json:"fuse_unk"`
		IgnoreMerges bool            `json:"ignore_merges"`
		Dropout      float64         `json:"dropout"`
		Prefix       *string         `json:"continuing_subword_prefix"`
		Suffix       string          `json:"end_of_word_suffix"`
		Longest      *int            `json:"max_input_chars_per_word"`
	} `json:"model"`
}

type added struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	SingleWord bool   `json:"single_word"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// step is a normalizer or a pre-tokenizer.
type step struct {
	Type        string `json:"type"`
	Charsmap    []byte `json:"precompiled_charsmap"`
	Prepend     string `json:"prepend_scheme"`
	PrefixSpace *bool  `json:"add_prefix_space"`
	Pattern     struct {
		Regex  string `json:"Regex"`
		String string `json:"String"`
	} `json:"pattern"`
	Content  string `json:"content"`  // of Replace
	Behavior string `json:"behavior"` // of Split
	Invert   bool   `json:"invert"`

	CleanText bool  `json:"clean_text"` // of BertNormalizer
	Chinese   bool  `json:"handle_chinese_chars"`
	Accents   *bool `json:"strip_accents"`
	Lower     bool  `json:"lowercase"`
}

// steps is one of them, or a sequence.
type steps struct {
	step
	Normalizers list[step] `json:"normalizers"`
	PreTokens   list[step] `json:"pretokenizers"`
}

func (s *steps) all() []step {
	switch {
	case s == nil:
		return nil
	case s.Type == "Sequence":
		return slices.Concat(s.Normalizers, s.PreTokens)
	}
	return []step{s.step}
}

// list is a JSON list of few values, so that a file full of "{}" fills no memory.
type list[T any] []T

func (l *list[T]) UnmarshalJSON(data []byte) (err error) {
	*l, err = readList[T](data, 4096)
	return err
}

// readList reads a JSON list of at most the given number of values; null is an empty one.
func readList[T any](data []byte, limit int) (values []T, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		if t == nil && err == nil {
			return nil, nil
		}
		return nil, errors.New("it is not a list")
	}
	for d.More() {
		if len(values) == limit {
			return nil, fmt.Errorf("a list has more than %d values", limit)
		}
		var v T
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("value %d: %w", len(values)+1, err)
		}
		values = append(values, v)
	}
	return values, nil
}

func parseTokenizerJSON(data []byte) (*tokenizerJSON, error) {
	j := &tokenizerJSON{}
	if err := json.Unmarshal(data, j); err != nil {
		return nil, err
	}
	for _, a := range j.Added {
		if a.Content == "" || a.SingleWord {
			return nil, fmt.Errorf("the added token %d is empty or matches whole words only, which is not supported", a.ID)
		}
	}
	return j, nil
}

// bpe is the model section of a byte-pair vocabulary.
func (j *tokenizerJSON) bpe() (*vocabularyFiles, error) {
	for _, s := range j.PreToken.all() {
		if s.PrefixSpace != nil && *s.PrefixSpace {
			return nil, errors.New("add_prefix_space is not supported beside a byte-pair vocabulary")
		}
	}
	if j.Model.IgnoreMerges && !j.Model.ByteFallback {
		return nil, errors.New("ignore_merges is not supported beside a byte-level vocabulary")
	}
	if j.Model.Dropout != 0 {
		return nil, errors.New("dropout makes ids a matter of chance, which is not supported")
	}
	v := &vocabularyFiles{}
	var err error
	if v.pieces, err = j.pieces(); err != nil {
		return nil, err
	}
	merges, err := readList[mergeJSON](j.Model.Merges, maxPieces)
	if err != nil {
		return nil, fmt.Errorf("model.merges: %w", err)
	}
	for _, sides := range merges {
		v.merges = append(v.merges, sides)
	}
	if j.Padding != nil {
		v.pad = j.Padding.Token
	}
	return v, nil
}

// pieces are a vocabulary's by id, and the added tokens after them.
func (j *tokenizerJSON) pieces() ([]string, error) {
	pieces, err := readVocab(json.NewDecoder(bytes.NewReader(j.Model.Vocab)))
	if err != nil {
		return nil, fmt.Errorf("model.vocab: %w", err)
	}
	for _, a := range j.Added {
		if a.ID == len(pieces) {
			pieces = append(pieces, a.Content)
		} else if a.ID < 0 || a.ID > len(pieces) || pieces[a.ID] != a.Content {
			return nil, fmt.Errorf("the added token %q has the id %d, which is another piece's or leaves a gap", a.Content, a.ID)
		}
	}
	return pieces, nil
}

// unigram is the model of a sentencepiece vocabulary. pad is the token that fills.
func (j *tokenizerJSON) unigram(pad string) (m unigramModel, err error) {
	m.dummyPrefix, m.removeSpaces, m.escapeSpaces, m.byteFallback = true, true, true, j.Model.ByteFallback
	if err = j.readSteps(&m); err != nil {
		return m, err
	}
	pieces, err := readList[scoredJSON](j.Model.Vocab, maxPieces)
	if err != nil {
		return m, fmt.Errorf("model.vocab: %w", err)
	}
	for _, p := range pieces {
		m.pieces = append(m.pieces, scored(p))
	}
	if u := j.Model.UnknownID; u == nil || *u < 0 || *u >= len(m.pieces) {
		return m, fmt.Errorf("model.unk_id names none of the %d pieces", len(m.pieces))
	}
	if m.byteFallback {
		for i, p := range m.pieces {
			if len(p.text) == len("<0x00>") && p.text[:3] == "<0x" && p.text[5] == '>' {
				m.pieces[i].kind = byteValue
			}
		}
	}
	ids := map[string]int{}
	for _, a := range j.Added {
		if a.ID == len(m.pieces) {
			m.pieces = append(m.pieces, scored{text: a.Content})
		} else if a.ID < 0 || a.ID > len(m.pieces) || m.pieces[a.ID].text != a.Content {
			return m, fmt.Errorf("the added token %q has the id %d, which is another piece's or leaves a gap", a.Content, a.ID)
		}
		m.pieces[a.ID].kind = control
		m.specials = append(m.specials, special{a.Content, a.ID, a.LStrip, a.RStrip, !a.Special})
		ids[a.Content] = a.ID
	}
	m.pieces[*j.Model.UnknownID].kind = unknown
	m.size = len(m.pieces)
	m.frame.start = -1
	start, end := j.framing()
	for _, t := range []struct {
		name, token string
		id          *int64
	}{{"start", start, &m.frame.start}, {"end", end, &m.frame.end}, {"padding", pad, &m.frame.pad}} {
		id, ok := ids[t.token]
		if ok {
			*t.id = int64(id)
		} else if t.token != "" || t.name == "end" {
			return m, fmt.Errorf("the %s token %q is not one of the added tokens", t.name, t.token)
		}
	}
	return m, nil
}

// readSteps takes from the normalizer and the pre-tokenizer what sentencepiece has too, and refuses the rest.
func (j *tokenizerJSON) readSteps(m *unigramModel) error {
	for _, s := range j.Normalizer.all() {
		switch {
		case s.Type == "Precompiled":
			m.charsmap = s.Charsmap
		case s.Type == "Strip", s.Type == "Replace" && s.Pattern.Regex == " {2,}": // spaces that are always removed
		default:
			return fmt.Errorf("the normalizer %q is not supported beside a Unigram model", s.Type)
		}
	}
	for _, s := range j.PreToken.all() {
		switch s.Type {
		case "Metaspace":
			m.dummyPrefix = s.Prepend != "never" && (s.PrefixSpace == nil || *s.PrefixSpace)
		case "WhitespaceSplit":
		default:
			return fmt.Errorf("the pre-tokenizer %q is not supported beside a Unigram model", s.Type)
		}
	}
	return nil
}

// framing is the tokens before and after a text, by the template of the post-processor.
func (j *tokenizerJSON) framing() (start, end string) {
	if j.Post == nil {
		return "", ""
	}
	inside := false
	for _, part := range j.Post.Single {
		switch {
		case part.Special == nil:
			inside = true
		case inside:
			end = part.Special.ID
		default:
			start = part.Special.ID
		}
	}
	if len(j.Post.Start) > 0 && len(j.Post.End) > 0 {
		_ = json.Unmarshal(j.Post.Start[0], &start) // what is no text is not a token of the vocabulary
		_ = json.Unmarshal(j.Post.End[0], &end)
	}
	return start, end
}

// mergeJSON is "a b", or ["a", "b"] since tokenizers 0.20.
type mergeJSON [2]string

func (m *mergeJSON) UnmarshalJSON(data []byte) (err error) {
	if data[0] == '"' {
		var line string
		if err := json.Unmarshal(data, &line); err != nil {
			return err
		}
		*m, err = readMerge(line)
		return err
	}
	var sides [3]*string // the third is one too many. A list would cost time, and Gemma has half a million merges
	if json.Unmarshal(data, &sides) != nil || sides[0] == nil || sides[1] == nil || sides[2] != nil || *sides[0] == "" || *sides[1] == "" {
		return errors.New("it is not a pair of pieces")
	}
	*m = mergeJSON{*sides[0], *sides[1]}
	return nil
}

// scoredJSON is a pair of a piece and its score.
type scoredJSON scored

func (p *scoredJSON) UnmarshalJSON(data []byte) error {
	sides, err := readList[json.RawMessage](data, 2)
	if err != nil || len(sides) != 2 || json.Unmarshal(sides[0], &p.text) != nil || json.Unmarshal(sides[1], &p.score) != nil {
		return errors.New("it is not a pair of a text and a score")
	}
	p.kind = normal
	return nil
}
