package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// kind is sentencepiece's type of a piece.
type kind int

const (
	normal kind = 1 + iota
	unknown
	control
	userDefined
	unused
	byteValue
)

type scored struct {
	text  string
	score float32
	kind  kind
}

// unigramModel is what a sentencepiece model or a tokenizer.json says.
type unigramModel struct {
	pieces       []scored
	ids          []int // of the pieces, where they are not their places
	size         int   // one more than the largest id
	byteFallback bool
	charsmap     []byte
	dummyPrefix  bool // a space is put before each text
	removeSpaces bool // at both ends, and all but one between words
	escapeSpaces bool // to ▁
	specials     []special
	frame        frame
	merges       [][2]string // of a byte-pair vocabulary; nil: the scores decide
}

// Unigram is sentencepiece's model of that name, as SigLIP and mT5 (T5's vocabulary: text </s>) and XLM-R (<s> text </s>)
// have it, or its byte-pair encoding, as NLLB has it (eng_Latn text </s>). Open reads it. The ids are the sentencepiece
// library's.
type Unigram struct {
	unigramModel
	clean    Clean
	trie     trie
	symbols  trie // user-defined symbols, which the map leaves alone
	charsmap *charsmap
	specials specials
	table    mergeTable       // nil: the scores decide
	letters  map[string]int32 // ids of what merges begin with
	unknown  int
	bytes    [256]int
	texts    map[int]string // by id, for Decode
	min, max float32        // scores of normal pieces
}

// unknownPenalty is how much worse than the worst piece an unknown letter is (sentencepiece kUnkPenalty).
const unknownPenalty = 10

const (
	maxPiece = 1 << 10  // bytes; a text costs its length times the longest piece
	maxTexts = 16 << 20 // bytes of all pieces together, which bound the trie; XLM-R's are 2 MB
)

func newUnigram(m unigramModel, clean Clean) (*Unigram, error) {
	t := &Unigram{unigramModel: m, clean: clean, unknown: -1, texts: map[int]string{}}
	var err error
	if t.charsmap, err = newCharsmap(m.charsmap); err != nil {
		return nil, err
	}
	var pieces, symbols []entry
	seen, bytes, first, texts := map[string]bool{}, 0, true, 0
	for i, p := range m.pieces {
		texts += len(p.text)
		switch {
		case texts > maxTexts:
			return nil, fmt.Errorf("its pieces have more than %d MiB together", maxTexts>>20)
		case p.text == "" || len(p.text) > maxPiece:
			return nil, fmt.Errorf("piece %d has %d bytes; a piece has 1 to %d", i, len(p.text), maxPiece)
		case seen[p.text]:
			return nil, fmt.Errorf("piece %d, %q, stands there twice", i, p.text)
		case p.score-p.score != 0:
			return nil, fmt.Errorf("the score of piece %d, %q, is not a number", i, p.text)
		}
		seen[p.text] = true
		switch p.kind {
		case normal:
			if first || p.score < t.min {
				t.min = p.score
			}
			if first || p.score > t.max {
				t.max = p.score
			}
			first = false
			pieces = append(pieces, entry{p.text, int32(i)})
			t.texts[t.id(i)] = p.text
		case userDefined:
			pieces, symbols = append(pieces, entry{p.text, int32(i)}), append(symbols, entry{p.text, int32(i)})
			t.texts[t.id(i)] = p.text
		case unknown:
			if t.unknown >= 0 {
				return nil, fmt.Errorf("pieces %d and %d both are the unknown one", t.unknown, i)
			}
			t.unknown = i
		case byteValue:
			var b int
			if n, err := fmt.Sscanf(p.text, "<0x%02X>", &b); n != 1 || err != nil || p.text != fmt.Sprintf("<0x%02X>", b) {
				return nil, fmt.Errorf("piece %d, %q, is not a byte: <0x00> to <0xFF> are", i, p.text)
			}
			t.bytes[b] = t.id(i)
			bytes++
		}
	}
	if t.unknown < 0 {
		return nil, fmt.Errorf("none of the %d pieces is the unknown one", len(m.pieces))
	}
	if m.byteFallback && bytes != 256 {
		return nil, fmt.Errorf("bytes stand for unknown letters, but %d of the 256 are pieces", bytes)
	}
	t.symbols = newTrie(symbols)
	if m.merges == nil {
		t.trie = newTrie(pieces)
	} else if err := t.readMerges(); err != nil {
		return nil, err
	}
	for _, s := range m.specials {
		t.specials.add(s)
	}
	return t, nil
}

// id is the id of the piece at place i.
func (m *unigramModel) id(i int) int {
	if m.ids == nil {
		return i
	}
	return m.ids[i]
}

// VocabSize is 32,000 with SigLIP's published vocabulary, 250,002 with XLM-R's.
func (t *Unigram) VocabSize() int { return t.size }

