// Package tokenizer is CLIP's byte-pair encoding with its embedded vocabulary (openai/CLIP clip/simple_tokenizer.py).
//
// A Tokenizer is safe for concurrent use. Nothing here touches libtorch.
package tokenizer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"strings"
	"sync"
	"unicode/utf8"
)

// The ids that begin and end a text.
const (
	SOT = 49406
	EOT = 49407
)

// OpenAI's spelling of the two, which is matched inside texts too. They stand in any letter case, as the pattern
// ignores it.
const (
	startToken = "<|startoftext|>"
	endToken   = "<|endoftext|>"
)

// The file is OpenAI's, byte for byte; its licence is in NOTICE.
//
//go:embed bpe_simple_vocab_16e6.txt.gz
var vocabulary []byte

// merges is how many of the file's lines the vocabulary uses, after its first one.
const merges = 49152 - 256 - 2

// Tokenizer maps texts to ids.
type Tokenizer struct {
	pieces  []string          // by id, in the byte alphabet
	ids     map[string]int    // of pieces
	ranks   map[[2]string]int // of merges
	letters [256]string       // the byte alphabet: a printable letter for each byte
	bytes   map[rune]byte     // and back
	mu      sync.RWMutex      //
	words   map[string][]int  // what words became; bounded
}

const maxWords = 1 << 17

// New returns the one tokenizer with OpenAI's vocabulary of 49,408; it is built at the first call.
func New() *Tokenizer { return build() }

var build = sync.OnceValue(func() *Tokenizer {
	t := &Tokenizer{ids: map[string]int{}, ranks: map[[2]string]int{}, bytes: map[rune]byte{}, words: map[string][]int{}}
	add := func(piece string) {
		t.ids[piece] = len(t.pieces)
		t.pieces = append(t.pieces, piece)
	}
	alphabet := t.alphabet()
	for _, letter := range alphabet {
		add(letter)
	}
	for _, letter := range alphabet {
		add(letter + "</w>")
	}
	for rank, pair := range readMerges() {
		t.ranks[pair] = rank
		add(pair[0] + pair[1])
	}
	add(startToken)
	add(endToken)
	return t
})

// alphabet gives each byte a printable letter, in the vocabulary's order (GPT-2's bytes_to_unicode).
func (t *Tokenizer) alphabet() []string {
	var order []string
	assign := func(b int, r rune) {
		t.letters[b] = string(r)
		t.bytes[r] = byte(b)
		order = append(order, string(r))
	}
	printable := func(b int) bool { return b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae }
	for b := range 256 {
		if printable(b) {
			assign(b, rune(b))
		}
	}
	next := rune(256)
	for b := range 256 {
		if !printable(b) {
			assign(b, next)
			next++
		}
	}
	return order
}

func readMerges() [][2]string {
	z, err := gzip.NewReader(bytes.NewReader(vocabulary))
	if err != nil {
		panic(err) // embedded, and its checksum is tested
	}
	pairs := make([][2]string, 0, merges)
	lines := bufio.NewScanner(z)
	lines.Scan() // a version line
	for len(pairs) < merges && lines.Scan() {
		first, second, _ := strings.Cut(lines.Text(), " ")
		pairs = append(pairs, [2]string{first, second})
	}
	return pairs
}

// VocabSize is 49,408.
func (t *Tokenizer) VocabSize() int { return len(t.pieces) }

// Encode cleans a text and splits it into ids, without the start and end tokens.
func (t *Tokenizer) Encode(text string) []int {
	var ids []int
	for word := range split(clean(text)) {
		ids = append(ids, t.word(word)...)
	}
	return ids
}

// Tokenize is Encode between the start and end tokens, padded with zeros to contextLength ids. A longer text is cut so
// that the end token is the last id, and truncated is true.
func (t *Tokenizer) Tokenize(text string, contextLength int) (ids []int64, truncated bool) {
	body := t.Encode(text)
	ids = make([]int64, contextLength)
	if room := max(contextLength-2, 0); len(body) > room {
		body, truncated = body[:room], true
	}
	ids[0] = SOT
	for i, id := range body {
		ids[i+1] = int64(id)
	}
	ids[len(body)+1] = EOT
	return ids, truncated
}

// Decode joins ids to a text; the ends of words become spaces. An id outside the vocabulary is left out, and so are the
// start and end tokens.
func (t *Tokenizer) Decode(ids []int) string {
	var joined strings.Builder
	for _, id := range ids {
		if id >= 0 && id < SOT {
			joined.WriteString(t.pieces[id])
		}
	}
	var out []byte
	for _, part := range strings.SplitAfter(joined.String(), "</w>") {
		word, ends := strings.CutSuffix(part, "</w>")
		for _, r := range word {
			out = append(out, t.bytes[r])
		}
		if ends {
			out = append(out, ' ')
		}
	}
	return strings.ToValidUTF8(string(out), string(utf8.RuneError))
}

// word is the ids of one match of the pattern.
func (t *Tokenizer) word(word string) []int {
	switch word {
	case startToken:
		return []int{SOT}
	case endToken:
		return []int{EOT}
	}
	t.mu.RLock()
	ids, ok := t.words[word]
	t.mu.RUnlock()
	if ok {
		return ids
	}
	ids = t.merge(word)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.words) >= maxWords {
		clear(t.words)
	}
	t.words[strings.Clone(word)] = ids
	return ids
}

// merge applies the merges of the lowest rank first, each to all its places from left to right.
func (t *Tokenizer) merge(word string) []int {
	parts := make([]string, len(word))
	for i := range len(word) {
		parts[i] = t.letters[word[i]]
	}
	parts[len(parts)-1] += "</w>"
	for len(parts) > 1 {
		best, at := len(t.ranks), -1
		for i := range len(parts) - 1 {
			if rank, ok := t.ranks[[2]string{parts[i], parts[i+1]}]; ok && rank < best {
				best, at = rank, i
			}
		}
		if at < 0 {
			break
		}
		first, second := parts[at], parts[at+1]
		merged := parts[:0]
		for i := 0; i < len(parts); i++ {
			if i+1 < len(parts) && parts[i] == first && parts[i+1] == second {
				merged = append(merged, first+second)
				i++
			} else {
				merged = append(merged, parts[i])
			}
		}
		parts = merged
	}
	ids := make([]int, len(parts))
	for i, p := range parts {
		ids[i] = t.ids[p]
	}
	return ids
}
