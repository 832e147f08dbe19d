package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// DefaultLanguage is the language of NLLB's texts where nobody names one, as in transformers.
const DefaultLanguage = "eng_Latn"

// languageName is NLLB's way to write one: ISO 639-3 and the script.
var languageName = regexp.MustCompile(`^[a-z]{3}_[A-Z][a-z]{3}$`)

// openNLLB reads a tokenizer.json of the type BPE whose words begin with a letter of their own, as sentencepiece's do.
func openNLLB(path string, j *tokenizerJSON, o Options) (Encoder, error) {
	m, err := j.sentencePieceBPE(o)
	return ofUnigram(path, m, err, o)
}

func (j *tokenizerJSON) isSentencePieceBPE() bool {
	return slices.ContainsFunc(j.PreToken.all(), func(s step) bool { return s.Type == "Metaspace" })
}

func (j *tokenizerJSON) sentencePieceBPE(o Options) (m unigramModel, err error) {
	m.dummyPrefix, m.removeSpaces, m.escapeSpaces = true, true, true
	if err = j.readSteps(&m); err != nil {
		return m, err
	}
	if p := j.Model.Prefix; p != nil && *p != "" || j.Model.Suffix != "" || j.Model.IgnoreMerges || j.Model.Dropout != 0 || !j.Model.FuseUnknown {
		return m, errors.New("beside Metaspace a byte-pair model has fuse_unk, and neither continuing_subword_prefix, end_of_word_suffix, ignore_merges nor dropout")
	}
	texts, err := j.pieces()
	if err != nil {
		return m, err
	}
	merges, err := readList[mergeJSON](j.Model.Merges, maxPieces)
	if err != nil {
		return m, fmt.Errorf("model.merges: %w", err)
	}
	m.merges = make([][2]string, 0, len(merges))
	for _, sides := range merges {
		m.merges = append(m.merges, sides)
	}
	for _, text := range texts {
		m.pieces = append(m.pieces, scored{text: text, kind: normal})
	}
	ids := map[string]int{}
	for _, a := range j.Added {
		m.pieces[a.ID].kind = control
		m.specials = append(m.specials, special{a.Content, a.ID, a.LStrip, a.RStrip, !a.Special})
		ids[a.Content] = a.ID
	}
	at := slices.Index(texts, j.Model.Unknown)
	if at < 0 {
		return m, fmt.Errorf("the vocabulary lacks unk_token, %q", j.Model.Unknown)
	}
	m.pieces[at].kind, m.size = unknown, len(texts)
	return m, m.frameLanguage(j, ids, o)
}

// frameLanguage frames a text as NLLB's tokenizer does since transformers 4.28: its language before it and </s> behind.
// Files from before have both behind.
func (m *unigramModel) frameLanguage(j *tokenizerJSON, ids map[string]int, o Options) error {
	start, end := j.framing()
	named := start
	if languageName.MatchString(end) {
		named, end = end, "</s>"
	}
	if start = named; languageName.MatchString(named) {
		start = cmp.Or(o.Language, DefaultLanguage)
	} else if o.Language != "" {
		return fmt.Errorf("the language %q: its texts begin with %q, and no language", o.Language, start)
	}
	pad := "<pad>"
	if j.Padding != nil {
		pad = j.Padding.Token
	}
	m.frame.start = -1
	for _, t := range []struct {
		name, token string
		id          *int64
	}{{"start", start, &m.frame.start}, {"end", end, &m.frame.end}, {"padding", o.pad(pad, ""), &m.frame.pad}} {
		id, ok := ids[t.token]
		switch {
		case ok:
			*t.id = int64(id)
		case t.name == "start" && o.Language != "":
			return fmt.Errorf("the language %q is unknown; languages are like %s", o.Language, DefaultLanguage)
		case t.token != "" || t.name == "end":
			return fmt.Errorf("the %s token %q is not one of the added tokens", t.name, t.token)
		}
	}
	return nil
}

// readMerges numbers the pieces that merges join.
func (t *Unigram) readMerges() (err error) {
	t.letters = make(map[string]int32, len(t.pieces))
	for i, p := range t.pieces {
		if p.kind == normal {
			t.letters[p.text] = int32(t.id(i))
		}
	}
	t.table, err = newMerges(t.letters, slices.All(t.merges))
	t.merges = nil
	return err
}

// merge appends the ids of a normalized text's letters, joined in the order of the merges. A run of unknown letters is one.
func (t *Unigram) merge(ids []int, text string) []int {
	none := int32(t.id(t.unknown))
	symbols := make([]int32, 0, len(text))
	for _, r := range text {
		id, ok := t.letters[string(r)]
		if !ok {
			id = none
		}
		if id != none || len(symbols) == 0 || symbols[len(symbols)-1] != none {
			symbols = append(symbols, id)
		}
	}
	return t.table.join(ids, symbols, false)
}