// Pad returns the id that fills: SigLIP's end token, XLM-R's <pad>; both are 1.
func (t *Unigram) Pad() int64 { return t.frame.pad }

// End returns the id of </s>.
func (t *Unigram) End() int64 { return t.frame.end }

// Tokenize is Encode in its frame, filled with Pad to contextLength ids. A longer text is cut so that </s> is the last
// id, and truncated is true.
func (t *Unigram) Tokenize(text string, contextLength int) (ids []int64, truncated bool) {
	return t.frame.row(t.Encode(text), contextLength)
}

// Encode cleans a text and splits it into ids, without its frame. Special tokens inside the text are theirs.
func (t *Unigram) Encode(text string) []int {
	var ids []int
	for part, id := range t.specials.split(t.clean.apply(text)) {
		if id >= 0 {
			ids = append(ids, id)
			continue
		}
		if text := t.normalize(part); t.table != nil {
			ids = t.merge(ids, text)
		} else {
			ids = t.best(ids, text)
		}
	}
	return ids
}

// normalize is sentencepiece's: the map, single spaces, ▁ for a space and one before the text.
func (t *Unigram) normalize(text string) string {
	space := " "
	if t.escapeSpaces {
		space = "▁"
	}
	var out strings.Builder
	after, started := t.removeSpaces, false // after a space
	for len(text) > 0 {
		to, n := t.normalizePrefix(text)
		text = text[n:]
		if t.removeSpaces && !started && to == " " {
			continue
		}
		if !started && t.dummyPrefix {
			out.WriteString(space)
		}
		started = true
		if after {
			to = strings.TrimLeft(to, " ")
		}
		if to != "" {
			out.WriteString(strings.ReplaceAll(to, " ", space))
			after = t.removeSpaces && strings.HasSuffix(to, " ")
		}
	}
	done := out.String()
	for t.removeSpaces && strings.HasSuffix(done, space) {
		done = strings.TrimSuffix(done, space)
	}
	return done
}

// normalizePrefix is what the first n bytes of text become.
func (t *Unigram) normalizePrefix(text string) (to string, n int) {
	if n = t.symbols.longest(text); n > 0 {
		return text[:n], n
	}
	if to, n = t.charsmap.longest(text); n > 0 {
		return to, n
	}
	r, n := utf8.DecodeRuneInString(text)
	return string(r), n
}

// best appends the ids of the split whose scores have the largest sum (Viterbi). Sums are rounded as sentencepiece's
// Model::EncodeOptimized rounds them, and of equal ones the first stays.
func (t *Unigram) best(ids []int, text string) []int {
	type end struct {
		score       float32 // of the best split of what precedes
		piece, from int32   // its last piece and where that begins
	}
	ends := make([]end, len(text)+1)
	for i := range ends {
		ends[i].from = -1
	}
	reach := func(from, to int, score float64, piece int) {
		if e := &ends[to]; e.from < 0 || score > float64(e.score) {
			*e = end{float32(score), int32(piece), int32(from)}
		}
	}
	for from := 0; from < len(text); {
		_, letter := utf8.DecodeRuneInString(text[from:])
		so, single := ends[from].score, false
		for node, i := 0, from; i < len(text); i++ {
			if node = t.trie.child(node, text[i]); node < 0 {
				break
			}
			if piece := t.trie[node].value; piece >= 0 {
				score := float64(t.pieces[piece].score)
				if t.pieces[piece].kind == userDefined { // always taken
					score = float64(float32(i+1-from)*t.max) - 0.1
				}
				reach(from, i+1, score+float64(so), int(piece))
				single = single || i+1-from == letter
			}
		}
		if !single {
			reach(from, from+letter, float64(t.min-unknownPenalty+so), t.unknown)
		}
		from += letter
	}
	start := len(ids)
	for to := len(text); to > 0; to = int(ends[to].from) {
		e := ends[to]
		switch {
		case int(e.piece) != t.unknown:
			ids = append(ids, t.id(int(e.piece)))
		case t.byteFallback:
			for i := to - 1; i >= int(e.from); i-- {
				ids = append(ids, t.bytes[text[i]])
			}
		case len(ids) == start || ids[len(ids)-1] != t.id(t.unknown):
			ids = append(ids, t.id(t.unknown)) // one for a run of unknown letters
		}
	}
	slices.Reverse(ids[start:])
	return ids
}

// Decode joins ids to a text. An id outside the vocabulary is left out, and so are control tokens.
func (t *Unigram) Decode(ids []int) string {
	var out strings.Builder
	for _, id := range ids {
		if b := slices.Index(t.bytes[:], id); t.byteFallback && b >= 0 {
			out.WriteByte(byte(b))
		} else {
			out.WriteString(t.texts[id])
		}
	}
	return strings.TrimPrefix(validUTF8(strings.ReplaceAll(out.String(), "▁", " ")), " ")
}
