package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// bertModel is what vocab.txt or a tokenizer.json of the type WordPiece says.
type bertModel struct {
	pieces          []string       // by id
	ids             map[string]int // the last one, of a piece that stands there twice
	specials        specials
	prefix          string // of a piece inside a word
	longest         int    // letters of a word; a longer one is unknown
	text            bertText
	start, end, pad string
	unknownToken    string // for a word that no pieces make
}

// BERT is BERT's WordPiece (transformers' BertTokenizer, the one in Python), which CLIPA's models read: [CLS] text [SEP],
// filled with [PAD]. Open reads it.
//
// transformers' fast tokenizer, which AutoTokenizer and so open_clip prefer, has other ids in 43 of 1,000 lines of the goldens'
// mixture, a tour of Unicode: it keeps characters that no version of Unicode has assigned, and takes some later signs and
// marks for letters. Of 30,000 lines without characters later than Unicode 3.2, one differed.
type BERT struct {
	bertModel
	clean   Clean
	trie    trie
	inside  int // the node where the pieces inside a word begin, or -1
	unknown int
	frame   frame
}

func newBERT(m bertModel, o Options) (*BERT, error) {
	t := &BERT{bertModel: m, inside: -1}
	var err error
	if t.clean, err = o.clean(Whitespace); err != nil {
		return nil, err
	}
	var pieces []entry
	bytes := 0
	for piece, id := range m.ids {
		switch bytes += len(piece); {
		case len(piece) > maxPiece:
			return nil, fmt.Errorf("the piece %d has %d bytes; at most %d are read", id, len(piece), maxPiece)
		case bytes > maxTexts:
			return nil, fmt.Errorf("its pieces have more than %d MiB together", maxTexts>>20)
		case !utf8.ValidString(piece):
			return nil, fmt.Errorf("the piece %d, %q, is not UTF-8", id, piece)
		case piece != "":
			pieces = append(pieces, entry{piece, int32(id)})
		}
	}
	if m.longest < 1 {
		return nil, fmt.Errorf("max_input_chars_per_word is %d, and a word has at least 1 letter", m.longest)
	}
	if m.end == "" {
		return nil, errors.New("no token ends a text")
	}
	for _, token := range []struct {
		text string
		id   func(int)
	}{
		{m.unknownToken, func(id int) { t.unknown = id }},
		{m.start, func(id int) { t.frame.start = int64(id) }},
		{m.end, func(id int) { t.frame.end = int64(id) }},
		{m.pad, func(id int) { t.frame.pad = int64(id) }},
	} {
		id, ok := m.ids[token.text]
		if !ok {
			return nil, fmt.Errorf("the vocabulary lacks the special token %q", token.text)
		}
		token.id(id)
	}
	t.trie = newTrie(pieces)
	t.inside = t.trie.node(m.prefix)
	return t, nil
}

// VocabSize is 30,522 with the published vocabulary bert-base-uncased.
func (t *BERT) VocabSize() int { return len(t.pieces) }

// Pad is 0 with the published vocabularies.
func (t *BERT) Pad() int64 { return t.frame.pad }

// End returns the id of [SEP], 102 with the published vocabularies.
func (t *BERT) End() int64 { return t.frame.end }

// Tokenize is Encode between [CLS] and [SEP], filled with Pad to contextLength ids. A longer text is cut so that [SEP] is
// the last id, and truncated is true.
func (t *BERT) Tokenize(text string, contextLength int) (ids []int64, truncated bool) {
	return t.frame.row(t.Encode(text), contextLength)
}

// Encode cleans a text and splits it into ids, without its frame. Special tokens inside the text are theirs.
func (t *BERT) Encode(text string) []int {
	text = t.clean.apply(text)
	if t.text.lower {
		text = t.text.lowerBetween(text, &t.specials)
	}
	var ids []int
	for part, id := range t.specials.split(text) {
		if id >= 0 {
			ids = append(ids, id)
			continue
		}
		for word := range t.text.words(part, &t.specials) {
			ids = t.appendWord(ids, word)
		}
	}
	return ids
}

// appendWord takes the longest piece that a word begins with, and then the longest one inside a word each time. A word of
// which a part is no piece is unknown as a whole.
func (t *BERT) appendWord(ids []int, word string) []int {
	if utf8.RuneCountInString(word) > t.longest {
		return append(ids, t.unknown)
	}
	start := len(ids)
	for at, node := 0, 0; at < len(word); node = t.inside {
		id, n := t.trie.longestFrom(node, word[at:])
		if n == 0 {
			return append(ids[:start], t.unknown)
		}
		ids = append(ids, int(id))
		at += n
	}
	return ids
}

// Decode joins ids to words with spaces between. An id outside the vocabulary is left out, and so are the frame's tokens.
func (t *BERT) Decode(ids []int) string {
	var out strings.Builder
	for _, id := range ids {
		if id < 0 || id >= len(t.pieces) || int64(id) == t.frame.start || int64(id) == t.frame.end || int64(id) == t.frame.pad {
			continue
		}
		piece, inside := strings.CutPrefix(t.pieces[id], t.prefix)
		if !inside && out.Len() > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(piece)
	}
	return out.String()
}
