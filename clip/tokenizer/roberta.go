package tokenizer

import (
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// RoBERTa is GPT-2's byte-level byte-pair encoding in RoBERTa's frame (transformers' RobertaTokenizer): <s> text </s>,
// filled with <pad>. Open reads it.
type RoBERTa struct {
	bpe      *bpe
	specials specials
	clean    Clean
	frame    frame
}

func newRoBERTa(v *vocabularyFiles, o Options) (*RoBERTa, error) {
	t := &RoBERTa{}
	var err error
	if t.clean, err = o.clean(Whitespace); err != nil {
		return nil, err
	}
	if t.bpe, err = newBPE(v.pieces, slices.All(v.merges), ""); err != nil {
		return nil, err
	}
	if t.frame, err = v.frame("<s>", "</s>", o.pad(v.pad, "<pad>")); err != nil {
		return nil, err
	}
	for id, piece := range v.pieces {
		switch piece {
		case "<s>", "<pad>", "</s>", "<unk>", "<mask>":
			t.specials.add(special{text: piece, id: id, trimBefore: piece == "<mask>"})
		}
	}
	return t, nil
}

// VocabSize is 50,265 with RoBERTa's published vocabulary.
func (t *RoBERTa) VocabSize() int { return len(t.bpe.pieces) }

// Pad is 1 with RoBERTa's published vocabulary.
func (t *RoBERTa) Pad() int64 { return t.frame.pad }

// End is 2 with RoBERTa's published vocabulary.
func (t *RoBERTa) End() int64 { return t.frame.end }

// Encode cleans a text and splits it into ids, without <s> and </s> around it. Special tokens inside the text are theirs.
func (t *RoBERTa) Encode(text string) []int {
	var ids []int
	for part, id := range t.specials.split(t.clean.apply(text)) {
		if id >= 0 {
			ids = append(ids, id)
			continue
		}
		for word := range gpt2Words(part) {
			ids = append(ids, t.bpe.encode(word)...)
		}
	}
	return ids
}

// Tokenize is Encode between <s> and </s>, filled with Pad to contextLength ids. A longer text is cut so that </s> is
// the last id, and truncated is true.
func (t *RoBERTa) Tokenize(text string, contextLength int) (ids []int64, truncated bool) {
	return t.frame.row(t.Encode(text), contextLength)
}

// Decode joins ids to a text. An id outside the vocabulary is left out, and so are the frame's tokens.
func (t *RoBERTa) Decode(ids []int) string {
	var out strings.Builder
	for _, id := range ids {
		switch {
		case id < 0 || id >= len(t.bpe.pieces), int64(id) == t.frame.start, int64(id) == t.frame.end, int64(id) == t.frame.pad:
		default:
			out.WriteString(byteLetters().text(t.bpe.pieces[id]))
		}
	}
	return validUTF8(out.String())
}

// gpt2Words yields the matches of GPT-2's pattern, which together are the whole text,
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// as a hand-written scanner.
func gpt2Words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(text) > 0 {
			n := gpt2Match(text)
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

func gpt2Match(text string) int {
	for _, fixed := range contractions {
		if strings.HasPrefix(text, fixed) {
			return len(fixed)
		}
	}
	word := strings.TrimPrefix(text, " ")
	skipped := len(text) - len(word)
	r, size := utf8.DecodeRuneInString(word)
	switch {
	case size == 0 || isSpace(r):
	case isLetter(r):
		return run(text, skipped+size, isLetter)
	case isNumber(r):
		return run(text, skipped+size, isNumber)
	default:
		return run(text, skipped+size, isOther)
	}
	// White space. Before something else its last rune stays behind, as a space belongs to the word that follows.
	n := run(text, 0, isSpace)
	_, last := utf8.DecodeLastRuneInString(text[:n])
	if n < len(text) && n > last {
		return n - last
	}
	return n
}
